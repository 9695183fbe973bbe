"""The stub homeserver's sender of transactions: one at a time, as Synapse does, as fast as acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.tally import mark


class PushError(RuntimeError):
    """The appservice did not acknowledge a transaction."""


@dataclass(frozen=True, slots=True)
class Load:
    """Messages to push: ``count`` events round-robin over ``routes`` (room, sender).

    With ``rate`` (events per second) each event is a transaction of its own; without, transactions hold
    ``batch`` events and follow one another at once.
    """

    routes: list[tuple[str, str]]
    count: int
    batch: int = 100
    rate: float = 0.0
    text: str = "hello there, this is a message of ordinary length"


@dataclass(slots=True)
class AppserviceLink:
    """A keep-alive connection to the appservice. Raises OSError and PushError."""

    url: str
    token: str
    txns: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def request(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Send one request and give status and body; connects when needed."""
        parts = urllib.parse.urlsplit(self.url)
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(parts.hostname, parts.port)
        assert self._reader is not None
        head = (
            f"{method} {parts.path.rstrip('/')}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        try:
            answer = await self._reader.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            length = 0
            for line in answer.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            return status, await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            await self.close()
            raise ConnectionResetError("the appservice closed the connection") from error

    async def transaction(self, events: Sequence[dict[str, Any]], **more: Any) -> None:
        """Put one transaction (`more`: to_device and so on); any status but 200 is an error."""
        path = f"/_matrix/app/v1/transactions/b{next(self.txns)}-{time.time_ns()}"
        status, body = await self.request("PUT", path, orjson.dumps({"events": events, **more}))
        if status != 200:
            raise PushError(f"transaction answered {status}: {body[:200]!r}")

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None


async def push(link: AppserviceLink, load: Load, event_ids: itertools.count[int], domain: str) -> None:
    """Push the load; returns when the last transaction is acknowledged."""
    routes = itertools.cycle(load.routes)
    started = time.monotonic()

    def event(sequence: int) -> dict[str, Any]:
        room, sender = next(routes)
        body = f"{mark(sequence, time.monotonic_ns())} {load.text}"
        return {
            "type": "m.room.message",
            "room_id": room,
            "sender": sender,
            "event_id": f"$p{next(event_ids)}:{domain}",
            "origin_server_ts": time.time_ns() // 1_000_000,
            "content": {"msgtype": "m.text", "body": body},
            "unsigned": {"age": 1},
        }

    if load.rate > 0:
        for sequence in range(load.count):
            pause = started + sequence / load.rate - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            await link.transaction([event(sequence)])
        return
    for start in range(0, load.count, load.batch):
        stop = min(start + load.batch, load.count)
        await link.transaction([event(sequence) for sequence in range(start, stop)])
