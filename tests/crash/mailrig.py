"""A bridge process with an email network that is killed, and the world around it: it keeps the books of all mails."""

import asyncio
import collections
import itertools
import json
import os
import re
import signal
import smtplib
import sqlite3
import sys
from collections.abc import Callable, Sequence
from email import policy
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import http_answers
from bridge_core.testing.faults import KILL_AT
from bridges.email.demo.elsewhere import BELIEVING, VERIFIER, Elsewhere, Received
from tests.crash.forked import ForkedProcess
from tests.crash.mailsides import FakeSide, Side, until
from tests.harness import write_config
from tests.servers.postfix import Postfix

_GIVES_UP: Final = "".join(f"smtp_{one}_timeout = 20s\n" for one in ("helo", "mail", "rcpt", "data_init", "data_done"))
"""Postfix as it is waits ten minutes on a connection of which it does not hear that it is dead: longer than a test."""
MAILS = 8
"""How many are on their way in each direction at a kill."""


class Ears(list[Received]):
    """What the other side has got. `at_dot` is called with each mail, before its sender is told that it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.at_dot: Callable[[], None] = lambda: None

    def append(self, one: Received) -> None:
        super().append(one)
        self.at_dot()


class Listening(Elsewhere):
    """The other side; `at_dial` is called with each connection."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.ears = Ears()
        self.received = self.ears
        self.at_dial: Callable[[], None] = lambda: None

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_dial()
        await super()._talk(reader, writer)


