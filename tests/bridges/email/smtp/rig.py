"""Doors with scripted parts behind them, and a client that says what it is told to, byte for byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.blobs import BlobSpool
from bridges.email.codec.addresses import Address
from bridges.email.config.receiving import DoorConfig, Receiving
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.ports import OpenRaw, Reply, Visit
from bridges.email.smtp.parts import Parts
from bridges.email.smtp.server import Doors

WAIT = 60.0
NO_SUCH = Reply(550, "5.1.1", "no such mailbox")


class Clock:
    """The real time, and a monotonic clock that can be turned."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Backstage:
    """Directory, inspector, passwords and intake in one: each answers as the test has put it."""

    blobs: BlobSpool
    known: set[str] = field(default_factory=lambda: {"alice@bridge.test", "bob@bridge.test", "jörg@bridge.test"})
    refusals: dict[str, Reply] = field(default_factory=dict)
    """By step: connected, sender, recipient, mail."""
    accepted: list[tuple[Envelope, bytes]] = field(default_factory=list)
    confirmations: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    full: bool = False
    accepting: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Runs before a mail is committed."""
    broken: BaseException | None = None

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        """Local mailboxes; elsewhere only for a login."""
        self.asked.append(f"{sender} {address}")
        if self.broken is not None:
            raise self.broken
        if address.local.lower() == "postmaster" or str(address) in self.known:
            return None
        if address.domain != "bridge.test":
            return None if visit.login else Reply(550, "5.7.1", "no relaying")
        return NO_SUCH

    async def may_send_as(self, login: str, address: Address) -> bool:
        return str(address) == "alice@bridge.test"

    async def check(self, user: str, password: str, peer: str) -> str | None:
        self.asked.append(f"password of {user}")
        return f"login-{user}" if password == "right" else None

    async def accept(self, envelope: Envelope, verdict: Verdict, blob: str) -> None:
        if self.accepting is not None:
            await self.accepting()
        raw = b"".join([chunk async for chunk in self.blobs.open(blob)])
        self.accepted.append((envelope, raw))

    def confirmed(self, envelope: Envelope) -> None:
        self.confirmations.append(envelope.id)

    async def room(self, size: int) -> bool:
        return not self.full


class Watchman:
    """The inspector's half of the backstage."""

    def __init__(self, backstage: Backstage) -> None:
        self._backstage = backstage

    async def connected(self, peer: str, door: Door) -> Reply | None:
        return self._backstage.refusals.get("connected")

    async def sender(self, visit: Visit, sender: Address | None) -> Reply | None:
        return self._backstage.refusals.get("sender")

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        return self._backstage.refusals.get("recipient")

    async def mail(self, envelope: Envelope, open_raw: OpenRaw) -> Verdict | Reply:
        return self._backstage.refusals.get("mail") or Verdict()


@dataclass
class Stage:
    """Open doors, and what is behind them."""

    doors: Doors
    backstage: Backstage
    clock: Clock
    folder: Path

    @property
    def mails(self) -> list[tuple[Envelope, bytes]]:
        """What was committed."""
        return self.backstage.accepted

    @property
    def bodies(self) -> list[bytes]:
        """What was committed, without the Received header of ours."""
        return [raw.split(b"\r\n", raw.split(b"; ", 1)[0].count(b"\r\n") + 1)[-1] for _, raw in self.mails]

    @property
    def port(self) -> int:
        return self.doors.addresses[0][1]

    def spooled(self) -> int:
        """Files in the spool, half-written ones too."""
        return sum(1 for _ in (self.folder / "spool").iterdir())


@asynccontextmanager
async def open_doors(folder: Path, kind: Door = Door.SMTP, **settings: Any) -> AsyncIterator[Stage]:
    """One door on loopback, unless `doors` are given."""
    tls = settings.pop("tls", None)
    door = DoorConfig(kind=kind, listen="127.0.0.1:0", tls=tls)
    receiving = Receiving(**({"doors": (door,)} | settings))
    blobs = BlobSpool(folder / "spool", b"s" * 32, 1 << 30)
    await blobs.start()
    backstage, clock, tasks = Backstage(blobs), Clock(), TaskOwner("email")
    parts = Parts(
        name="mail.bridge.test",
        directory=backstage,
        inspector=Watchman(backstage),
        passwords=backstage,
        intake=backstage,
        blobs=blobs,
        clock=clock,
        tasks=tasks,
        settings=receiving,
        domain="bridge.test",
    )
    doors = Doors(parts)
    await doors.start()
    try:
        yield Stage(doors, backstage, clock, folder)
    finally:
        await doors.stop(0.1)
        assert len(tasks) == 0


class Caller:
    """A client. Every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def call(cls, port: int, context: ssl.SSLContext | None = None) -> "Caller":
        """Connect, without reading the greeting."""
        async with asyncio.timeout(WAIT):
            name = "localhost" if context is not None else None
            return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name))

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)

    async def hear(self) -> str:
        """One reply, its lines joined by a newline; empty at the end of the connection."""
        lines: list[str] = []
        async with asyncio.timeout(WAIT):
            while True:
                try:
                    line = (await self.reader.readline()).decode()
                except ConnectionError:
                    line = ""
                if line[3:4] != "-":
                    return "\n".join([*lines, line.rstrip("\r\n")])
                lines.append(line.rstrip("\r\n"))

    async def say(self, *lines: str) -> str:
        """Commands, one after the other; the last reply."""
        reply = ""
        for line in lines:
            self.send(line.encode() + b"\r\n")
            reply = await self.hear()
        return reply

    async def ready(self, hello: str = "EHLO client.test", *rest: str) -> "Caller":
        """Greeting and EHLO are over."""
        await self.hear()
        assert (await self.say(hello)).startswith("250")
        for line in rest:
            assert (await self.say(line))[0] in "23", line
        return self

    async def ended(self) -> bool:
        """Whether the server has closed the connection; waits for it."""
        try:
            async with asyncio.timeout(WAIT):
                return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """After the 220 to STARTTLS."""
        await self.writer.start_tls(context, server_hostname="localhost")


TO_ALICE = ("MAIL FROM:<x@far.test>", "RCPT TO:<alice@bridge.test>")
MAIL = b"From: x@far.test\r\nMessage-ID: <1@far.test>\r\n\r\nHello.\r\n"
