"""From a host's name to a connected socket, with reasons in words when there is none."""

import asyncio
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

Address: TypeAlias = tuple[str, int]
Bound: TypeAlias = Callable[[Address, Address], None]
"""Called with our own and the server's address while a connection is about to be made."""


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


class ConnectError(Exception):
    """No connection, or no longer; the text says why, for admins."""

    def __init__(self, failure: ConnectFailure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


async def dial(host: str, port: int, source_address: str | None, bound: Bound | None, timeout: float) -> socket.socket:
    """A connected, non-blocking socket.

    Tries the host's addresses one after the other, each with its share of the time. With a source address only
    addresses of its family are tried. The caller bounds the whole by `timeout` seconds.

    Raises ConnectError, for the last address tried.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectError(ConnectFailure.DNS, f"{host} has no address: {error}") from None
    family = None
    if source_address is not None:
        family = socket.AF_INET6 if ":" in source_address else socket.AF_INET
    addresses = [(info[0], info[4]) for info in found if family in (None, info[0])]
    failure = ConnectError(ConnectFailure.DNS, f"{host} has no address reachable from {source_address}")
    for place, (kind, address) in enumerate(addresses):
        left = len(addresses) - place
        try:
            async with asyncio.timeout(timeout / left if left > 1 else None):
                return await _connect(kind, address, source_address, bound)
        except ConnectError as error:
            failure = error
        except TimeoutError:
            failure = ConnectError(ConnectFailure.TIMEOUT, f"{address[0]!s} port {port} does not answer")
    raise failure


async def _connect(
    family: int,
    address: tuple[Any, ...],  # host and port, for IPv6 two numbers more
    source_address: str | None,
    bound: Bound | None,
) -> socket.socket:
    """A connected socket to one address. Raises ConnectError."""
    host, port = address[:2]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if source_address is not None or bound is not None:
            _bind(made, source_address)
        if bound is not None:
            bound(made.getsockname()[:2], (host, port))
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


def _bind(made: socket.socket, source_address: str | None) -> None:
    """Gives a socket its own address and port now, before it connects. Raises ConnectError."""
    try:
        made.bind((source_address or "", 0))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConnectError(ConnectFailure.BIND, f"the address {source_address} cannot be used: {reason}") from None