class MailRig:
    """The bridge, a homeserver, who sends mails until they are taken, and who gets those that are written on Matrix.

    Mails come from a program that gives each until it hears a 250, or with `postfix` from a real Postfix that does.
    """

    def __init__(self, folder: Path, side: Side | None = None, *, postfix: bool = False) -> None:
        self.folder = folder
        self.side: Side = side or FakeSide()
        # The member's own: several tests may share a homeserver, and a mailbox has one room there.
        self.box = f"{self.side.member[1:].partition(':')[0]}@example.org"
        self.port, self.health = free_port(), free_port()
        self.elsewhere = Listening(free_port())
        self.postfix: Postfix | None = None
        if postfix:
            self.postfix = Postfix(
                folder / "postfix", {"example.org": f"smtp:[127.0.0.1]:{self.port}"}, settings=_GIVES_UP
            )
        self.child = ForkedProcess(
            ["tests.crash.mailed", str(folder / "config.yaml")], log=folder / "bridge.log", directory=folder
        )
        self.room = ""
        self.senders: list[asyncio.Task[None]] = []
        self.came: set[str] = set()
        """Mails that came from outside, by their words."""
        self.went: set[str] = set()
        """Mails that were written on Matrix."""
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        await self.elsewhere.start()
        await self.side.start()
        if self.postfix is not None:
            await self.postfix.start()
        network = {
            "type": "email",
            "hostname": "mail.example.org",
            "domains": ["example.org"],
            "mailboxes": {self.box: {"members": [self.side.member]}},
            "receiving": {"doors": [{"kind": "smtp", "listen": f"127.0.0.1:{self.port}"}]},
            "trust": BELIEVING,
            "delivery": {
                "hold": 0,
                "lease": 1,
                "smarthosts": [{"host": "127.0.0.1", "port": self.elsewhere.port, "tls": "none"}],
            },
        }
        write_config(
            self.folder,
            self.side.url,
            {"mail": network},
            port=self.side.port,
            tokens=self.side.tokens,
            health={"listen": f"127.0.0.1:{self.health}"},
            logging={"level": "info"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            sys.stderr.write(f"the end of the bridge's log:\n{self.child.tail()}\n")
            if self.postfix is not None:
                sys.stderr.write(f"Postfix has still:\n{await self.postfix.queue()}\n")
                sys.stderr.write(f"the log of Postfix:\n{self.postfix.log_file.read_text()[-100_000:]}\n")
        self.child.kill()
        for sender in self.senders:
            sender.cancel()
        await asyncio.gather(*self.senders, return_exceptions=True)
        await self.side.stop()
        await self.elsewhere.stop()
        if self.postfix is not None:
            await self.postfix.close()

    # The bridge

    async def begin(self, kill_at: str = "") -> None:
        """Start the bridge, ready or not."""
        self.child.environment = {KILL_AT: kill_at} if kill_at else {}

        async def begun() -> bool:
            return True

        await self.child.start(begun)

    async def start(self) -> None:
        """Start the bridge and wait until it is ready."""
        await self.begin()
        async with asyncio.timeout(60):
            while not await http_answers(f"http://127.0.0.1:{self.health}/health/ready"):
                assert self.child.running, self.child.tail()
                await asyncio.sleep(0.02)

    async def killed(self) -> None:
        """Wait until the bridge has died of SIGKILL."""
        await until(lambda: not self.child.running, "the bridge is killed", 60)
        assert self.child.status == -signal.SIGKILL, self.child.tail()
        self.child.kill()

    def kill_now(self) -> None:
        """SIGKILL, from within a call."""
        self.elsewhere.at_dial = self.elsewhere.ears.at_dot = lambda: None
        os.kill(self.child.pid, signal.SIGKILL)

    # Mails

    async def open(self) -> None:
        """Make the mailbox's room, with a first mail."""
        await self.start()
        self.send("first")
        self.room = await self.side.enter()
        await self._all_shown()
        self.child.kill()

    def send(self, text: str) -> None:
        """A mail server begins to give a mail until it hears a 250, the same each time."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "Bob <bob@x.net>", self.box, "News"
        mail["Message-ID"] = f"<{text}@x.net>"
        mail["Authentication-Results"] = f"{VERIFIER}; dmarc=pass header.from=x.net"
        mail.set_content(f"{text}\n")
        mail.add_attachment(text.encode() * 200, maintype="application", subtype="octet-stream", filename="news.bin")
        data = mail.as_bytes(policy=policy.SMTP)
        port = self.port if self.postfix is None else self.postfix.port

        def give() -> bool:
            try:
                with smtplib.SMTP("127.0.0.1", port, timeout=30) as server:
                    server.sendmail("bob@x.net", [self.box], data)
            except (OSError, smtplib.SMTPException):
                return False
            return True

        async def taken() -> None:
            while not await asyncio.to_thread(give):
                await asyncio.sleep(0.05)

        self.came.add(text)
        self.senders.append(asyncio.create_task(taken()))

    async def write(self, text: str) -> None:
        """The member of the mailbox writes a mail on Matrix."""
        self.went.add(text)
        await self.side.say(self.room, f"To: carol@y.net\nSubject: {text}\n\n{text}")

    async def load(self, mails: int = MAILS) -> None:
        """Mails on their way in both directions."""
        for number in itertools.islice(self._numbers, mails):
            self.send(f"in-{number}")
            await self.write(f"out-{number}")

    # The books

    async def shown(self) -> "collections.Counter[str]":
        """How often each mail is in the room, by its last word, with its file whole."""
        found: collections.Counter[str] = collections.Counter()
        for event in await self.side.events(self.room):
            content = event["content"] if event["type"] == "m.room.message" else {}
            if content.get("msgtype") == "m.file":
                text = content["body"].split()[-1]
                assert await self.side.file(content["url"]) == text.encode() * 200
                found[text] += 1
        return found

    async def _all_shown(self) -> None:
        missing = self.came
        try:
            async with asyncio.timeout(180):
                while missing := self.came - set(await self.shown()):
                    assert self.postfix is None or not self.postfix.bounced(), "a mail was refused for good"
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise TimeoutError(f"not within 180 s: {missing} are in the room") from None

    def got(self) -> set[str]:
        """Mails that came to the other side."""
        return {one.text for one in self.elsewhere.received}

    def copies(self) -> "collections.Counter[str]":
        """How often each mail came to the other side, by the name that it has in the log."""
        return collections.Counter(name_of(one) for one in self.elsewhere.received)

    def waiting(self) -> int:
        """Mails in the queue that are not done with, as the database has them."""
        with sqlite3.connect(f"file:{self.folder / 'bridge.db'}?mode=ro", uri=True, timeout=30) as database:
            wanted = "SELECT count(*) FROM queue_item WHERE queue LIKE '%outgoing' AND key LIKE 'w:%'"
            return int(database.execute(wanted).fetchone()[0])

    def logged(self, *events: str) -> list[dict[str, Any]]:
        """Log lines of these events, over all runs."""
        lines = [json.loads(line) for line in self.child.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") in events]

    def doubts(self) -> "collections.Counter[str]":
        """How often the bridge counted a try of each mail as one of unknown end."""
        return collections.Counter(line["mail"] for line in self.logged("mail_try_was_cut_off", "mail_fate_unknown"))

    async def metric(self, name: str) -> int:
        """The sum of a metric's values, as the running bridge tells it."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.health}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        found = [line for line in lines if re.match(rf"\w*{name}(_total)?[ {{]", line)]
        assert found, f"there is no metric {name}"
        return sum(int(float(line.rpartition(" ")[2])) for line in found)

    async def settle(self) -> None:
        """Wait until everything is where it belongs, and nothing is left that could come again."""
        last = next(self._numbers)
        async with asyncio.timeout(120):
            await asyncio.gather(*self.senders)
        await self._all_shown()
        # What is said after all that is behind whatever was still on its way to be said twice.
        self.send(f"in-{last}")
        await self.write(f"out-{last}")
        await self._all_shown()
        await until(lambda: self.went <= self.got(), f"{self.went - self.got()} come")
        await until(lambda: not self.waiting(), "the queue is empty")

    async def check(self) -> None:
        """Stop the bridge; every mail is there, once.

        A mail may have gone out twice only where the log says of that mail that its try was of unknown end.
        """
        await self.child.stop(timeout=60)
        assert await self.shown() == dict.fromkeys(self.came, 1)
        assert self.got() == self.went
        doubts = self.doubts()
        for name, copies in self.copies().items():
            assert copies <= 1 + doubts[name], f"{copies} copies of a mail that was in doubt {doubts[name]} times"
        assert len(self.copies()) == len(self.went), "a mail came again as another one"
        assert not self.logged("mail_quarantined", "mail_not_shown"), "a crash set a mail aside"


def name_of(one: Received) -> str:
    """The name of a mail in the log."""
    return sha256(str(one.mail["Message-ID"]).strip("<>").encode()).hexdigest()[:24]


def unarmed(_: MailRig) -> None:
    """Nothing but the point kills it."""


async def episode(rig: MailRig, points: Sequence[str] = ("",), arm: Callable[[MailRig], None] = unarmed) -> None:
    """Die at each point in turn with mails on the way in both directions, then start again: all is there, once."""
    await rig.open()
    await strike(rig, points, arm)
    await rig.check()


async def strike(rig: MailRig, points: Sequence[str], arm: Callable[[MailRig], None] = unarmed) -> None:
    """As `episode`, between its opening and its check."""
    if rig.child.running:
        rig.child.kill()
    for point in points:
        arm(rig)
        await rig.begin(point)
        await rig.load()
        await rig.killed()
    await rig.start()
    await rig.settle()
