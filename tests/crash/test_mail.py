"""SIGKILL of a bridge with an email network at each durable step of both flows, and while the other side listens."""

import asyncio
import collections
import json
import os
import signal
import smtplib
import sys
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import http_answers
from bridge_core.testing.faults import KILL_AT
from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver
from bridges.email.demo.elsewhere import BELIEVING, VERIFIER, Elsewhere, Received
from tests.crash.forked import ForkedProcess
from tests.harness import write_config

pytestmark = pytest.mark.crash
BOX = "support@example.org"
MAILS = 8
"""In each direction."""


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
    """A bridge process, a homeserver, somebody who sends mails until they are taken, somebody who gets them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.listen, self.health = free_port(), free_port(), free_port()
        self.elsewhere = Listening(free_port())
        self.appservice = FakeAppservice(url=f"http://127.0.0.1:{self.listen}")
        self.homeserver = FakeHomeserver(appservice=self.appservice)
        self.child = ForkedProcess(
            ["tests.crash.mailed", str(folder / "config.yaml")], log=folder / "bridge.log", directory=folder
        )
        self.tries = 0

    async def __aenter__(self) -> Self:
        await self.elsewhere.start()
        await self.homeserver.start()
        self.alice = self.homeserver.user("alice")
        network = {
            "type": "email",
            "hostname": "mail.example.org",
            "domains": ["example.org"],
            "mailboxes": {BOX: {"members": ["@alice:hs.test"]}},
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
            self.homeserver.url,
            {"mail": network},
            port=self.listen,
            tokens=(self.appservice.as_token, self.appservice.hs_token),
            health={"listen": f"127.0.0.1:{self.health}"},
            logging={"level": "info"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            sys.stderr.write(f"the end of the bridge's log:\n{self.child.tail()}\n")
        self.child.kill()
        await self.homeserver.stop()
        await self.elsewhere.stop()

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
        async with asyncio.timeout(60):
            while self.child.running:
                await asyncio.sleep(0.005)
        assert self.child.status == -signal.SIGKILL, self.child.tail()
        self.child.kill()

    def kill_now(self) -> None:
        """SIGKILL, from within a call."""
        self.elsewhere.at_dial = self.elsewhere.ears.at_dot = lambda: None
        os.kill(self.child.pid, signal.SIGKILL)

    async def send(self, text: str) -> None:
        """A mail server gives a mail until it hears a 250, the same each time."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "Bob <bob@x.net>", BOX, "News"
        mail["Message-ID"] = f"<{text}@x.net>"
        mail["Authentication-Results"] = f"{VERIFIER}; dmarc=pass header.from=x.net"
        mail.set_content(f"{text}\n")
        mail.add_attachment(text.encode() * 200, maintype="application", subtype="octet-stream", filename="news.bin")
        data = mail.as_bytes(policy=policy.SMTP)

        def give() -> bool:
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as server:
                    server.sendmail("bob@x.net", [BOX], data)
            except (OSError, smtplib.SMTPException):
                return False
            return True

        while True:
            self.tries += 1
            if await asyncio.to_thread(give):
                return
            await asyncio.sleep(0.05)

    async def room(self) -> str:
        """The mailbox's room, which the first mail makes."""
        await self.send("first")

        def made() -> str | None:
            return next((room for room in self.homeserver.rooms() if self._bodies(room)["first"]), None)

        room = str(await self.homeserver.wait_for(made))
        self.alice.join(room)
        return room

    def _bodies(self, room: str) -> "collections.Counter[str]":
        """How often each mail is in the room, by its last word, with its file whole."""
        found: collections.Counter[str] = collections.Counter()
        for event in self.homeserver.room(room).timeline:
            content = event["content"] if event["type"] == "m.room.message" else {}
            text = (content.get("body", "").split() or [""])[-1]
            if content.get("msgtype") == "m.file":
                assert self.homeserver.file(content["url"]) == text.encode() * 200
                found[text] += 1
        return found

    def shown(self, room: str) -> "collections.Counter[str]":
        """How often each mail of the load is in the room, with its file."""
        return collections.Counter({text: n for text, n in self._bodies(room).items() if text != "first"})

    def got(self) -> "collections.Counter[str]":
        """How often each mail of the load came to the other side."""
        return collections.Counter(one.text for one in self.elsewhere.received)

    def copies(self) -> "collections.Counter[str]":
        """How often each mail came to the other side, by the name that it has in the log."""
        ids = (str(one.mail["Message-ID"]).strip("<>") for one in self.elsewhere.received)
        return collections.Counter(sha256(one.encode()).hexdigest()[:24] for one in ids)

    def logged(self, *events: str) -> list[dict[str, Any]]:
        """Log lines of these events, over all runs."""
        lines = [json.loads(line) for line in self.child.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") in events]

    def load(self, room: str) -> list[asyncio.Task[None]]:
        """Mails on their way in both directions."""
        senders = [asyncio.create_task(self.send(f"in-{number}")) for number in range(MAILS)]
        for number in range(MAILS):
            self.alice.send(room, f"To: carol@y.net\nSubject: N{number}\n\nout-{number}")
        return senders


async def episode(rig: MailRig, kill_at: str = "", arm: Callable[[MailRig], None] = lambda rig: None) -> None:
    """Die once with mails on the way in both directions, start again, and everything is where it belongs, once.

    A mail may have gone out twice only where the log says of that mail that its try was of unknown end.
    """
    await rig.start()
    room = await rig.room()
    rig.child.kill()
    arm(rig)
    await rig.begin(kill_at)
    senders = rig.load(room)
    await rig.killed()
    await rig.start()
    async with asyncio.timeout(120):
        await asyncio.gather(*senders)
    wanted = {f"in-{number}" for number in range(MAILS)}
    await rig.homeserver.wait_for(lambda: wanted <= set(rig.shown(room)), 60)
    out = {f"out-{number}" for number in range(MAILS)}
    async with asyncio.timeout(120):
        while not out <= set(rig.got()):
            await asyncio.sleep(0.05)
    # What is said after all that is behind whatever was still on its way to be said twice.
    await rig.send("in-last")
    rig.alice.send(room, "To: carol@y.net\nSubject: last\n\nout-last")
    await rig.homeserver.wait_for(lambda: rig.shown(room)["in-last"], 120)
    await rig.elsewhere.wait_for(lambda one: one.text == "out-last", "the last mail", 120)
    await rig.child.stop(timeout=60)
    assert rig.shown(room) == dict.fromkeys([*wanted, "in-last"], 1)
    assert set(rig.got()) == {*out, "out-last"}
    doubts = collections.Counter(line["mail"] for line in rig.logged("mail_try_was_cut_off", "mail_fate_unknown"))
    for name, copies in rig.copies().items():
        assert copies <= 1 + doubts[name], f"{copies} copies of a mail that was in doubt {doubts[name]} times"
    assert not rig.logged("mail_quarantined", "mail_not_shown"), "a crash set a mail aside"


INCOMING = [
    "mail.raw.before",
    "mail.raw.after",
    "mail.accepted.before",
    "mail.accepted.after",
    "mail.opened.before",
    "mail.opened.after",
    "mail.received.before",
    "mail.received.after",
    "mail.done.before",
    "mail.done.after",
    "mail.dropped.before",
    "mail.dropped.after",
]
OUTGOING = [
    "network.before_send",
    "mail.submitted.before",
    "mail.submitted.after",
    "mail.kept.before",
    "mail.kept.after",
    "network.after_send",
    "mail.tried.before",
    "mail.tried.after",
    "mail.ended.before",
    "mail.ended.after",
]


@pytest.mark.parametrize("point", INCOMING)
async def test_a_mail_that_comes_is_shown_once_whatever_point_the_bridge_dies_at(tmp_path: Path, point: str) -> None:
    """Taken over or given again: every mail and its file is in the room once."""
    async with MailRig(tmp_path) as rig:
        await episode(rig, f"{point}:4")


@pytest.mark.parametrize("point", OUTGOING)
async def test_a_mail_that_goes_is_sent_once_whatever_point_the_bridge_dies_at(tmp_path: Path, point: str) -> None:
    """Every mail goes out; twice only where nobody knows how a try ended, and then that is said of it."""
    async with MailRig(tmp_path) as rig:
        await episode(rig, f"{point}:{1 if point.startswith('mail.tried') else 3}")


async def test_killed_while_it_dials(tmp_path: Path) -> None:
    """A try that came no further than the connection is made again, and nothing is sent twice."""

    def arm(rig: MailRig) -> None:
        rig.elsewhere.at_dial = rig.kill_now

    async with MailRig(tmp_path) as rig:
        await episode(rig, arm=arm)
        assert max(rig.copies().values()) == 1, "sent twice, and no dot was said"
        assert rig.logged("mail_try_was_cut_off")
