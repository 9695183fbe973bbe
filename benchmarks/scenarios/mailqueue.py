"""mail-queue: CPU per delivery while few or 100,000 outgoing mails wait, all due, all one way."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.options import Options
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, MessageId, NetworkId, UserId
from bridge_core.api.network import Inbox
from bridge_core.engine.clock import SystemClock
from bridge_core.engine.host import Namespace
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.blobs import BlobSpool
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.config.delivery import Delivery, HostTls, Smarthost
from bridges.email.delivery.office import PostOffice
from bridges.email.delivery.rows import new_row
from bridges.email.ports import About, OutgoingMail

FEW = 3_000
MANY = 100_000
WARM = 500
DELIVERED = 2_000
_SECRET = "0123456789abcdefghijklmnopqrstuv"
_TOKENS = Tokens(_SECRET.encode())
_RAW = b"Subject: hello\r\n\r\n" + b"word " * 12 + b"\r\n"


class _Sink:
    """A mail server that says yes and forgets, in the least CPU there is."""

    def __init__(self) -> None:
        self.taken = 0
        self._wanted = 0
        self._enough = asyncio.Event()
        self.port = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def until(self, count: int) -> None:
        """Wait until so many mails were taken."""
        self._wanted = count
        self._enough.clear()
        async with asyncio.timeout(600):
            await self._enough.wait()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while line := await reader.readline():
                if line[:4] == b"DATA":
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    self.taken += 1
                    if self.taken >= self._wanted:
                        self._enough.set()
                writer.write(b"250 2.0.0 ok\r\n")
        writer.close()


class _Kept(BlobSpool):
    """All rows share one file: it is not dropped with the first."""

    async def drop(self, source: str) -> None:
        return None


async def _measure(rows: int) -> tuple[float, float]:
    """CPU seconds and seconds for deliveries out of a queue of so many, once it is under way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        blobs = _Kept(path / "spool", _SECRET.encode(), 10**9)
        await blobs.start()
        sink = _Sink()
        server = await sink.serve()
        async with _opened(path, blobs, sink.port) as office:
            await _fill(office, await blobs.put(_chunks(), 10**6), rows)
        # Opened anew: what filling it left to do for the database is no part of a delivery.
        async with _opened(path, blobs, sink.port) as office:
            office.start()
            await sink.until(WARM)
            spent, began = time.process_time(), time.monotonic()
            await sink.until(WARM + DELIVERED)
            result = time.process_time() - spent, time.monotonic() - began
            await office.stop(10)
        server.close()
        return result


@contextlib.asynccontextmanager
async def _opened(path: Path, blobs: BlobSpool, port: int) -> AsyncIterator[PostOffice]:
    database = Database(DatabaseSettings(f"sqlite:///{path}/bridge.db"), Seal(_SECRET))
    await database.start()
    tasks = TaskOwner("benchmark")
    host = SimpleNamespace(
        network=NetworkId("mail"),
        kv=Namespace(database.kv, "network:mail"),
        secrets=Namespace(database.kv, "sealed:mail"),
        blobs=blobs,
        clock=SystemClock(),
        tasks=tasks,
        http=None,
        queue=lambda name: database.queue(f"mail/{name}"),
    )
    settings = Delivery(smarthosts=[Smarthost(host="127.0.0.1", port=port, tls=HostTls.NONE)])
    try:
        yield PostOffice(cast(Host, host), cast(Inbox, None), _TOKENS, settings, "mail.example.org")
    finally:
        await tasks.close(time.monotonic() + 10)
        await database.stop()


async def _fill(office: PostOffice, blob: str, rows: int) -> None:
    now = SystemClock().now_ms() - 10_000
    mailbox = Address("support", "example.org")
    for start in range(0, rows, 1000):
        made = []
        for number in range(start, min(start + 1000, rows)):
            mail = OutgoingMail(f"m{number}", f"m{number}@example.org", mailbox, blob, len(_RAW))
            about = About(ChatId("support@example.org"), MessageId(mail.message_id), UserId("@a:b"), mailbox)
            made.append((new_row(_TOKENS, mail, Address(f"p{number}", "there.test"), about, now), now))
        await office.shelf.put(made)


async def _chunks() -> AsyncIterator[bytes]:
    yield _RAW


async def mailqueue(options: Options) -> dict[str, Any]:
    """Deliveries by one smarthost out of a short and of a long queue; the server's CPU is in both figures."""
    few_cpu, _ = await _measure(FEW)
    many_cpu, seconds = await _measure(MANY)
    return {
        "cpu_ms_per_delivery": few_cpu * 1000 / DELIVERED,
        "cpu_ms_per_delivery_of_100000": many_cpu * 1000 / DELIVERED,
        "deliveries_per_s_of_100000": DELIVERED / seconds,
        "queue_ratio": many_cpu / few_cpu,
    }
