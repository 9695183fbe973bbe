"""Who is connected, counted by address and by the networks around it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from bridges.email.config.receiving import Connections
from bridges.email.ports import Reply

_V4 = (32, 24, 16)
_V6 = (64, 48, 32)


def masks(peer: str) -> tuple[str, str, str]:
    """The address and the two networks around it that count as one: /32, /24, /16; of IPv6 /64, /48, /32."""
    address = ip_address(peer)
    lengths = _V4 if isinstance(address, IPv4Address) else _V6
    first, second, third = (str(ip_network((address, length), strict=False)) for length in lengths)
    return first, second, third


class Crowd:
    """The connections that there are now."""

    def __init__(self, limits: Connections) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()
        self.all = 0

    @contextmanager
    def enter(self, peer: str) -> Iterator[Reply | None]:
        """Count a connection while it lasts. Gives the answer that sends it away where there are too many."""
        keys = () if not peer or self._exempt(peer) else masks(peer)
        most = (self._limits.address, self._limits.network, self._limits.region)
        refusal = None
        if self.all >= self._limits.most:
            refusal = Reply(421, "4.3.2", "too many connections, come back later")
        elif any(self._counts[key] >= limit for key, limit in zip(keys, most, strict=False)):
            refusal = Reply(421, "4.7.0", "too many connections from your network, come back later")
        if refusal is not None:
            yield refusal
            return
        self.all += 1
        self._counts.update(keys)
        try:
            yield None
        finally:
            self.all -= 1
            for key in keys:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]

    def _exempt(self, peer: str) -> bool:
        address: IPv4Address | IPv6Address = ip_address(peer)
        return any(address in network for network in self._limits.exempt)
