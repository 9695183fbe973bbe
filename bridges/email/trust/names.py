"""DNS as the checks need it: answers kept for their time, bounded in number, in time, and in how much is asked at once.

No such name, and nothing of that type at it, are both an empty answer. An answer that does not come, or is broken, is
trouble, never an empty answer: what cannot be looked up proves nothing.
"""

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename

from bridges.email.config.trust import Dns

_AT_ONCE: Final = 200
_PRESENT: Final = 86_400.0
"""Seconds that an answer is kept at most, whatever it says."""
_ABSENT: Final = 60.0
"""The same for what is not there: whose record was just published is not refused for long."""
_MOST: Final = 100
"""Records of one answer."""


class DnsTroubleError(Exception):
    """The answer did not come, or cannot be believed."""


class Names(Protocol):
    """What is asked of DNS. All raise DnsTroubleError; names that cannot be asked for get an empty answer."""

    async def txt(self, name: str) -> Sequence[str]:
        """The texts at a name, each whole, one character for each byte."""

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str]:
        """The IPv4 or IPv6 addresses of a name."""

    async def mx(self, name: str) -> Sequence[str]:
        """The mail servers of a domain, the preferred first."""

    async def pointers(self, address: str) -> Sequence[str]:
        """The names that an address says it has."""


class Resolver:
    """The `Names` of the configured servers, or of the system's."""

    def __init__(self, settings: Dns) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not settings.servers)
        except dns.resolver.NoResolverConfiguration:
            self._resolver = dns.asyncresolver.Resolver(configure=False)
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver("127.0.0.1", 53)]
        if settings.servers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(*_server(server)) for server in settings.servers
            ]
        self._resolver.timeout = settings.timeout / 2
        self._resolver.lifetime = settings.timeout
        # The library's own would keep what is not there for decades, where the answer does not say for how long.
        self._resolver.cache = None
        self._resolver.use_edns(0, 0, 1232)
        self._answers: dict[tuple[str, str], tuple[float, list[Any]]] = {}
        self._most = settings.cached
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._timeout = settings.timeout

    async def txt(self, name: str) -> Sequence[str]:
        """As `Names.txt`."""
        return [b"".join(one.strings).decode("latin-1") for one in await self._ask(name, "TXT")]

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str]:
        """As `Names.addresses`."""
        return [one.address for one in await self._ask(name, "AAAA" if v6 else "A")]

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]]:
        """The mail servers of a domain with their preference, as they came; a null MX (RFC 7505) is `.`."""
        return [(one.preference, one.exchange.to_text().lower()) for one in await self._ask(name, "MX")]

    async def mx(self, name: str) -> Sequence[str]:
        """As `Names.mx`."""
        found = sorted(await self._ask(name, "MX"), key=lambda one: one.preference)
        return [one.exchange.to_text(omit_final_dot=True).lower() for one in found]

    async def pointers(self, address: str) -> Sequence[str]:
        """As `Names.pointers`."""
        name = dns.reversename.from_address(address).to_text()
        return [one.target.to_text(omit_final_dot=True).lower() for one in await self._ask(name, "PTR")]

    async def _ask(self, name: str, kind: str) -> list[Any]:
        place = name.lower(), kind
        known = self._answers.get(place)
        if known is not None and known[0] > time.time():
            return known[1]
        try:
            asked = dns.name.from_text(name if name.isascii() else name.encode("idna").decode())
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return []
        try:
            async with asyncio.timeout(self._timeout + 1), self._turn:
                answer = await self._resolver.resolve(asked, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return self._kept(place, [], time.time() + _ABSENT)
        except (dns.exception.DNSException, OSError, TimeoutError, ValueError) as error:
            raise DnsTroubleError(f"DNS does not answer for {name}") from error
        wanted = dns.rdatatype.from_text(kind)
        found = [one for one in answer.rrset or () if one.rdtype == wanted][:_MOST]
        longest = time.time() + (_PRESENT if found else _ABSENT)
        return self._kept(place, found, min(answer.expiration, longest))

    def _kept(self, place: tuple[str, str], found: list[Any], until: float) -> list[Any]:
        self._answers.pop(place, None)
        if until > time.time():
            self._answers[place] = (until, found)
            if len(self._answers) > self._most:
                del self._answers[next(iter(self._answers))]  # what was learnt first
        return found


def _server(text: str) -> tuple[str, int]:
    """`address`, `address:port` or `[address]:port`."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.removeprefix(":") or 53)
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        host, _, port = text.partition(":")
        return host, int(port or 53)
    return text, 53
