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

FEW = 2_000
MANY = 100_000
DELIVERED = 1_500
_SECRET = "0123456789abcdefghijklmnopqrstuv"
_RAW = b"Subject: hello\r\n\r\n" + b"word " * 12 + b"\r\n"


class _Sink:
    """A mail server that says yes and forgets, in the least CPU there is."""

    def __init__(self) -> None:
        self.taken = 0
        self.enough = asyncio.Event()
        self.port = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while line := await reader.readline():
                if line[:4] == b"DATA":
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    self.taken += 1
                    if self.taken >= DELIVERED:
                        self.enough.set()
                writer.write(b"250 2.0.0 ok\r\n")
        writer.close()


class _Kept(BlobSpool):
    """All rows share one file: it is not dropped with the first."""

    async def drop(self, source: str) -> None:
        return None


async def _measure(rows: int) -> tuple[float, float]:
    """CPU seconds and seconds for the first deliveries of a queue of so many."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        database = Database(DatabaseSettings(f"sqlite:///{path}/bridge.db"), Seal(_SECRET))
        await database.start()
        blobs = _Kept(path / "spool", _SECRET.encode(), 10**9)
        await blobs.start()
        tasks = TaskOwner("benchmark")
        sink = _Sink()
        server = await sink.serve()
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
        tokens = Tokens(_SECRET.encode())
        settings = Delivery(smarthosts=[Smarthost(host="127.0.0.1", port=sink.port, tls=HostTls.NONE)])
        office = PostOffice(cast(Host, host), cast(Inbox, None), tokens, settings, "mail.example.org")
        await _fill(office, tokens, await blobs.put(_chunks(), 10**6), rows)
        spent, began = time.process_time(), time.monotonic()
        office.start()
        async with asyncio.timeout(600):
            await sink.enough.wait()
        result = time.process_time() - spent, time.monotonic() - began
        await office.stop(10)
        server.close()
        await tasks.close(time.monotonic() + 10)
        await database.stop()
        return result


async def _fill(office: PostOffice, tokens: Tokens, blob: str, rows: int) -> None:
    now = SystemClock().now_ms() - 10_000
    mailbox = Address("support", "example.org")
    for start in range(0, rows, 1000):
        made = []
        for number in range(start, min(start + 1000, rows)):
            mail = OutgoingMail(f"m{number}", f"m{number}@example.org", mailbox, blob, len(_RAW))
            about = About(ChatId("support@example.org"), MessageId(mail.message_id), UserId("@a:b"), mailbox)
            made.append((new_row(tokens, mail, Address(f"p{number}", "there.test"), about, now), now))
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
