"""Conversations: which mail belongs to which, who takes part, and what an answer must name.

Everything is kept in the network's store: `t/TOKEN` is a conversation, `m/HASH` says which conversation a Message-ID of
a mailbox belongs to. Changes are returned as rows, to be committed with the mail that made them.
"""

import asyncio
import contextlib
from base64 import b32encode
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

import orjson

from bridge_core.api.host import KV
from bridge_core.api.ids import MessageId
from bridges.email.codec.addresses import Address

_REFERENCES: Final = 20
"""Ids that an answer names at most: the root, and the newest."""
_PEOPLE: Final = 200
"""People of one conversation that are remembered; who comes later is not answered by itself."""
_ASKED: Final = 50
"""Ids of a mail's References that are looked up."""
Rows = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Thread:
    """One conversation of one mailbox, in the chat `chat`. Ids are without brackets.

    `root` is the message that Matrix threads hang on. `references` are the ids of its mails, the root's first; the last
    is what an answer answers. `people` are all who wrote it or got it, the mailbox itself left out. `closed` ones were
    blocked or given up.
    """

    token: str
    mailbox: str
    chat: str
    root: MessageId
    subject: str
    people: tuple[Address, ...] = ()
    references: tuple[str, ...] = ()
    list_post: str = ""
    reads_reactions: bool = False
    unsubscribe: str = ""
    """Where a POST ends the list's mails (RFC 8058)."""

    @property
    def key(self) -> str:
        """Its row."""
        return f"t/{self.token}"

    def knows(self, person: Address) -> bool:
        """Whether somebody takes part."""
        return any(one.key == person.key for one in self.people)

    def with_people(self, people: Iterable[Address]) -> "Thread":
        """They take part from now on; names are learnt where there was none."""
        known = {one.key: one for one in self.people}
        for person in people:
            before = known.get(person.key)
            if (before is None and len(known) < _PEOPLE) or (before is not None and person.name and not before.name):
                known[person.key] = person
        return replace(self, people=tuple(known.values()))

    def without(self, person: str) -> "Thread":
        """Somebody (by key) takes part no more."""
        return replace(self, people=tuple(one for one in self.people if one.key != person))

    def after(self, message_id: str) -> "Thread":
        """A mail was added. The middle of what is remembered goes first."""
        ids = (*(one for one in self.references if one != message_id), message_id)
        if len(ids) > _REFERENCES:
            ids = (ids[0], *ids[-(_REFERENCES - 1) :])
        return replace(self, references=ids)


@dataclass(frozen=True, slots=True)
class Place:
    """A mail that is known: its conversation, the digest of its body, and the ghost (or mailbox) that said it."""

    token: str
    digest: str = ""
    author: str = ""


class Threads:
    """The conversations of one network. `secret` makes tokens that nobody can guess."""

    def __init__(self, kv: KV, secret: bytes) -> None:
        self._kv = kv
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

    async def get(self, token: str) -> Thread | None:
        """The conversation with this token."""
        if not token.isascii() or not token.isalnum() or len(token) > 40:
            return None
        row = await self._kv.get(f"t/{token}")
        return _thread(token, row) if row is not None else None

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
        return await self.get(place.token) if place is not None else None

    async def answered(self, mailbox: str, ids: Iterable[str]) -> Thread | None:
        """The conversation of the first id that is known; callers give them in the order of their worth."""
        for number, message_id in enumerate(ids):
            if number >= _ASKED:
                break
            found = await self.of(mailbox, message_id)
            if found is not None:
                return found
        return None

    async def latest(self, chat: str) -> Thread | None:
        """The conversation that went on last in a chat; None where there is none."""
        token = await self._kv.get(_last(chat))
        return await self.get(token.decode()) if token is not None else None

    def rows(self, thread: Thread, ids: Iterable[str] = (), digest: str = "", author: str = "") -> Rows:
        """What to commit: the conversation as it is now, and that these ids of one mail belong to it."""
        rows = {thread.key: _packed(thread), _last(thread.chat): thread.token.encode()}
        for message_id in ids:
            rows[self._row(thread.mailbox, message_id)] = f"{thread.token} {digest} {author}".encode()
        return rows

    async def keep(self, rows: Mapping[str, bytes]) -> None:
        """Commit rows where no event is committed with them; the conversation itself last."""
        for key, value in sorted(rows.items()):  # m/ before t/
            await self._kv.put(key, value)

    def _row(self, mailbox: str, message_id: str) -> str:
        digest = blake2b(f"{mailbox}\0{message_id}".encode(errors="replace"), key=self._secret, digest_size=16)
        return f"m/{digest.hexdigest()}"


def _last(chat: str) -> str:
    return f"l/{blake2b(chat.encode(), digest_size=16).hexdigest()}"


def _packed(thread: Thread) -> bytes:
    people = [[one.local, one.domain, one.name] for one in thread.people]
    return orjson.dumps(
        {
            "mailbox": thread.mailbox,
            "chat": thread.chat,
            "root": thread.root,
            "subject": thread.subject,
            "people": people,
            "references": thread.references,
            "list_post": thread.list_post,
            "reactions": thread.reads_reactions,
            "unsubscribe": thread.unsubscribe,
        }
    )


def _thread(token: str, row: bytes) -> Thread | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        data = orjson.loads(row)
        return Thread(
            token,
            data["mailbox"],
            data["chat"],
            MessageId(data["root"]),
            data["subject"],
            tuple(Address(*one) for one in data["people"]),
            tuple(data["references"]),
            data["list_post"],
            data["reactions"],
            data.get("unsubscribe", ""),
        )
    return None
