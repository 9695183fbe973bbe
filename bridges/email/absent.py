"""Who is not written to from a room any more: people whom somebody of the mailbox has removed from it."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import orjson

from bridge_core.api.host import KV
from bridges.email.codec.addresses import Address

_MOST: Final = 500
"""People of one room that are remembered; who was removed first is forgotten first."""
Rows = dict[str, bytes]


class Absent:
    """Kept in the network's store. What is changed with a mail are rows, to be committed with it."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def of(self, mailbox: str, chat: str) -> frozenset[str]:
        """Their keys."""
        return frozenset(await self._of(mailbox, chat))

    async def add(self, mailbox: str, chat: str, person: Address) -> None:
        """Somebody is not written to any more; return when committed. Idempotent."""
        before = await self._of(mailbox, chat)
        if person.key not in before:
            await self._kv.put(_key(mailbox, chat), orjson.dumps([*before, person.key][-_MOST:]))

    async def back(self, mailbox: str, chat: str, people: Iterable[Address]) -> Rows:
        """What to commit: they are written to again. Nothing where they were all the time."""
        before = await self._of(mailbox, chat)
        keys = {one.key for one in people}
        left = [one for one in before if one not in keys]
        return {_key(mailbox, chat): orjson.dumps(left)} if len(left) < len(before) else {}

    async def _of(self, mailbox: str, chat: str) -> list[str]:
        row = await self._kv.get(_key(mailbox, chat))
        return list(orjson.loads(row)) if row else []


def _key(mailbox: str, chat: str) -> str:
    return f"a/{blake2b(f'{mailbox} {chat}'.encode(errors='replace'), digest_size=16).hexdigest()}"
