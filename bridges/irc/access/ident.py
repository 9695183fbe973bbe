"""The ident server: tells an IRC server the user name of a connection that we made to it, and nothing else to anybody.

A connection is registered with its port before it is made, so that no question can come too early (RFC 1413).
"""

import asyncio
from ipaddress import ip_address
from typing import Final, cast

import structlog

from bridges.irc.codec.identd import INVALID, QUERY_LIMIT, answer, read_query
from bridges.irc.dialing import Address

log = structlog.get_logger(__name__)
_ASKERS_AT_MOST: Final = 256
"""Questions at once; a server that welcomes many asks many. Further ones are turned away."""
_PATIENCE: Final = 10.0
"""Seconds within which a question must be asked."""

Key = tuple[str, int, str, int]
"""Our address (empty: any) and port, the server's address and port."""


class IdentServer:
    """One listener, shared by the networks of a process; `start` and `stop` count who uses it."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._names: dict[Key, str] = {}
        self._users = 0
        self._listening: asyncio.Server | None = None
        self._changing = asyncio.Lock()
        self.askers: set[Asker] = set()
        self.asked = 0
        self.named = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._listening is not None and self._listening.sockets:
            return int(self._listening.sockets[0].getsockname()[1])
        return self._port

    async def start(self) -> None:
        """Listens, if nobody else made it listen already. Raises OSError."""
        async with self._changing:
            if self._listening is None:
                loop = asyncio.get_running_loop()
                self._listening = await loop.create_server(lambda: Asker(self), self._host or None, self._port)
            self._users += 1

    async def stop(self) -> None:
        """Stops listening once nobody uses it any more."""
        async with self._changing:
            self._users -= 1
            if self._users > 0 or self._listening is None:
                return
            listening, self._listening = self._listening, None
            listening.close()
            for asker in list(self.askers):
                asker.end()

    def claim(self, ours: Address, theirs: Address, name: str) -> Key:
        """A connection is about to be made; returns what `release` takes."""
        key = (_plain(ours[0]), ours[1], _plain(theirs[0]), theirs[1])
        self._names[key] = name
        return key

    def release(self, key: Key) -> None:
        """The connection is gone. Idempotent."""
        self._names.pop(key, None)

    def name(self, asked: Address, asker: Address, ours: int, theirs: int) -> str | None:
        """The user name of a connection, for the server at its other end only."""
        self.asked += 1
        peer = _plain(asker[0])
        name = self._names.get((_plain(asked[0]), ours, peer, theirs)) or self._names.get(("", ours, peer, theirs))
        self.named += name is not None
        return name


class Asker(asyncio.Protocol):
    """One who asks: one question, one answer, and the connection is closed."""

    __slots__ = ("_line", "_server", "_timer", "_transport")

    def __init__(self, server: IdentServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._line = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the question, unless too many ask already."""
        made = cast(asyncio.Transport, transport)
        if len(self._server.askers) >= _ASKERS_AT_MOST:
            log.debug("irc_ident_crowded")
            made.abort()
            return
        self._transport = made
        self._server.askers.add(self)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self.end)

    def data_received(self, data: bytes) -> None:
        """Answers the first line; what is too long for a question ends the connection."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        line, ended, _ = (self._line + data[: QUERY_LIMIT + 1]).partition(b"\n")
        if len(line) > QUERY_LIMIT:
            self.end()
            return
        self._line = line
        if not ended:
            return
        ports = read_query(line)
        if ports is None:
            transport.write(INVALID)
        else:
            name = self._server.name(transport.get_extra_info("sockname"), transport.get_extra_info("peername"), *ports)
            transport.write(answer(*ports, name))
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Makes room for the next."""
        if self._timer is not None:
            self._timer.cancel()
        self._server.askers.discard(self)

    def end(self) -> None:
        """Cuts the connection."""
        if self._transport is not None:
            self._transport.abort()


def _plain(address: str) -> str:
    """An address in one spelling; empty for "any"."""
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return "" if parsed.is_unspecified else str(parsed)
