"""From a host's name to a connected socket, with reasons in words when there is none."""

import asyncio
import random
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

Address: TypeAlias = tuple[str, int]
Bound: TypeAlias = Callable[[Address, Address], None]
"""Called with our own and the server's address while a connection is about to be made."""
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
# Numbers of Linux, which the socket module does not know.


@dataclass(frozen=True, slots=True)
class ProxyServer:
    """A SOCKS5 proxy: host and port, or the path of its socket; `login` is user and password for it."""

    host: str = ""
    port: int = 0
    unix: str | None = None
    login: tuple[bytes, bytes] | None = None

    def __str__(self) -> str:
        return self.unix or f"{self.host} port {self.port}"


@dataclass(frozen=True, slots=True)
class Route:
    """How a connection leaves this machine.

    `source` is our own address, which with `freebind` need not be one of an interface; only servers' addresses of its
    family are tried, or those of `family`. `bound` is told our port before each try.
    """

    source: str | None = None
    freebind: bool = False
    family: socket.AddressFamily | None = None
    bound: Bound | None = None
    proxy: ProxyServer | None = None


class ConnectFailure(StrEnum):
    """Why a connection does not exist."""

    DNS = "dns"
    BIND = "bind"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"
    CLOSED = "closed"
    PROXY = "proxy"


class ConnectError(Exception):
    """No connection, or no longer; the text says why, for admins."""

    def __init__(self, failure: ConnectFailure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


async def dial(host: str, port: int, route: Route, timeout: float) -> socket.socket:
    """A connected, non-blocking socket.

    Tries the host's addresses one after the other, each with its share of the time. The kinds come in the system's
    order (RFC 6724), those of one kind in any: many servers stand behind the name of a network. The caller bounds the
    whole by `timeout` seconds.

    Raises ConnectError, for the last address tried.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectError(ConnectFailure.DNS, f"{host} has no address: {error}") from None
    addresses = _ordered([(info[0], info[4]) for info in found], route)
    failure = ConnectError(ConnectFailure.DNS, f"{host} has no address that can be reached {_from(route)}")
    for place, (kind, address) in enumerate(addresses):
        left = len(addresses) - place
        try:
            async with asyncio.timeout(timeout / left if left > 1 else None):
                return await _connect(kind, address, route)
        except ConnectError as error:
            failure = error
        except TimeoutError:
            failure = ConnectError(ConnectFailure.TIMEOUT, f"{address[0]!s} port {port} does not answer")
    raise failure


def _ordered(found: list[tuple[int, tuple[Any, ...]]], route: Route) -> list[tuple[int, tuple[Any, ...]]]:
    """The addresses to try, in order."""
    wanted: int | None = route.family
    if route.source is not None:
        wanted = socket.AF_INET6 if ":" in route.source else socket.AF_INET
        if route.family not in (None, wanted):
            return []
    kinds = list(dict.fromkeys(kind for kind, _ in found if wanted in (None, kind)))
    ordered = []
    for kind in kinds:
        some = list(dict.fromkeys((one, address) for one, address in found if one == kind))
        random.shuffle(some)
        ordered += some
    return ordered


def _from(route: Route) -> str:
    """Where a route starts, in words."""
    kind = {socket.AF_INET: "over IPv4", socket.AF_INET6: "over IPv6"}.get(route.family or socket.AF_UNSPEC, "")
    return " ".join(filter(None, [kind, f"from {route.source}" if route.source is not None else ""])) or "from here"


async def _connect(
    family: int,
    address: tuple[Any, ...],  # host and port, for IPv6 two numbers more
    route: Route,
) -> socket.socket:
    """A connected socket to one address. Raises ConnectError."""
    host, port = address[:2]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if route.source is not None or route.bound is not None:
            _bind(made, route)
        if route.bound is not None:
            route.bound(made.getsockname()[:2], (host, port))
        try:
            await asyncio.get_running_loop().sock_connect(made, address)
        except ConnectionRefusedError:
            raise ConnectError(ConnectFailure.REFUSED, f"{host} refuses connections on port {port}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConnectError(ConnectFailure.UNREACHABLE, f"{host} port {port} cannot be reached: {reason}") from None
    except BaseException:
        made.close()
        raise
    return made


def _bind(made: socket.socket, route: Route) -> None:
    """Gives a socket its own address and port now, before it connects. Raises ConnectError."""
    try:
        if route.freebind and sys.platform == "linux":
            if made.family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            else:
                made.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        made.bind((route.source or "", 0))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConnectError(ConnectFailure.BIND, f"the address {route.source} cannot be used: {reason}") from None
