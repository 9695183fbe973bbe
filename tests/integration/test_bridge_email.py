"""Email between a real Synapse and a real Postfix: conversations in by SMTP and by LMTP, out by it as smarthost."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.demo.matrix_client import Event, MatrixClient
from bridge_core.demo.ports import free_port
from bridges.email.connector import EmailConnector
from bridges.email.demo.elsewhere import BELIEVING, VERIFIER, Elsewhere, Received
from tests.harness import InProcess
from tests.real import BOT, DOMAIN, Ground
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

BOB = "bob@x.net"
HOLD = 5
"""Seconds within which a mail can be changed."""


class Office:
    """A bridge with a mailbox of one user, `alice` here; Postfix brings and takes its mail; the world behind it."""

    def __init__(self, ground: Ground, folder: Path, way: str) -> None:
        # Somebody new: Synapse gives the answer to a user's first sync again for a while, old invitations in it.
        self.name = f"{way}{next(ground.numbers)}"
        self.box = f"{self.name}@example.org"
        self.elsewhere = Elsewhere(free_port())
        door, world = free_port(), f"smtp:[127.0.0.1]:{self.elsewhere.port}"
        route = f"smtp:[127.0.0.1]:{door}" if way == "smtp" else f"lmtp:inet:127.0.0.1:{door}"
        self.postfix = Postfix(folder / "postfix", {"example.org": route}, default=world)
        self.network = {
            "type": "email",
            "hostname": "mail.example.org",
            "domains": ["example.org"],
            "mailboxes": {self.box: {"members": [f"@{self.name}:{DOMAIN}"]}},
            "receiving": {"doors": [{"kind": way, "listen": f"127.0.0.1:{door}"}]},
            "trust": BELIEVING,
            "delivery": {
                "hold": HOLD,
                "smarthosts": [{"host": "127.0.0.1", "port": self.postfix.port, "tls": "none"}],
            },
        }
        self.bridge: InProcess = ground.bridge(folder, {"mail": self.network})
        self.bridge.adapters = {"email": EmailConnector}
        self.ground = ground
        self.room = ""

    async def start(self) -> None:
        self.alice: MatrixClient = await self.ground.client(self.name)
        await self.alice.open()
        await self.elsewhere.start()
        await self.postfix.start()
        await self.bridge.start_bridge()

    async def stop(self) -> None:
        await self.bridge.stop_bridge()
        await self.postfix.close()
        await self.elsewhere.stop()
        await self.alice.close()

    def mail(self, text: str, **fields: str) -> EmailMessage:
        """A mail of bob's."""
        mail = EmailMessage()
        mail["From"], mail["To"] = f"Bob <{BOB}>", self.box
        for name, value in {"Message_ID": make_msgid(domain="x.net"), **fields}.items():
            mail[name.replace("_", "-")] = value
        mail["Authentication-Results"] = f"{VERIFIER}; dmarc=pass header.from=x.net"
        mail.set_content(f"{text}\n")
        return mail

    async def give(self, mail: EmailMessage) -> None:
        """Postfix gets it from bob's program."""

        def hand_over() -> None:
            with smtplib.SMTP("127.0.0.1", self.postfix.port, timeout=30) as server:
                server.send_message(mail, BOB, [self.box])

        await asyncio.to_thread(hand_over)

    async def begun(self, subject: str) -> tuple[Event, EmailMessage]:
        """A new conversation, begun by bob: its first event, and the mail."""
        mail = self.mail(f"About {subject}", Subject=subject)
        await self.give(mail)
        if not self.room:
            invited = await self.alice.wait_for_invite(sender=BOT)
            self.room = await self.alice.join(invited)
        return await self.seen(f"About {subject}"), mail

    async def seen(self, text: str) -> Event:
        """The event that says it."""
        return await self.alice.wait_for(
            lambda e: e["room_id"] == self.room and text in str(e["content"].get("body", "")), what=repr(text)
        )

    async def say(self, root: Event, text: str, **content: Any) -> str:
        """Alice says it in a conversation; the event's id."""
        relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root["event_id"]}}
        return await self.alice.send(self.room, {"msgtype": "m.text", "body": text, **content, **relation})

    async def came(self, text: str) -> Received:
        """The mail that says it, at the other end."""
        return await self.elsewhere.wait_for(lambda one: text in one.text, repr(text), 60)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["smtp", "lmtp"])
async def office(
    ground: Ground, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Office]:
    """Mail comes from Postfix by this protocol."""
    office = Office(ground, tmp_path_factory.mktemp("office"), request.param)
    try:
        await office.start()
        yield office
    finally:
        await office.stop()


