"""Addresses that nothing is sent to for a while: a server said that they do not exist."""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import orjson

from bridge_core.api.host import KV, Clock
from bridges.email.codec.addresses import Address
from bridges.email.ports import Reply

_PREFIX: Final = "suppressed/"
_HARD: Final = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1")
"""What says that there is no such mailbox (RFC 3463, 7505), not only that this mail was not liked."""
_FOLDING: Final = frozenset({"gmail.com", "googlemail.com"})
"""Where an address means the same with dots or tags and without."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An address of the list. `domain` is ours that wrote to it."""

    domain: str
    address: str
    reason: str
    until: int


class Suppressions:
    """The list, for each of our domains its own. Kept sealed.

    Nobody in `ours` is ever on it: the bridge knows better each time what addresses there are in its own domains.
    """

    def __init__(self, kv: KV, clock: Clock, keep: float) -> None:
        self._kv = kv
        self._clock = clock
        self._keep = keep
        self.ours: Collection[str] = ()

    async def find(self, domain: str, address: Address) -> Suppressed | None:
        """Why nothing is sent to the address now; None where it is."""
        row = await self._kv.get(_key(domain, address)) if address.domain not in self.ours else None
        found = _opened(row) if row is not None else None
        return found if found is not None and found.until > self._clock.now_ms() else None

    async def note(self, domain: str, address: Address, reply: Reply) -> None:
        """Put the address on the list, where the reply says that it does not exist."""
        if not self._keep or address.domain in self.ours or not reply.status.startswith(_HARD):
            return
        until = self._clock.now_ms() + int(self._keep * 1000)
        row = orjson.dumps([domain, str(address), f"{reply.code} {reply.status} {reply.text}"[:300], until])
        await self._kv.put(_key(domain, address), row)

    async def all(self) -> list[Suppressed]:
        """The whole list; what is over is taken off it."""
        found = []
        for key, row in (await self._kv.items(_PREFIX)).items():
            one = _opened(row)
            if one is not None and one.until > self._clock.now_ms():
                found.append(one)
            else:
                await self._kv.put(key, None)
        return sorted(found, key=lambda one: (one.domain, one.address))

    async def clear(self, address: Address, domain: str = "") -> int:
        """Take the address off the lists of all our domains, or of one. Returns off how many."""
        found = [one for one in await self.all() if base(one.address) == base(str(address))]
        wanted = [one for one in found if domain in {"", one.domain}]
        for one in wanted:
            await self._kv.put(_key(one.domain, address), None)
        return len(wanted)


def base(address: str) -> str:
    """The mailbox behind an address. Only where it is known that dots and tags mean nothing they are left out.

    Anywhere else a misspelt address that does not exist says nothing about one much like it.
    """
    local, _, domain = address.casefold().rpartition("@")
    if domain not in _FOLDING:
        return f"{local}@{domain}"
    head = local.partition("+")[0] or local
    return f"{head.replace('.', '')}@{domain}"


def _key(domain: str, address: Address) -> str:
    return f"{_PREFIX}{domain}/{sha256(base(address.key).encode()).hexdigest()[:32]}"


def _opened(row: bytes) -> Suppressed | None:
    try:
        return Suppressed(*orjson.loads(row))
    except (ValueError, TypeError):
        return None
