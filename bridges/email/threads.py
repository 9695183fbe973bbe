"""Conversations: which mail belongs to which, who takes part, and what an answer must name.

Everything is kept in the network's store: `t/TOKEN` is a conversation, `m/HASH` says which conversation a Message-ID of
a mailbox belongs to. Changes are returned as rows, to be committed with the mail that made them.
"""

import asyncio
from base64 import b32encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from bridge_core.api.host import KV
from bridges.email.conversations import Thread as Thread
from bridges.email.conversations import opened, packed

_ASKED: Final = 50
"""Ids of a mail's References that are looked up."""
Rows = dict[str, bytes]
Keep = Callable[[Mapping[str, bytes]], Awaitable[None]]
"""Commits rows, all in one step."""


@dataclass(frozen=True, slots=True)
class Place:
    """A mail that is known: its conversation, the digest of its body, and the ghost (or mailbox) that said it."""

    token: str
    digest: str = ""
    author: str = ""


class Threads:
    """The conversations of one network. `secret` makes tokens that nobody can guess; `keep` commits rows."""

    def __init__(self, kv: KV, secret: bytes, keep: Keep) -> None:
        self._kv = kv
        self._keep = keep
        self._secret = secret
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, mailbox: str) -> AsyncIterator[None]:
        """One mail of a mailbox at a time: what it changes is seen by the next."""
        lock, waiting = self._locks.get(mailbox, (asyncio.Lock(), 0))
        self._locks[mailbox] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks[mailbox]
            if waiting == 1:
                del self._locks[mailbox]
            else:
                self._locks[mailbox] = (lock, waiting - 1)

    def token(self, mailbox: str, root: str) -> str:
        """The token of the conversation that begins with a mail: the same each time, 20 letters and digits."""
        digest = blake2b(f"{mailbox}\0{root}".encode(), key=self._secret, digest_size=12).digest()
        return b32encode(digest).decode().rstrip("=").lower()

    async def get(self, mailbox: str, token: str) -> Thread | None:
        """The mailbox's conversation with this token: who knows the token of another mailbox's gets nothing."""
        if not token.isascii() or not token.isalnum() or len(token) > 40:
            return None
        row = await self._kv.get(f"t/{token}")
        thread = opened(token, row) if row is not None else None
        return thread if thread is not None and thread.mailbox == mailbox else None

    async def place(self, mailbox: str, message_id: str) -> Place | None:
        """Where a mail of a mailbox is; None when it is not known."""
        row = await self._kv.get(self._row(mailbox, message_id))
        if row is None:
            return None
        token, digest, author = row.decode().split(" ", 2)
        return Place(token, digest, author)

    async def of(self, mailbox: str, message_id: str) -> Thread | None:
        """The conversation that a mail of a mailbox belongs to."""
        place = await self.place(mailbox, message_id)
        return await self.get(mailbox, place.token) if place is not None else None

    async def answered(self, mailbox: str, ids: Iterable[str]) -> Thread | None:
        """The conversation of the first id that is known; callers give them in the order of their worth."""
        for number, message_id in enumerate(ids):
            if number >= _ASKED:
                break
            found = await self.of(mailbox, message_id)
            if found is not None:
                return found
        return None

    async def latest(self, mailbox: str, chat: str) -> Thread | None:
        """The conversation that went on last in a mailbox's chat; None where there is none."""
        token = await self._kv.get(_last(mailbox, chat))
        return await self.get(mailbox, token.decode()) if token is not None else None

    def rows(self, thread: Thread, ids: Iterable[str] = (), digest: str = "", author: str = "") -> Rows:
        """What to commit: the conversation as it is now, and that these ids of one mail belong to it."""
        rows = {thread.key: packed(thread), _last(thread.mailbox, thread.chat): thread.token.encode()}
        for message_id in ids:
            rows[self._row(thread.mailbox, message_id)] = f"{thread.token} {digest} {author}".encode()
        return rows

    async def keep(self, rows: Mapping[str, bytes]) -> None:
        """Commit rows where no event is committed with them: all of them, or none."""
        await self._keep(rows)

    def _row(self, mailbox: str, message_id: str) -> str:
        digest = blake2b(f"{mailbox}\0{message_id}".encode(errors="replace"), key=self._secret, digest_size=16)
        return f"m/{digest.hexdigest()}"


def _last(mailbox: str, chat: str) -> str:
    # Chats of logins are called the same in each of their mailboxes.
    name = f"{mailbox}\0{chat}".encode(errors="replace")
    return f"l/{blake2b(name, digest_size=16).hexdigest()}"
