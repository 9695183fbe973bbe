"""A mail server under measurement, in a process of its own: ``python -m benchmarks.mail_process KIND FOLDER [DNS]``.

KIND is ``ours`` (the doors, with spool and queue on disk as in the bridge), ``trusted`` (the same, and each mail is
checked by SPF, DKIM and DMARC against a resolver on port DNS) or ``aiosmtpd`` (bare, discards every mail).
Prints its port as JSON and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any, cast

import structlog
import uvloop

from bridge_core.api.host import Host
from bridge_core.api.queues import Queue
from bridge_core.engine.clock import SystemClock
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.blobs import BlobSpool
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from bridges.email.codec.addresses import Address
from bridges.email.config.receiving import DoorConfig, Receiving
from bridges.email.config.trust import Dns, Trust
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.ports import Inspector, OpenRaw, Reply, Visit
from bridges.email.smtp.parts import Parts
from bridges.email.smtp.server import Doors
from bridges.email.spool import Spool
from bridges.email.trust.inspector import MailInspector


class Everybody:
    """A directory, an inspector and passwords that let everybody in at once."""

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        """Every mailbox is here."""
        return None

    async def may_send_as(self, login: str, address: Address) -> bool:
        """Everybody is everybody."""
        return True

    async def connected(self, peer: str, door: Door) -> Reply | None:
        """Come in."""
        return None

    async def sender(self, visit: Visit, sender: Address | None) -> Reply | None:
        """Go on."""
        return None

    async def mail(self, envelope: Envelope, open_raw: OpenRaw) -> Verdict | Reply:
        """Nobody is verified: what trust costs is measured by itself."""
        return Verdict()

    async def check(self, user: str, password: str, peer: str) -> str | None:
        """Nobody has a password."""
        return None


class Place:
    """What the spool needs of a host."""

    def __init__(self, database: Database, blobs: BlobSpool) -> None:
        self._database = database
        self.blobs = blobs
        self.clock = SystemClock()

    def queue(self, name: str) -> Queue:
        """A queue in the database."""
        return self._database.queue(f"email {name}")


async def ours(folder: Path, resolver: int = 0) -> tuple[int, Any]:
    """Open one SMTP door on loopback; its port, and what to await at the end. Mails are checked where there is DNS."""
    database = Database(DatabaseSettings(f"sqlite:///{folder / 'bridge.db'}"), Seal("a secret of the benchmark"))
    await database.start()
    blobs = BlobSpool(folder / "spool", b"s" * 32, 1 << 34)
    await blobs.start()
    place, everybody = Place(database, blobs), Everybody()
    spool = Spool(cast(Host, place), most_mails=1_000_000, most_bytes=1 << 40)
    await spool.start()
    inspector: Inspector = everybody
    if resolver:
        trust = Trust(dns=Dns(servers=(f"127.0.0.1:{resolver}",)))
        inspector = MailInspector(trust, ("bench.test",), everybody, cast(Host, place))
    parts = Parts(
        name="mail.bench.test",
        directory=everybody,
        inspector=inspector,
        passwords=everybody,
        intake=spool,
        blobs=blobs,
        clock=place.clock,
        tasks=TaskOwner("email"),
        settings=Receiving(doors=(DoorConfig(listen="127.0.0.1:0"),)),
    )
    doors = Doors(parts)
    await doors.start()

    async def stop() -> None:
        await doors.stop(5)
        await database.stop()

    return doors.addresses[0][1], stop


async def aiosmtpd(_folder: Path, _resolver: int = 0) -> tuple[int, Any]:
    """Open a bare aiosmtpd that throws every mail away once it has it whole."""
    smtp = importlib.import_module("aiosmtpd.smtp")

    class Discard:
        """Says 250 to all."""

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            """Forget it."""
            return "250 OK"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: smtp.SMTP(Discard(), data_size_limit=1 << 26, hostname="bench", loop=loop), "127.0.0.1", 0, backlog=256
    )

    async def stop() -> None:
        server.close()

    return server.sockets[0].getsockname()[1], stop


async def main(kind: str, folder: Path, resolver: int) -> None:
    """Serve until the end."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    port, stop = await {"ours": ours, "trusted": ours, "aiosmtpd": aiosmtpd}[kind](folder, resolver)
    print(json.dumps({"port": port}), flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
