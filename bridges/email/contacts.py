"""Whom each mailbox has to do with: who wrote and was accepted, whom it wrote to, and who is blocked."""

from enum import StrEnum
from hashlib import blake2b

from bridge_core.api.host import KV
from bridges.email.codec.addresses import Address
from bridges.email.people import UNVERIFIED
from bridges.email.threads import Rows


class Standing(StrEnum):
    """What a mailbox thinks of somebody."""

    KNOWN = "known"
    BLOCKED = "blocked"


class Contacts:
    """Kept in the network's store; changes are rows that are committed with their events."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def standing(self, mailbox: str, person: Address, *, verified: bool = True) -> Standing | None:
        """None for a stranger.

        Who is not `verified` is blocked by the address that they claim, but known only where somebody accepted just
        that: mail of this address though nobody answers for it.
        """
        row = await self._kv.get(_key(mailbox, person.key))
        standing = Standing(row.decode()) if row is not None else None
        if verified or standing is Standing.BLOCKED:
            return standing
        accepted = await self._kv.get(_key(mailbox, UNVERIFIED + person.key))
        return Standing.KNOWN if accepted is not None else None

    async def known(self, mailbox: str, person: Address) -> bool:
        """Whether somebody is no stranger, and not blocked."""
        return await self.standing(mailbox, person) is Standing.KNOWN

    def row(self, mailbox: str, person: Address, standing: Standing) -> Rows:
        """What to commit."""
        return {_key(mailbox, person.key): standing.encode()}

    async def set(self, mailbox: str, person: Address, standing: Standing, *, verified: bool = True) -> None:
        """Return when committed. Who is known though not `verified` is known when they are, too."""
        if not verified or standing is Standing.BLOCKED:
            accepted = None if standing is Standing.BLOCKED else standing.encode()
            await self._kv.put(_key(mailbox, UNVERIFIED + person.key), accepted)
        await self._kv.put(_key(mailbox, person.key), standing.encode())

    async def forget(self, mailbox: str, person: Address) -> None:
        """They are a stranger again, proved or not; return when committed."""
        await self._kv.put(_key(mailbox, UNVERIFIED + person.key), None)
        await self._kv.put(_key(mailbox, person.key), None)


def _key(mailbox: str, person: str) -> str:
    return f"p/{blake2b(f'{mailbox} {person}'.encode(errors='replace'), digest_size=16).hexdigest()}"
