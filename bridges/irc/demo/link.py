"""The socket side of one client: lines in, batched writes out, queue limits."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from bridges.irc.demo.client import Client

if TYPE_CHECKING:
    from bridges.irc.demo.world import World

#: Bytes of tags a client may send, with the ``@`` and the space (IRCv3 message-tags).
CLIENT_TAGS_LIMIT = 4096


class Link(asyncio.Protocol):
    """One accepted connection. All it is asked to say in one turn of the loop leaves in one write."""

    __slots__ = ("_buffer", "_closing", "_dirty", "_held", "_out", "client", "transport", "world")

    def __init__(self, world: World) -> None:
        self.world = world
        self.transport: asyncio.Transport | None = None
        self.client: Client | None = None
        self._buffer = b""
        self._out: list[bytes] = []
        self._dirty = False
        self._closing = False
        self._held: deque[bytes] = deque()

    # --- socket events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection, or drop it when the fault says so."""
        self.transport = cast(asyncio.Transport, transport)
        if self.world.faults.refuse_connections:
            self.transport.abort()
            return
        peer = transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else "localhost"
        if host.startswith(":"):
            host = "0" + host
        secure = transport.get_extra_info("ssl_object") is not None
        self.client = Client(self, host, secure, self.world.now())
        self.world.link_opened(self)
        if self.world.faults.stalled:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the others know that this client is gone."""
        self._closing = True
        if self.client is not None:
            self.world.quit(self.client, "Connection closed" if exc is None else f"Read error: {exc}")
        self.world.link_lost(self)

    def data_received(self, data: bytes) -> None:
        """Split input into lines and run each as a command."""
        client = self.client
        if client is None or self._closing:
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        limit = self.world.options.line_length - 2
        for raw in lines:
            raw = raw.rstrip(b"\r")
            if not raw:
                continue
            text = raw.decode("latin-1")
            cut = text.find(" ") + 1 if text.startswith("@") else 0
            if cut > CLIENT_TAGS_LIMIT:
                self.world.numeric(client, 417, "Input line was too long")
                continue
            self.world.handle(client, text[: cut + limit])
            if self._closing:
                return
        if len(self._buffer) > self.world.options.receive_queue:
            self.world.kill(client, "RecvQ exceeded")

    # --- output

    def write(self, data: bytes) -> None:
        """Queue bytes; they leave at the end of this turn of the loop. Never blocks.

        A reader too slow for ``send_queue`` bytes is disconnected, as real servers do.
        """
        if self._closing:
            return
        self._out.append(data)
        if not self._dirty:
            self._dirty = True
            self.world.schedule_flush(self)

    def flush(self) -> None:
        """Hand everything queued to the transport in one piece and check the send queue's limit."""
        self._dirty = False
        if not self._out or self.transport is None:
            return
        data = b"".join(self._out)
        self._out.clear()
        if self.transport.is_closing():
            return
        delay = self.world.faults.delay
        if delay > 0 or self._held:
            self._held.append(data)
            asyncio.get_running_loop().call_later(delay, self._release)
        else:
            self.transport.write(data)
        if self.transport.get_write_buffer_size() > self.world.options.send_queue and not self._closing:
            self.abort("SendQ exceeded")

    def _release(self) -> None:
        """Let one held write go; a timer runs for each, so they leave in order."""
        if self._held and self.transport is not None:
            data = self._held.popleft()
            if not self.transport.is_closing():
                self.transport.write(data)

    # --- ending

    def close(self, reason: str) -> None:
        """Say ERROR and close once what is queued has been written."""
        if self._closing or self.transport is None:
            return
        self.write(f"ERROR :Closing link: {reason}\r\n".encode("latin-1", "replace"))
        self.flush()
        self._closing = True
        self.transport.close()

    def abort(self, reason: str) -> None:
        """Cut the connection at once; the others see the reason."""
        self._closing = True
        if self.client is not None:
            self.world.quit(self.client, reason)
        if self.transport is not None:
            self.transport.abort()
