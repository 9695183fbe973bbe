"""One connection's bytes: read with back-pressure, written, secured."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

from bridges.email.codec.data import BareLineEnd, LongLine

_MUCH: Final = 128 * 1024
"""Bytes read ahead of who consumes them; then the peer is left waiting."""
_PIECE: Final = 64 * 1024


class Gone(Exception):  # noqa: N818 - it is an event
    """The connection has ended, or did not bring what was waited for in time."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Silence(Gone):
    """Nothing came in time; the connection is still there."""


class Interrupted(Exception):  # noqa: N818 - it is an event
    """The server stops, and nothing was going on."""


class Wire(asyncio.Protocol):
    """The transport's side feeds it, one reader takes from it. Only the serializer's bytes are given to `write`."""

    def __init__(self, connected: Callable[["Wire"], None] | None = None, *, tls: bool = False) -> None:
        """`tls`: it is secured before it is connected. Else see `start_tls`."""
        self._connected = connected
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._scanned = 0
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._full = False
        self._paused = False
        self._ended = False
        self._interrupted = False
        self._finished = False
        self.lost = False
        self.tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop calls it."""
        # Not asserted: uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        if self._connected is not None:
            self._connected(self)

    def data_received(self, data: bytes) -> None:
        """The event loop calls it."""
        self._buffer += data
        if len(self._buffer) > _MUCH and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True
        self._wake()

    def eof_received(self) -> bool:
        """A half-closed connection still gets its answers (not under TLS, which has no such thing)."""
        self._ended = True
        self._wake()
        return not self.tls

    def connection_lost(self, exc: Exception | None) -> None:
        """The event loop calls it. Nothing that is under way is cancelled by it."""
        self.lost = self._ended = True
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The event loop calls it."""
        self._full = True

    def resume_writing(self) -> None:
        """The event loop calls it."""
        self._full = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    @property
    def peer(self) -> str:
        """The peer's IP address; empty for a unix socket."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return plain_address(name)

    @property
    def waiting(self) -> int:
        """Bytes that have come and were not taken."""
        return len(self._buffer)

    @property
    def has_line(self) -> bool:
        """Whether a whole line has come."""
        return self._buffer.find(b"\n", self._scanned) >= 0

    async def line(self, longest: int, seconds: float) -> bytes:
        """The next line, without its CRLF. Raises BareLineEnd, LongLine, Silence, Gone; Interrupted between lines."""
        until = asyncio.get_running_loop().time() + seconds
        while (end := self._buffer.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._buffer)
            if self._scanned > longest:
                raise LongLine
            if self._interrupted:
                raise Interrupted
            await self._more(until)
        if end >= longest:
            raise LongLine
        line = bytes(self._buffer[: end + 1])
        self._take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise BareLineEnd
        return line[:-2]

    async def piece(self, seconds: float, most: int = _PIECE) -> bytes:
        """Some bytes, at least one. Raises Silence or Gone."""
        until = asyncio.get_running_loop().time() + seconds
        while not self._buffer:
            await self._more(until)
        piece = bytes(self._buffer[:most])
        self._take(len(piece))
        return piece

    def give_back(self, piece: bytes) -> None:
        """What was read too much."""
        self._buffer[:0] = piece
        self._scanned = 0

    def interrupt(self) -> None:
        """From now on nothing is waited for between two lines."""
        self._interrupted = True
        self._wake()

    def write(self, data: bytes) -> None:
        """Put bytes on their way; after `finish` they are dropped."""
        if self._transport is not None and not self.lost and not self._finished:
            self._transport.write(data)

    async def drain(self, seconds: float) -> None:
        """Wait until there is room for more. Raises Gone when the peer does not read."""
        while self._full and not self.lost:
            self._writable = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._writable, seconds)
            except TimeoutError as error:
                raise Gone("it does not read") from error

    async def start_tls(self, context: ssl.SSLContext, seconds: float) -> None:
        """Secure the connection; what came before is forgotten. Raises Gone when that fails."""
        assert self._transport is not None
        self._take(len(self._buffer))
        # The loop's TLS layer wants a transport that reads, or has never been paused.
        loop = asyncio.get_running_loop()
        self.tls = True
        try:
            self._transport = await loop.start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=seconds
            )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            self.lost = True
            raise Gone(f"no TLS: {type(error).__name__}") from error
        if self._transport is None:
            self.lost = True
            raise Gone("it went during the handshake")

    def finish(self) -> None:
        """Nothing more will be written; what comes can still be read."""
        self._finished = True
        if self._transport is not None and not self.lost:
            if self._transport.can_write_eof() and not self.tls:
                self._transport.write_eof()
            else:
                self._transport.close()

    def close(self) -> None:
        """End the connection once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, count: int) -> None:
        del self._buffer[:count]
        self._scanned = 0
        if self._paused and len(self._buffer) <= _MUCH // 2 and self._transport is not None and not self.lost:
            self._transport.resume_reading()
            self._paused = False

    async def _more(self, until: float) -> None:
        if self._ended:
            raise Gone("it hung up")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(until):
                await self._waiter
        except TimeoutError as error:
            raise Silence("it said nothing") from error
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def plain_address(name: object) -> str:
    """The IP address of a socket's name, as people write it; empty for a unix socket."""
    return str(name[0]).partition("%")[0].removeprefix("::ffff:") if isinstance(name, tuple) else ""
