"""The socket side of one client: lines in, batched writes out, queue limits."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import TYPE_CHECKING, cast

from bridges.irc.demo import admission, ident
from bridges.irc.demo.client import Client
from bridges.irc.demo.penalty import Penalty

if TYPE_CHECKING:
    from bridges.irc.demo.world import World

#: Bytes of tags a client may send, with the ``@`` and the space (IRCv3 message-tags).
CLIENT_TAGS_LIMIT = 4096

#: Seconds a refused connection stays open: closing over unread input would reset it, and the last words were lost.
LINGER = 0.2


class Link(asyncio.Protocol):
    """One accepted connection. All it is asked to say in one turn of the loop leaves in one write."""

    __slots__ = ("_buffer", "_closing", "_dirty", "_held", "_ident", "_out", "_penalty", "client", "transport", "world")

    def __init__(self, world: World) -> None:
        self.world = world
        self.transport: asyncio.Transport | None = None
        self.client: Client | None = None
        self._buffer = b""
        self._out: list[bytes] = []
        self._dirty = False
        self._closing = False
        self._held: deque[bytes] = deque()
        self._ident: asyncio.Task[None] | None = None
        self._penalty: Penalty | None = None

    # --- socket events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection, or drop it when the fault says so."""
        self.transport = cast(asyncio.Transport, transport)
        if self.world.faults.refuse_connections:
            self.transport.abort()
            return
        peer = transport.get_extra_info("peername")
        address = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else ("127.0.0.1", 0)
        host = ("0" if address[0].startswith(":") else "") + address[0]
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(True) if tls is not None else None
        certfp = hashlib.sha256(shown).hexdigest() if shown else ""
        client = Client(self, address, tls is not None, self.world.now(), host=host, certfp=certfp)
        self.client = client
        self.world.link_opened(self)
        options = self.world.options
        if self.world.faults.stalled:
            self.transport.pause_reading()
        reason = admission.at_connect(self.world, client)
        if reason:
            self.world.stats["refused"] += 1
            self.end(reason, LINGER)
            return
        if options.flood is not None:
            self._penalty = Penalty(options.flood, self._handle)
        if options.ident_port is not None:
            client.checking = True
            ours = int(transport.get_extra_info("sockname")[1])
            self._ident = asyncio.create_task(ident.ask(self.world, client, ours), name="irc demo ident")

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the others know that this client is gone."""
        self._closing = True
        if self._ident is not None:
            self._ident.cancel()
        if self._penalty is not None:
            self._penalty.stop()
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
            text = text[: cut + limit]
            if self._penalty is None or not client.registered:
                self.world.handle(client, text)
            elif not self._penalty.take(text):
                self.world.stats["excess_flood"] += 1
                self.world.kill(client, "Excess Flood")
            if self._closing:
                return
        if len(self._buffer) > self.world.options.receive_queue:
            self.world.kill(client, "RecvQ exceeded")

    def _handle(self, text: str) -> None:
        if self.client is not None and not self._closing:
            self.world.handle(self.client, text)

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
        self.end(f"Closing link: {reason}")

    def end(self, words: str, linger: float = 0.0) -> None:
        """Close with exactly these words in the ERROR, after so many seconds in which input is thrown away."""
        if self._closing or self.transport is None:
            return
        self.write(f"ERROR :{words}\r\n".encode("latin-1", "replace"))
        self.flush()
        self._closing = True
        if linger:
            asyncio.get_running_loop().call_later(linger, self.transport.close)
        else:
            self.transport.close()

    def abort(self, reason: str) -> None:
        """Cut the connection at once; the others see the reason."""
        self._closing = True
        if self.client is not None:
            self.world.quit(self.client, reason)
        if self.transport is not None:
            self.transport.abort()
