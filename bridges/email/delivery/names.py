"""DNS for delivery: exchangers, addresses, texts, by dnspython."""

from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from bridges.email.delivery.hops import MissingNameError, NameTroubleError


class DnsNames:
    """The `Names` of hops, asked of the system's resolver. Its cache is dnspython's, bounded."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """As `Names.mx`."""
        return [(one.preference, one.exchange.to_text()) for one in await self._ask(domain, "MX")]

    async def addresses(self, host: str) -> Sequence[str]:
        """As `Names.addresses`."""
        found: list[str] = []
        trouble: NameTroubleError | None = None
        for kind in ("AAAA", "A"):
            try:
                found += [one.address for one in await self._ask(host, kind)]
            except MissingNameError:
                continue
            except NameTroubleError as error:
                trouble = error
        if found:
            return found
        if trouble is not None:
            raise trouble
        raise MissingNameError(host)

    async def txt(self, name: str) -> Sequence[str]:
        """As `Names.txt`."""
        return [b"".join(one.strings).decode(errors="replace") for one in await self._ask(name, "TXT")]

    async def _ask(self, name: str, kind: str) -> Any:
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
                self._resolver.cache = dns.resolver.LRUCache(10_000)
            return await self._resolver.resolve(name, kind, lifetime=self._seconds)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            raise MissingNameError(name) from error
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise NameTroubleError(name) from error
