"""Whom each mailbox has to do with: who wrote and was accepted, whom it wrote to, and who is blocked."""

from enum import StrEnum
from hashlib import blake2b

from bridge_core.api.host import KV
from bridges.email.codec.addresses import Address
from bridges.email.threads import Rows


class Standing(StrEnum):
    """What a mailbox thinks of somebody."""

    KNOWN = "known"
    BLOCKED = "blocked"


class Contacts:
    """Kept in the network's store; changes are rows that are committed with their events."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def standing(self, mailbox: str, person: Address) -> Standing | None:
        """None for a stranger."""
        row = await self._kv.get(_key(mailbox, person))
        return Standing(row.decode()) if row is not None else None

    async def known(self, mailbox: str, person: Address) -> bool:
        """Whether somebody is no stranger, and not blocked."""
        return await self.standing(mailbox, person) is Standing.KNOWN

    def row(self, mailbox: str, person: Address, standing: Standing) -> Rows:
        """What to commit."""
        return {_key(mailbox, person): standing.encode()}

    async def set(self, mailbox: str, person: Address, standing: Standing) -> None:
        """Return when committed."""
        await self._kv.put(_key(mailbox, person), standing.encode())

    async def forget(self, mailbox: str, person: Address) -> None:
        """They are a stranger again; return when committed."""
        await self._kv.put(_key(mailbox, person), None)


def _key(mailbox: str, person: Address) -> str:
    return f"p/{blake2b(f'{mailbox} {person.key}'.encode(errors='replace'), digest_size=16).hexdigest()}"
