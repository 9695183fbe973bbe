"""The smallest HTTP/1.1 server that a Matrix client library accepts: keep-alive, no framework, no tasks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, JSON (or other) bytes, and whether the connection is cut instead of answered."""

    status: int
    body: bytes = b"{}"
    drop: bool = False
    content_type: bytes = b"application/json"


#: method, path, query, body -> the reply, or something awaitable that gives it.
Handler = Callable[[str, str, str, bytes], Reply | Awaitable[Reply]]

_REASONS = {200: b"OK", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found", 429: b"Too Many Requests"}


class HttpProtocol(asyncio.Protocol):
    """One keep-alive connection; requests are answered in order, plain ones without leaving the callback."""

    __slots__ = ("_buffer", "_handler", "_task", "_transport")

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering."""
        self._transport = None
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take bytes and answer every complete request in them."""
        self._buffer += data
        if self._task is None:
            self._work()

    def _work(self) -> None:
        while self._transport is not None and (taken := self._take()) is not None:
            method, target, body = taken
            path, _, query = target.partition("?")
            try:
                reply = self._handler(method, path, query, body)
            except Exception as problem:
                reply = _failed(problem)
            if isinstance(reply, Reply):
                self._answer(reply)
            else:
                self._task = asyncio.ensure_future(self._later(reply))
                return

    async def _later(self, pending: Awaitable[Reply]) -> None:
        try:
            reply = await pending
        except Exception as problem:
            reply = _failed(problem)
        self._answer(reply)
        self._task = None
        self._work()

    def _take(self) -> tuple[str, str, bytes] | None:
        """Cut one complete request off the buffer."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(buffer[:end])
        lowered = head.lower()
        first = head[: head.find(b"\r\n")] if b"\r\n" in head else head
        start = end + 4
        at = lowered.find(b"\r\ncontent-length:")
        if at >= 0:
            stop = lowered.find(b"\r\n", at + 2)
            length = int(head[at + 17 : stop if stop >= 0 else None])
            if len(buffer) < start + length:
                self._continue(lowered)
                return None
            body = bytes(buffer[start : start + length])
            del buffer[: start + length]
        elif b"\r\ntransfer-encoding:" in lowered:
            chunks = _chunked(buffer, start)
            if chunks is None:
                self._continue(lowered)
                return None
            body, stop = chunks
            del buffer[:stop]
        else:
            body = b""
            del buffer[:start]
        method, target, _ = first.decode("latin-1").split(" ", 2)
        return method, target, body

    def _continue(self, lowered: bytes) -> None:
        if b"\r\nexpect: 100-continue" in lowered and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer(self, reply: Reply) -> None:
        if self._transport is None:
            return
        if reply.drop:
            self._transport.abort()
            self._transport = None
            return
        self._transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (
                reply.status,
                _REASONS.get(reply.status, b"Status"),
                reply.content_type,
                len(reply.body),
                reply.body,
            )
        )


def _failed(problem: Exception) -> Reply:
    """Say what went wrong in the stub itself, so that a measurement names its cause instead of hanging."""
    text = json.dumps({"errcode": "STUB_FAILED", "error": repr(problem)})
    return Reply(500, text.encode())


def _chunked(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """Read a chunked body; None while it is incomplete."""
    parts: list[bytes] = []
    position = start
    while True:
        line = buffer.find(b"\r\n", position)
        if line < 0:
            return None
        size = int(bytes(buffer[position:line]).split(b";")[0], 16)
        position = line + 2
        if len(buffer) < position + size + 2:
            return None
        parts.append(bytes(buffer[position : position + size]))
        position += size + 2
        if size == 0:
            return b"".join(parts), position
