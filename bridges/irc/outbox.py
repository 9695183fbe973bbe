"""The writing half of a connection: what is sent now, what waits for its turn, and what is dropped."""

from collections.abc import Mapping
from typing import Final

import structlog

from bridges.irc.codec.serializer import UnsafeLine, serialize
from bridges.irc.outlet import Outlet, Rank, rank_of
from bridges.irc.state import NetworkState
from bridges.irc.transport import Connection, WriteBufferFull

log = structlog.get_logger(__name__)
BUFFER: Final = 65536
_AT_ONCE: Final = frozenset(("PONG", "PING", "QUIT"))


class Outbox:
    """Of one connection, which it is given, from an `address` of ours."""

    def __init__(self, state: NetworkState, connection: Connection, address: str = "") -> None:
        config = state.config
        self._state = state
        self._connection = connection
        self._traffic = state.meter.users
        self.outlet = (
            Outlet(config.rate, config.burst, self._write_late, state.sluices.of(address)) if config.rate > 0 else None
        )
        """How fast this connection speaks; None for as fast as it can."""
        self.up = False
        """Whether lines may be sent: registered and not closed."""

    def write(self, data: bytes) -> None:
        """Sends serialized lines. Raises WriteBufferFull: await `drain` then."""
        self._connection.write(data)
        self._traffic.said += data.count(b"\n")

    def reserve(self, size: int) -> None:
        """Raises WriteBufferFull when `write` would, for that many bytes."""
        if self._connection.buffered + size > BUFFER:
            raise WriteBufferFull

    async def drain(self) -> None:
        """Returns once the server reads again, or the connection is gone."""
        await self._connection.drain()

    async def turn(self, rank: Rank, cost: float = 1.0) -> None:
        """Waits until a line may be sent, in lines of cost; whether there still is a connection is seen then."""
        if self.outlet is not None and not self.outlet.free(cost):
            await self.outlet.take(rank, cost)

    async def say(self, command: str, *params: str) -> bool:
        """Sends a line when its turn comes, and returns then; False when the connection is gone. Raises UnsafeLine.

        What waits for an answer begins to wait here: `tell` may send much later.
        """
        data = serialize(command, *params)
        await self.turn(rank_of(command))
        while self.up:
            try:
                self.reserve(len(data))
                self.write(data)
                return True
            except WriteBufferFull:
                await self.drain()
        return False

    def queue(self, data: bytes, rank: Rank, cost: float = 1.0) -> bool:
        """Sends a line when its turn comes; False when it cannot be taken now."""
        try:
            self.reserve(len(data))
            if self.outlet is not None:
                return self.outlet.later(rank, data, cost)
            self.write(data)
        except WriteBufferFull:
            return False
        return True

    def tell(self, command: str, *params: str, tags: Mapping[str, str] | None = None) -> None:
        """Sends a line that nobody waits for; it is dropped, with a word in the log, when it cannot be sent.

        A TAGMSG, which says what is so just now, is sent now or never.
        """
        try:
            if not self.up:
                return
            data = serialize(command, *params, tags=tags)
            if self.outlet is None or command in _AT_ONCE:
                self._write_now(data)
            elif command == "TAGMSG":
                if self.outlet.free():
                    self.write(data)
            elif not self.outlet.later(Rank.COURTESY if command == "NOTICE" else rank_of(command), data):
                log.warning("irc_line_not_sent", network=self._state.network, command=command, error="too many wait")
        except (UnsafeLine, WriteBufferFull) as error:
            log.warning("irc_line_not_sent", network=self._state.network, command=command, error=type(error).__name__)

    def _write_now(self, data: bytes) -> None:
        """Sends a line whatever waits; what comes after it waits longer. Raises WriteBufferFull."""
        if self.outlet is not None:
            self.outlet.spend()
        self.write(data)

    def _write_late(self, data: bytes) -> None:
        """Sends a line whose turn has come."""
        try:
            if self.up:
                self.write(data)
        except WriteBufferFull:
            log.warning("irc_line_not_sent", network=self._state.network, command="", error="WriteBufferFull")