async def test_a_thread_is_a_thread_on_both_sides(office: Office) -> None:
    """Mail begins a thread; what is said in it answers that mail; what answers that is in the same thread."""
    root, mail = await office.begun("the invoice")
    assert root["sender"].startswith("@_mail_")
    assert (await office.alice.members(office.room))[root["sender"]] == "Bob"
    assert "the invoice" in root["content"]["body"]
    await office.say(root, "Hello Bob")
    answer = await office.came("Hello Bob")
    assert answer.recipients == (BOB,)
    assert answer.mail["In-Reply-To"] == mail["Message-ID"]
    assert answer.mail["Subject"] == "Re: the invoice"
    await office.give(office.mail("Again", Subject="AW: the invoice", In_Reply_To=str(answer.mail["Message-ID"])))
    again = await office.seen("Again")
    assert again["content"]["m.relates_to"]["rel_type"] == "m.thread"
    assert again["content"]["m.relates_to"]["event_id"] == root["event_id"]
    assert again["sender"] == root["sender"]


async def test_attachments_cross_whole(office: Office) -> None:
    """A file of a mail can be downloaded on Matrix, one that is sent on Matrix is in the mail, byte for byte."""
    root, mail = await office.begun("files")
    data = bytes(range(256)) * 1000
    with_file = office.mail("Look", Subject="Re: files", In_Reply_To=mail["Message-ID"])
    with_file.add_attachment(data, maintype="application", subtype="octet-stream", filename="räume.bin")
    await office.give(with_file)
    event = await office.alice.wait_for(
        lambda e: e["room_id"] == office.room and "räume.bin" in str(e["content"]) and "url" in e["content"]
    )
    assert await office.alice.download(event["content"]["url"]) == data
    assert event["content"]["m.relates_to"]["event_id"] == root["event_id"]
    url = await office.alice.upload(data[::-1], "application/octet-stream", "maße.bin")
    await office.say(root, "maße.bin", msgtype="m.file", url=url, info={"size": len(data)})
    sent = await office.elsewhere.wait_for(lambda one: _files(one) != [], "the file", 60)
    (part,) = _files(sent)
    assert part.get_filename() == "maße.bin"
    assert part.get_content() == data[::-1]


async def test_what_is_held_can_be_changed_and_taken_back(office: Office) -> None:
    """Within the hold an edit is what goes out, once, and what is redacted goes nowhere."""
    root, _ = await office.begun("mistakes")
    wrong = await office.say(root, "A mistaek")
    await office.alice.edit(office.room, wrong, "A mistake, mended")
    never = await office.say(root, "Never mind")
    await office.alice.redact(office.room, never)
    await office.came("A mistake, mended")
    # Said last, so held longest: what was before it has gone out, or never will.
    await office.say(root, "That is all")
    await office.came("That is all")
    texts = [one.text for one in office.elsewhere.received]
    assert sum("mistake, mended" in text for text in texts) == 1
    assert not any("mistaek" in text or "Never mind" in text for text in texts)


async def test_a_reaction_crosses(office: Office) -> None:
    """A reaction by mail (RFC 9078) is one in the room; alice's reaction then goes as such a mail."""
    root, _ = await office.begun("cake")
    await office.say(root, "There is cake")
    sent = await office.came("There is cake")
    reaction = office.mail("\N{THUMBS UP SIGN}", Subject="Re: cake", In_Reply_To=str(sent.mail["Message-ID"]))
    reaction["Content-Disposition"] = "reaction"
    await office.give(reaction)
    put = await office.alice.wait_for(
        lambda e: e["type"] == "m.reaction" and e["room_id"] == office.room and e["sender"] == root["sender"]
    )
    said = await office.seen("There is cake")
    assert put["content"]["m.relates_to"] == {
        "rel_type": "m.annotation",
        "event_id": said["event_id"],
        "key": "\N{THUMBS UP SIGN}",
    }
    await office.alice.react(office.room, root["event_id"], "\N{PARTY POPPER}")
    mail = await office.elsewhere.wait_for(lambda one: "reaction" in one.data.decode().lower(), "the reaction", 60)
    parts = [part for part in mail.mail.walk() if part.get_content_disposition() == "reaction"]
    assert [str(part.get_content()).strip() for part in parts] == ["\N{PARTY POPPER}"]


async def test_what_postfix_returns_is_told_at_the_message(office: Office) -> None:
    """A report of Postfix (RFC 3464) about a mail that it had taken is told as an answer to what alice wrote."""
    await office.begun("reports")
    event = await office.alice.send_text(office.room, "To: nobody@y.net, carol@y.net\nSubject: News\n\nHear this")
    assert (await office.came("Hear this")).recipients == ("carol@y.net",)
    notice = await office.alice.wait_for(
        lambda e: "nobody of that name here" in str(e["content"]) and e["room_id"] == office.room, what="the report"
    )
    relation = notice["content"]["m.relates_to"]
    assert event in (relation.get("event_id"), relation.get("m.in_reply_to", {}).get("event_id"))
    assert "nobody@y.net" in str(notice["content"])
    assert "carol@y.net" not in str(notice["content"])


def _files(one: Received) -> list[EmailMessage]:
    """The attached files; a mail may be nothing but one."""
    return [part for part in one.mail.walk() if part.get_content_disposition() == "attachment"]
