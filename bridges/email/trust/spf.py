"""SPF (RFC 7208): whether a domain lets a peer send for it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from bridges.email.codec.addresses import parse_domain
from bridges.email.codec.spf import Mechanism, expand, is_spf, needs_validated, parse_spf
from bridges.email.mail import Result
from bridges.email.trust.names import DnsTroubleError, Names

MOST_LOOKUPS: Final = 10
MOST_VOID: Final = 2
_MOST_NAMES: Final = 10
"""Mail servers of one mx, and names of one ptr (section 4.6.4)."""
_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class SpfCheck:
    """What a check gave. `domain` is the one that answers for the peer; `reason` is for people."""

    result: Result
    domain: str = ""
    reason: str = ""


async def check_spf(names: Names, peer: str, local: str, domain: str, helo: str) -> SpfCheck:
    """`check_host` of RFC 7208 section 4, without explanations. Never raises; bounded in lookups and time."""
    try:
        address = _plain(peer)
    except ValueError:
        return SpfCheck(Result.NONE, domain, "the peer has no address")
    visit = _Visit(names, address, local or "postmaster", domain, helo)
    try:
        async with asyncio.timeout(_SECONDS):
            result = await visit.check(domain)
    except (DnsTroubleError, TimeoutError) as error:
        return SpfCheck(Result.TEMPERROR, domain, str(error) or "DNS is too slow")
    except _BrokenError as error:
        return SpfCheck(Result.PERMERROR, domain, str(error))
    return SpfCheck(result, domain)


def _plain(peer: str) -> IPv4Address | IPv6Address:
    address = ip_address(peer)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


class _BrokenError(Exception):
    """The record cannot be used: permerror."""


class _Visit:
    """One check, with what it may still look up. `sender` is the domain of the whole check, whatever is included."""

    def __init__(self, names: Names, address: IPv4Address | IPv6Address, local: str, sender: str, helo: str) -> None:
        self._names = names
        self._address = address
        self._v6 = isinstance(address, IPv6Address)
        self._local = local
        self._sender = sender
        self._helo = helo
        self._lookups = 0
        self._void = 0

    async def check(self, domain: str) -> Result:
        if not _usable(domain):
            return Result.NONE
        records = [text for text in await self._names.txt(domain) if is_spf(text)]
        if not records:
            return Result.NONE
        if len(records) > 1:
            raise _BrokenError(f"{domain} has more than one SPF record")
        try:
            record = parse_spf(records[0])
        except ValueError as error:
            raise _BrokenError(f"the SPF record of {domain}: {error}") from error
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                return mechanism.result
        if record.redirect and not any(one.name == "all" for one in record.mechanisms):
            self._count()
            result = await self.check(await self._expanded(record.redirect, domain))
            if result is Result.NONE:
                raise _BrokenError("a redirect leads nowhere")
            return result
        return Result.NEUTRAL

    async def _matches(self, one: Mechanism, domain: str) -> bool:
        if one.name == "all":
            return True
        if one.network is not None:
            return self._address in one.network
        self._count()
        target = await self._expanded(one.domain, domain) if one.domain else domain
        match one.name:
            case "include":
                return await self._included(target)
            case "exists":
                return bool(self._seen(await self._asked(target, v6=False)))
            case "a":
                return self._near(self._seen(await self._asked(target, v6=self._v6)), one)
            case "mx":
                return await self._mx(target, one)
            case _:
                return await self._ptr(target)

    async def _included(self, target: str) -> bool:
        result = await self.check(target)
        if result is Result.NONE:
            raise _BrokenError(f"{target} is included and has no SPF record")
        return result is Result.PASS

    async def _mx(self, target: str, one: Mechanism) -> bool:
        hosts = self._seen(await self._names.mx(target)) if _usable(target) else []
        if len(hosts) > _MOST_NAMES:
            raise _BrokenError(f"{target} has too many mail servers")
        for host in hosts:
            if self._near(await self._asked(host, v6=self._v6), one):
                return True
        return False

    async def _ptr(self, target: str) -> bool:
        target = target.lower()
        return any(name == target or name.endswith(f".{target}") for name in await self._validated())

    async def _validated(self) -> list[str]:
        """The names of the peer that lead back to it. Trouble with DNS means there are none (section 5.5)."""
        found = []
        try:
            pointers = self._seen(await self._names.pointers(str(self._address)))
        except DnsTroubleError:
            return []
        for name in pointers[:_MOST_NAMES]:
            try:
                addresses = await self._asked(name, v6=self._v6)
            except DnsTroubleError:
                continue
            if any(ip_address(address) == self._address for address in addresses):
                found.append(name)
        return found

    async def _asked(self, name: str, *, v6: bool) -> Sequence[str]:
        return await self._names.addresses(name, v6=v6) if _usable(name) else []

    def _near(self, addresses: Sequence[str], one: Mechanism) -> bool:
        length = one.v6 if self._v6 else one.v4
        return any(self._address in ip_network((address, length), strict=False) for address in addresses)

    def _seen(self, found: Sequence[str]) -> Sequence[str]:
        if not found:
            self._void += 1
            if self._void > MOST_VOID:
                raise _BrokenError("too many lookups find nothing")
        return found

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MOST_LOOKUPS:
            raise _BrokenError("it takes more than 10 lookups")

    async def _expanded(self, spec: str, domain: str) -> str:
        validated = "unknown"
        if needs_validated(spec):
            names = await self._validated()
            validated = next((name for name in names if name == domain or name.endswith(f".{domain}")), "")
            validated = validated or next(iter(names), "unknown")
        values = {
            "s": f"{self._local}@{self._sender}",
            "l": self._local,
            "o": self._sender,
            "d": domain,
            "i": ".".join(self._address.exploded.replace(":", "")) if self._v6 else str(self._address),
            "p": validated,
            "h": self._helo,
            "v": "ip6" if self._v6 else "in-addr",
        }
        return expand(spec, values)


def _usable(domain: str) -> bool:
    """Whether it can be asked for: several labels, none empty or too long (section 4.3)."""
    labels = domain.removesuffix(".").split(".")
    return len(labels) > 1 and len(domain) <= 253 and all(0 < len(label) <= 63 for label in labels)


def spf_domain(text: str) -> str:
    """A HELO name as a domain to check; empty for a literal or what is none."""
    try:
        domain = parse_domain(text)
    except ValueError:
        return ""
    return "" if domain.startswith("[") else domain
