"""What somebody has said by commands about the next mail that they write in a room: whom it is for, and about what."""

import contextlib
from dataclasses import replace
from hashlib import blake2b
from typing import Final

import orjson

from bridge_core.api.host import KV, Clock
from bridges.email.codec.addresses import Address
from bridges.email.letterhead import Letterhead

_KEPT: Final = 3_600_000
"""Milliseconds after which it is forgotten: nobody thinks of it then."""
Rows = dict[str, bytes]


class Heads:
    """Kept in the network's store, one for each user and room. They end with the mail that they are for."""

    def __init__(self, kv: KV, clock: Clock) -> None:
        self._kv = kv
        self._clock = clock

    async def get(self, mailbox: str, chat: str, user: str) -> Letterhead:
        """What is for the user's next mail there; nothing, mostly."""
        row = await self._kv.get(_key(mailbox, chat, user))
        with contextlib.suppress(ValueError, KeyError, TypeError):
            data = orjson.loads(row) if row else None
            if data is not None and data["at"] + _KEPT > self._clock.now_ms():
                to, cc, bcc = (tuple(Address(*one) for one in group) for group in data["people"])
                return Letterhead((), to, cc, bcc, data["subject"])
        return Letterhead(())

    async def add(self, mailbox: str, chat: str, user: str, more: Letterhead) -> Letterhead:
        """Say more of it: people are added, a subject takes the place of the one before. Return when committed."""
        now = joined(await self.get(mailbox, chat, user), more)
        body = orjson.dumps(
            {
                "at": self._clock.now_ms(),
                "people": [[[one.local, one.domain, one.name] for one in group] for group in (now.to, now.cc, now.bcc)],
                "subject": now.subject,
            }
        )
        await self._kv.put(_key(mailbox, chat, user), body)
        return now

    async def forget(self, mailbox: str, chat: str, user: str) -> None:
        """It was not meant; return when committed."""
        await self._kv.put(_key(mailbox, chat, user), None)

    async def used(self, mailbox: str, chat: str, user: str) -> Rows:
        """What to commit with the mail that it was for."""
        key = _key(mailbox, chat, user)
        return {key: b""} if await self._kv.get(key) else {}


def joined(one: Letterhead, other: Letterhead) -> Letterhead:
    """What both say; the text, and the subject where it has one, are the other's."""
    return replace(
        other,
        to=_once(one.to, other.to),
        cc=_once(one.cc, other.cc),
        bcc=_once(one.bcc, other.bcc),
        subject=other.subject or one.subject,
    )


def _once(one: tuple[Address, ...], other: tuple[Address, ...]) -> tuple[Address, ...]:
    return tuple({person.key: person for person in (*one, *other)}.values())


def _key(mailbox: str, chat: str, user: str) -> str:
    return f"d/{blake2b(f'{mailbox} {user} {chat}'.encode(errors='replace'), digest_size=16).hexdigest()}"
