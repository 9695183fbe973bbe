"""The servers of one network, and which of them to try next."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

UNREACHABLE: Final = 60.0
"""Seconds for which a server that could not be reached is not the first choice."""
FULL: Final = 600.0
"""Seconds for which a server that takes no more clients is not the first choice."""
_HOST: Final = re.compile(r"[^\s/@,:\[\]\x00-\x20]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server: its name or address, and its port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, port: int) -> "Endpoint":
        """`host`, `host:port`, `[IPv6]`, `[IPv6]:port` or a bare IPv6 address. Raises ValueError."""
        bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?", text)
        if bracketed is not None:
            host, given = bracketed[1], bracketed[2]
        elif text.count(":") > 1:
            host, given = str(IPv6Address(text)), None
        else:
            host, _, given = text.partition(":")
            if ":" in text and not given:
                raise ValueError("the port is missing behind the colon")
            if not _HOST.fullmatch(host):
                raise ValueError("is not a server's name or address")
        if given and not (given.isascii() and given.isdigit() and 1 <= int(given) <= 65535):
            raise ValueError("a port is a number from 1 to 65535")
        return cls(host, int(given) if given else port)


class Endpoints:
    """The configured servers in order of preference. One that failed comes last for a while."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)
        self._avoided: dict[Endpoint, float] = {}

    def __iter__(self) -> Iterator[Endpoint]:
        """All servers in order of preference."""
        return iter(self._endpoints)

    def choose(self, now: float) -> Endpoint:
        """The first server that did not fail lately; if all did, the one that comes back first."""
        return min(self._endpoints, key=lambda one: max(self._avoided.get(one, 0.0) - now, 0.0))

    def failed(self, endpoint: Endpoint, now: float, pause: float) -> None:
        """A server could not be reached, or took nobody: others are tried first for `pause` seconds."""
        if endpoint in self._endpoints:
            self._avoided[endpoint] = max(self._avoided.get(endpoint, 0.0), now + pause)

    def worked(self, endpoint: Endpoint) -> None:
        """A server welcomed us."""
        self._avoided.pop(endpoint, None)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
