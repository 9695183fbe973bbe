"""One connection to an IRC server: lines in, bytes out, small in memory under asyncio and uvloop."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from bridges.irc.codec.lines import LineBuffer
from bridges.irc.dialing import ConnectError, ConnectFailure, Route, dial
from bridges.irc.proxying import through
from bridges.irc.tls import SLICE, FingerprintError, TlsSession, TlsSettings

_BUFFERED_AT_MOST: Final = 65536


class WriteBufferFull(Exception):  # noqa: N818 - named for what is so
    """The server does not read: as much as allowed waits to be sent. Await `drain()` and write again."""


class Connection(asyncio.Protocol):
    """One connection, used once: `open`, then `write` and `on_lines` until `on_closed`.

    `on_lines` gets the lines of up to 16 KiB at a time, on the event loop; it must not block. `on_closed` is called
    once after a successful `open`: with None after our own `close`, else with the error. `route` says from where and
    through what the connection is made.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: TlsSettings | None,
        route: Route | None = None,
        *,
        on_lines: Callable[[list[bytes]], None],
        on_closed: Callable[[Exception | None], None],
        buffered_at_most: int = _BUFFERED_AT_MOST,
    ) -> None:
        self.host = host
        self.port = port
        self.lines = LineBuffer()
        self._tls_settings = tls
        self._route = route or Route()
        self._on_lines = on_lines
        self._on_closed = on_closed
        self._buffered_at_most = buffered_at_most
        self._transport: asyncio.Transport | None = None
        self._tls: TlsSession | None = None
        self._ready: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flushing = False
        self._blocked = False
        self._paused = False
        self._held = b""
        self._opened = False
        self._closing = False
        self._error: Exception | None = None

    async def open(self, timeout: float) -> None:
        """Resolves, connects and finishes the TLS handshake within `timeout` seconds, trying each address in turn.

        Raises ConnectError; then nothing is left open and `on_closed` is not called.
        """
        try:
            async with asyncio.timeout(timeout):
                reach = dial if self._route.proxy is None else through
                await self._secure(await reach(self.host, self.port, self._route, timeout))
        except TimeoutError:
            self._abort()
            step = "connected" if self._transport is None else "secured"
            raise ConnectError(
                ConnectFailure.TIMEOUT, f"{self.host} port {self.port} was not {step} within {timeout:g} seconds"
            ) from None
        except BaseException:
            self._abort()
            raise
        self._opened = True
        if self._error is not None:
            # The server closed in the same moment.
            self._opened = False
            raise self._error

    def write(self, data: bytes) -> None:
        """Sends serialized lines, gathered until the end of this turn of the loop. Nothing is sent once it is closed.

        Raises WriteBufferFull when that much is waiting already; nothing of `data` is sent then.
        """
        if self._closing or self._transport is None:
            return
        if self.buffered + len(data) > self._buffered_at_most:
            raise WriteBufferFull
        self._out.append(data)
        self._out_bytes += len(data)
        if not self._flushing and not self._blocked:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        return self._out_bytes + (self._transport.get_write_buffer_size() if self._transport is not None else 0)

    async def drain(self) -> None:
        """Returns once the server reads again and what was written is with the system, or the connection is gone."""
        while self._transport is not None and not self._closing and (self._blocked or self._flushing):
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def pause_reading(self) -> None:
        """Takes no more from the server until `resume_reading`; at most what was read already is held."""
        if not self._paused:
            self._paused = True
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Goes on reading; held lines arrive in the next turn of the loop."""
        if self._paused:
            self._paused = False
            if self._held:
                asyncio.get_running_loop().call_soon(self._continue)
            elif self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    async def close(self, timeout: float) -> None:
        """Sends what waits, says goodbye in TLS, and closes; cuts the connection after `timeout` seconds."""
        transport, gone = self._transport, self._gone
        if transport is None or gone is None:
            return
        if not self._closing:
            self._blocked = False
            self._flush()
            self._closing = True
            if self._tls is not None:
                self._tls.close()
                transport.write(self._tls.outgoing())
            transport.close()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(gone)
        except TimeoutError:
            transport.abort()
            await asyncio.shield(gone)

    # Opening

    async def _secure(self, connected: socket.socket) -> None:
        """Puts this protocol on a connected socket and waits for the handshake."""
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._gone = loop.create_future()
        await loop.create_connection(lambda: self, sock=connected)
        await self._ready

    def _abort(self) -> None:
        """Cuts the connection of a failed opening."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the handshake, or is ready at once."""
        assert self._ready is not None
        made = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = made
        made.set_write_buffer_limits(high=SLICE)
        if self._tls_settings is None:
            self._ready.set_result(None)
            return
        self._tls = TlsSession(self._tls_settings, self.host)
        self._step_tls(b"")

    def data_received(self, data: bytes) -> None:
        """Takes bytes in slices, so that no buffer grows; holds the rest of them once reading is paused."""
        if self._held:
            self._held += data
            return
        if len(data) <= SLICE and not self._paused:
            self._take(data)
            return
        view = memoryview(data)
        for place in range(0, len(data), SLICE):
            if self._paused:
                self._held = data[place:]
                return
            if self._closing:
                return
            self._take(view[place : place + SLICE])

    def _continue(self) -> None:
        """Goes on with held bytes after a pause."""
        if self._paused:
            return
        held, self._held = self._held, b""
        self.data_received(held)
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The server closed its side: so do we."""
        return False

    def pause_writing(self) -> None:
        """The system takes no more for now."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The system takes bytes again."""
        self._blocked = False
        self._flush()
        if not self._blocked:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whoever waits, once."""
        if self._error is None and not self._closing:
            if exc is None:
                self._error = ConnectError(ConnectFailure.CLOSED, f"{self.host} closed the connection")
            else:
                text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or type(exc).__name__
                self._error = ConnectError(ConnectFailure.CLOSED, f"the connection to {self.host} broke: {text}")
            held, self._held = self._held, b""
            for place in range(0, len(held), SLICE):
                self._take(held[place : place + SLICE])  # what was read is not lost, paused or not
        self._closing = True
        self._tls = None
        self._held = b""
        self._out.clear()
        self._out_bytes = 0
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(self._error or ConnectError(ConnectFailure.CLOSED, "closed while opening"))
            self._ready.exception()  # nobody may be waiting any more
        self._wake()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self._opened:
            self._opened = False
            self._on_closed(self._error)

    # Bytes

    def _take(self, piece: bytes | memoryview) -> None:
        """At most a slice from the network to lines."""
        if self._tls is not None:
            self._step_tls(piece)
        elif lines := self.lines.feed(bytes(piece)):
            self._on_lines(lines)

    def _step_tls(self, piece: bytes | memoryview) -> None:
        """At most a slice through TLS; a broken session ends the connection."""
        tls, transport, ready = self._tls, self._transport, self._ready
        assert tls is not None and transport is not None and ready is not None
        lines: list[bytes] = []
        try:
            for data in tls.receive(piece):
                lines += self.lines.feed(data)
        except ssl.SSLError as error:
            self._error = self._tls_error(error)
        answer = tls.outgoing()
        if answer:
            transport.write(answer)
        if lines:
            self._on_lines(lines)
        if self._error is not None:
            transport.abort() if ready.done() else transport.close()
        elif tls.closed_by_peer:
            transport.close()
        elif tls.ready and not ready.done():
            ready.set_result(None)

    def _tls_error(self, error: ssl.SSLError) -> ConnectError:
        """What a broken session means, in words."""
        if isinstance(error, FingerprintError):
            return ConnectError(ConnectFailure.CERTIFICATE, f"{self.host}: {error.args[0]}")
        if isinstance(error, ssl.SSLCertVerificationError):
            return ConnectError(ConnectFailure.CERTIFICATE, f"{self.host}: {error.verify_message}")
        reason = (error.reason or "the session broke").replace("_", " ").lower()
        return ConnectError(ConnectFailure.TLS, f"{self.host} port {self.port}, TLS: {reason}")

    def _flush(self) -> None:
        """Gives what was gathered to the system, a slice at a time until it takes no more."""
        self._flushing = False
        transport, tls = self._transport, self._tls
        if transport is None or self._closing or not self._out:
            self._wake()
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._out_bytes = 0
        for place in range(0, len(data), SLICE):
            if self._blocked:
                self._out.append(data[place:])
                self._out_bytes = len(data) - place
                return
            piece = data if len(data) <= SLICE else data[place : place + SLICE]
            if tls is None:
                transport.write(piece)
                continue
            try:
                tls.write(piece)
            except ssl.SSLError as error:
                self._error = self._tls_error(error)
                transport.abort()
                return
            transport.write(tls.outgoing())
        if not self._blocked:
            self._wake()

    def _wake(self) -> None:
        """Lets `drain` look again."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
