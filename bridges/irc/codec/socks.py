"""SOCKS version 5 (RFC 1928) with user and password (RFC 1929), without input or output."""

from collections.abc import Generator
from ipaddress import IPv6Address, ip_address
from typing import Final

_VERSION: Final = 5
_NO_LOGIN: Final = 0
_PASSWORD: Final = 2
_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_REPLIES: Final = {
    1: "failed",
    2: "does not allow it",
    3: "says that the network is unreachable",
    4: "says that the host is unreachable",
    5: "says that the connection was refused",
    6: "waited too long",
    7: "does not know how to connect",
    8: "does not take this kind of address",
}
Step = Generator[tuple[bytes, int], bytes, None]
"""Yields what to send and how many bytes to read then, and is sent those."""


class SocksError(Exception):
    """The proxy will not, or is none; the text says so in words."""


class SocksRefused(SocksError):  # noqa: N818 - named for what is so
    """The proxy works, but did not reach the server."""


def connect(host: str, port: int, login: tuple[bytes, bytes] | None) -> Step:
    """The conversation that connects to a name or address; names are given to the proxy as they are.

    Raises SocksError from `send`.
    """
    methods = bytes([_NO_LOGIN, _PASSWORD]) if login is not None else bytes([_NO_LOGIN])
    answer = yield bytes([_VERSION, len(methods)]) + methods, 2
    if answer[0] != _VERSION:
        raise SocksError("does not speak SOCKS 5")
    if answer[1] == _PASSWORD and login is not None:
        user, password = login
        sent = bytes([1, len(user)]) + user + bytes([len(password)]) + password
        answer = yield sent, 2
        if answer[1] != 0:
            raise SocksError("refuses user and password")
    elif answer[1] != _NO_LOGIN:
        raise SocksError("wants a login that we do not have")
    request = bytes([_VERSION, _CONNECT, 0]) + _address(host) + port.to_bytes(2, "big")
    answer = yield request, 5
    if answer[0] != _VERSION:
        raise SocksError("does not speak SOCKS 5")
    if answer[1] != 0:
        raise SocksRefused(_REPLIES.get(answer[1], f"failed with code {answer[1]}"))
    # What it is bound to: of no use, but it stands before the first byte of the server.
    length = {_IPV4: 3, _IPV6: 15, _NAME: answer[4]}.get(answer[3])
    if length is None:
        raise SocksError("answered with an unknown kind of address")
    yield b"", length + 2


def _address(host: str) -> bytes:
    """A host as SOCKS writes it. Raises SocksError for a name that it cannot write."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            name = host.encode("ascii") if host.isascii() else host.encode("idna")
        except UnicodeError:
            raise SocksError("cannot be asked for that name") from None
        if not 0 < len(name) < 256:
            raise SocksError("cannot be asked for that name") from None
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV6 if isinstance(address, IPv6Address) else _IPV4]) + address.packed
