"""What mail programs submit for people elsewhere: sent on as it is, once, and shown in its mailbox's room."""

import asyncio
import base64
import smtplib
from collections.abc import AsyncIterator
from dataclasses import replace
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import Fate, RemoteMessage, RemoteStatus
from bridge_core.api.ids import UserId
from bridge_core.demo.ports import free_port
from bridges.email.codec.addresses import parse_address
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.signing import Key, read_key
from bridges.email.composing.submitted import SubmittedMails
from bridges.email.config.delivery import Delivery
from bridges.email.contacts import Standing
from bridges.email.delivery.counts import Counts
from bridges.email.delivery.limits import Limits
from bridges.email.delivery.outbox import MailOutbox
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions
from bridges.email.mail import Door, Envelope, Mail
from bridges.email.ports import OutgoingMail, Reply, Visit
from bridges.email.sorting import Sorting
from bridges.email.submissions import Submissions
from tests.bridges.email.mailing import NOW, SECRET, MailHost
from tests.bridges.email.office import ALICE, BOX, Office, mail
from tests.bridges.email.post import Post
from tests.bridges.email.test_directory import directory
from tests.servers.certificate import make_certificate

BOB, EVE = parse_address("bob@x.net"), parse_address("eve@y.net")
TRACE = b"Received: by mail.example.org with ESMTPSA id e1; now\r\n"


def envelope(*to: str, **changes: Any) -> Envelope:
    """What the support mailbox's mail program handed over."""
    recipients = tuple(parse_address(one) for one in to or ("bob@x.net",))
    made = Envelope(
        "e1", Door.SUBMISSION, parse_address(BOX), recipients, "192.0.2.1", "x", NOW, 100, tls=True, login=BOX,
        digest="d" * 64,
    )  # fmt: skip
    return replace(made, **changes)


class Outgoing:
    """An office whose submitted mails go into a real outbox."""

    def __init__(self, keys: dict[str, list[Key]] | None = None, **delivery: Any) -> None:
        self.office = Office()
        self.host = MailHost()
        tokens, limits = Tokens(SECRET), Delivery(**delivery)
        self.suppressions = Suppressions(self.host.secrets, self.host.clock, 1e6)
        self.queue = self.host.queue("outgoing")
        self.shelf = Shelf(self.queue, self.host.blobs, self.host.clock, 1e6)
        counted = Limits(self.host.kv, self.host.clock, limits)
        self.outbox = MailOutbox(
            self.shelf, self.host.blobs, self.host.clock, tokens, limits, counted, self.suppressions, Counts()
        )
        self.ready = SubmittedMails(self.host.blobs, self.host.clock, tokens, keys or {}, 1 << 20)
        boxes, threads = self.office.mailboxes, self.office.threads
        self.submissions = Submissions(
            boxes, threads, Sorting(boxes, threads), self.office.contacts, self.ready, self.outbox,
            self.office.inbox,  # type: ignore[arg-type]
        )  # fmt: skip

    async def prepared(self, raw: bytes, given: Envelope | None = None) -> tuple[OutgoingMail, bytes]:
        """A raw mail made ready, and its bytes as they go out."""
        found = await self.ready.prepared(given or envelope(), "made@example.org", lambda: pieces(raw))
        return found, found.head + self.host.blobs.files[found.blob]

    async def goes(self, parsed: Mail, *to: str, raw: bytes = b"", shown: bool = True, **changes: Any) -> None:
        """A mail is shown and sent on."""
        given = envelope(*to, **changes)
        if shown:
            await self.office.comes(parsed, *(to or ("bob@x.net",)), login=BOX, digest=given.digest)
        raw = raw or b"From: support@example.org\r\nTo: bob@x.net\r\nMessage-ID: <m@example.org>\r\n\r\nHello\r\n"
        await self.submissions.send_on(given, parsed, lambda: pieces(TRACE + raw))

    async def waiting(self) -> list[tuple[str, str, str]]:
        """Who is to get which mail, told where."""
        return [
            (row.recipient.key, row.mail.message_id, row.about.message) for row, _ in await self.shelf.waiting("", 100)
        ]


def own(message_id: str = "m@example.org", **fields: Any) -> Mail:
    """A mail of the support mailbox to Bob."""
    return mail(message_id, author=BOX, **{"to": (BOB,), **fields})


async def pieces(data: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def test_a_submitted_mail_is_shown_and_goes_out_once() -> None:
    """The room shows it as a message of the mailbox; each recipient elsewhere gets it, whoever else it is for."""
    out = Outgoing()
    await out.goes(own(cc=(EVE,)), "bob@x.net", "eve@y.net", "help@example.org")
    (message,) = out.office.inbox.messages
    assert isinstance(message, RemoteMessage)
    assert (message.chat, message.sender.id, message.id) == (BOX, BOX, "m@example.org")
    assert sorted(await out.waiting()) == [
        ("bob@x.net", "m@example.org", "m@example.org"),
        ("eve@y.net", "m@example.org", "m@example.org"),
    ]
    thread = await out.office.threads.of(BOX, "m@example.org")
    assert thread is not None
    assert [one.key for one in thread.people] == ["bob@x.net", "eve@y.net"]
    assert await out.office.contacts.known(BOX, EVE)


async def test_a_crash_behind_the_outbox_sends_nothing_twice() -> None:
    """Tried again after each step that it may have died behind, it is in the queue once, and shown once."""
    out = Outgoing()
    put = out.queue.put

    async def dead(*_: Any, **__: Any) -> None:
        raise TransientError("the process died")

    out.queue.put = dead  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        await out.goes(own())
    out.queue.put = put  # type: ignore[method-assign]
    for _ in range(2):
        await out.goes(own())
    assert len(out.office.inbox.messages) == 1
    assert await out.waiting() == [("bob@x.net", "m@example.org", "m@example.org")]
    blobs = {row.mail.blob for row, _ in await out.shelf.waiting("", 10)}
    assert blobs <= set(out.host.blobs.files)


async def test_the_rest_of_the_recipients_is_not_forgotten() -> None:
    """A program that hands one mail over in two pieces, for recipients of its own each, has it sent to all of them."""
    out = Outgoing()
    await out.goes(own())
    await out.goes(own(), "eve@y.net", id="e2")
    assert sorted(to for to, _, _ in await out.waiting()) == ["bob@x.net", "eve@y.net"]
    assert len(out.office.inbox.messages) == 1


async def test_a_mail_without_an_id_gets_one_that_answers_find() -> None:
    """The id that it goes out with is known in its conversation."""
    out = Outgoing()
    raw = b"From: support@example.org\r\nTo: bob@x.net\r\n\r\nHello\r\n"
    await out.goes(own("hash@made.invalid", made_id=True), raw=raw, has_id=False)
    ((_, given, about),) = await out.waiting()
    assert given.endswith("@example.org") and about == "hash@made.invalid"
    answered = await out.office.threads.of(BOX, given)
    assert answered is not None and answered.references[-1] == given
    (row, _), *_ = await out.shelf.waiting("", 1)
    assert f"Message-ID: <{given}>\r\n".encode() in out.host.blobs.files[row.mail.blob]


async def test_what_may_not_be_sent_is_told_in_the_room() -> None:
    """Over a limit nothing goes out, and each recipient's fate stands at the message, in words."""
    out = Outgoing(mails_per_day=1)
    await out.goes(own(cc=(EVE,)), "bob@x.net", "eve@y.net")
    assert await out.waiting() == []
    fates = [one for one in out.office.inbox.events if isinstance(one, RemoteStatus)]
    assert [(one.target, one.fate, one.recipient) for one in fates] == [
        ("m@example.org", Fate.FAILED, "bob@x.net"),
        ("m@example.org", Fate.FAILED, "eve@y.net"),
    ]
    assert "a day" in str(fates[0].reason)
    assert not await out.office.contacts.known(BOX, EVE)


async def test_who_is_blocked_stays_so() -> None:
    """Writing to somebody by a mail program makes them known, but unblocks nobody."""
    out = Outgoing()
    await out.office.contacts.set(BOX, EVE, Standing.BLOCKED)
    await out.goes(own(), "bob@x.net", "eve@y.net")
    assert await out.office.contacts.standing(BOX, EVE) is Standing.BLOCKED


async def test_a_mailbox_that_is_gone_loses_nothing() -> None:
    """What its mail program submitted before is refused, so that the desk sets it aside for the admin."""
    out = Outgoing()
    with pytest.raises(RejectedError, match="is gone"):
        await out.goes(own(), shown=False, login="gone@example.org")


# The bytes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    body=st.lists(st.sampled_from([b"", b".", b"Bcc: x@y.z", b"  two  blanks \t", b"\xff", b"From me"]), max_size=20),
    names=st.permutations(["From", "To", "BCC", "Bcc", "Subject", "Return-Path", "X-Odd"]),
)
async def test_a_mail_goes_out_as_it_is(body: list[bytes], names: list[str]) -> None:
    """Whatever is in it: all fields in their order, but none that says who gets it unseen; the same body."""
    text = b"\r\n".join(body) + b"\r\n"
    fields = [f"{name}: a@example.org,\r\n\tb@example.org\r\n".encode() for name in names]
    out = Outgoing()
    found, raw = await out.prepared(TRACE + b"".join(fields) + b"\r\n" + text, envelope(has_id=False))
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert rest == text
    assert b"bcc" not in head.lower() and b"return-path" not in head.lower()
    kept = [one for one, name in zip(fields, names, strict=True) if name not in {"BCC", "Bcc", "Return-Path"}]
    assert (head + b"\r\n").startswith(TRACE + b"".join(kept))
    assert head.count(b"\r\nDate: ") == 1 and head.count(b"\r\nMessage-ID: <made@example.org>") == 1
    assert found.size == len(raw)
    assert found.eight_bit is (b"\xff" in text)
    assert found.sender == parse_address(BOX)


async def test_it_is_signed_for_its_domain() -> None:
    """The signature over the mail as it goes out is good, and does not name what was left out."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    record = base64.b64encode(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    out = Outgoing({"example.org": [read_key("example.org", "one", pem)]})
    head = b"From: Support <support@example.org>\r\nBcc: eve@y.net\r\nTo: bob@x.net\r\nSubject:  a\r\n\tb\r\n\r\n"
    _, raw = await out.prepared(TRACE + head + b"  two  blanks \t\r\n\r\nword\r\n\r\n\r\n")
    assert raw.startswith(b"DKIM-Signature:")
    assert dkim.verify(raw, dnsfunc=lambda *_, **__: b"v=DKIM1; k=rsa; p=" + record)
    changed = raw.replace(b"To: bob", b"To: dan")
    assert not dkim.verify(changed, dnsfunc=lambda *_, **__: b"v=DKIM1; k=rsa; p=" + record)


@pytest.mark.parametrize("raw", [b"no field\r\n\r\nx", TRACE + b"Subject: nobody's\r\n\r\nx\r\n", b""])
async def test_a_head_that_readers_read_differently_is_not_sent(raw: bytes) -> None:
    """No author, or a line that is no field: refused in words."""
    with pytest.raises(RejectedError, match="cannot be read"):
        await Outgoing().prepared(raw)


async def test_too_large_is_said_before_it_is_copied() -> None:
    """A mail over the limit for what is sent is refused."""
    with pytest.raises(RejectedError, match="larger"):
        await Outgoing().prepared(TRACE + b"From: a@example.org\r\n\r\n", envelope(size=2 << 20))


# The door


@pytest.mark.parametrize("door", list(Door))
@pytest.mark.parametrize("login", [None, BOX, "gone@example.org"])
async def test_only_a_login_writes_elsewhere(door: Door, login: str | None) -> None:
    """No other door, nobody without a password, and nobody whose mailbox is gone has mail sent on."""
    office = Office()
    asked: list[str] = []

    async def outgoing(mailbox: Any, address: Any, others: Any) -> Reply | None:
        asked.append(mailbox.key)
        return None

    refused = await directory(office, outgoing=outgoing).recipient(
        Visit(door, "192.0.2.1", "x", tls=True, login=login), BOB, BOB
    )
    if door is Door.SUBMISSION and login == BOX:
        assert refused is None and asked == [BOX]
    else:
        assert refused is not None and refused.code == 550 and asked == []


async def test_a_mail_program_hears_at_once_what_cannot_be_sent() -> None:
    """Whoever takes no mail is refused for good; whoever has sent enough is told to come again."""
    out = Outgoing(mails_per_day=1)
    box, user = parse_address(BOX), UserId(BOX)
    assert await out.outbox.refusal(box, user, BOB) is None
    await out.suppressions.note("example.org", EVE, Reply(550, "5.1.1", "no such person"))
    refused = await out.outbox.refusal(box, user, EVE)
    assert refused is not None and refused.code == 550 and "no such person" in refused.text
    await out.goes(own())
    enough = await out.outbox.refusal(box, user, BOB)
    assert enough is not None and enough.temporary
    assert await out.outbox.refusal(box, ALICE, BOB) is None


@pytest.mark.parametrize("limit", ["mails_per_day", "new_recipients_per_day"])
async def test_a_mail_to_more_than_a_day_has_is_refused_while_it_is_given(limit: str) -> None:
    """Recipients are counted as they are named: what passes at the door does not fail as a whole afterwards."""
    out = Outgoing(**{limit: 2})
    asked = directory(
        out.office, outgoing=lambda box, one, others: out.outbox.refusal(box.address, UserId(box.key), one, others)
    )
    visit = Visit(Door.SUBMISSION, "192.0.2.1", "x", tls=True, login=BOX)
    box = parse_address(BOX)
    carol = parse_address("carol@y.net")
    assert await asked.recipient(replace(visit, accepted=(BOB, box)), box, EVE) is None
    refused = await asked.recipient(replace(visit, accepted=(BOB, box, EVE)), box, carol)
    assert refused is not None and refused.temporary
    if limit == "new_recipients_per_day":
        await out.goes(own())
        known = await asked.recipient(replace(visit, accepted=(EVE,)), box, BOB)
        assert known is None
        assert await asked.recipient(replace(visit, accepted=(EVE,)), box, carol) is not None


async def test_a_mail_program_writes_to_the_world(tmp_path: Path) -> None:
    """By a real door: the mail arrives elsewhere without its Bcc, is in the room, and its answer is in the thread."""
    smtp, submission = free_port(), free_port()
    doors = [
        {"kind": "smtp", "listen": f"127.0.0.1:{smtp}"},
        {"kind": "submission", "listen": f"127.0.0.1:{submission}"},
    ]
    certificate = make_certificate(tmp_path / "tls")
    trusting = certificate.client_context()
    receiving = {"doors": doors, "certificate": str(certificate.chain), "key": str(certificate.key)}
    async with Post(tmp_path, receiving=receiving) as post:
        post.port = smtp
        networks = post.bridge.running.networks
        connector: Any = next(iter(networks)).connector
        mailbox = connector._mailboxes.get(BOX)
        password = await connector._station.passwords.renew(mailbox, ALICE)
        letter = EmailMessage()
        letter["From"], letter["To"], letter["Bcc"] = f"Help desk <{BOX}>", "bob@x.net", "eve@y.net"
        letter["Subject"] = "The offer"
        letter.set_content("Here it is\n")

        def submit() -> None:
            with smtplib.SMTP("localhost", submission, timeout=30) as server:
                server.starttls(context=trusting)
                server.login(BOX, password)
                # smtplib would leave Bcc out by itself.
                server.sendmail(BOX, ["bob@x.net", "eve@y.net"], letter.as_bytes(policy=policy.SMTP))

        await asyncio.to_thread(submit)
        got = await post.elsewhere.wait_for(lambda one: one.recipients == ("bob@x.net",), "the mail to bob", 60)
        await post.elsewhere.wait_for(lambda one: one.recipients == ("eve@y.net",), "the mail to eve", 60)
        assert got.text == "Here it is"
        assert got.mail["Bcc"] is None and b"eve@y.net" not in got.data
        assert got.sender.startswith("b+")
        assert got.mail["Date"] and str(got.mail["Message-ID"]).endswith("@example.org>")
        room = await post.room()
        event = await post.seen(room, "Here it is")
        await post.sends("Thank you\n", Subject="Re: The offer", In_Reply_To=str(got.mail["Message-ID"]))
        answer = await post.seen(room, "Thank you")
        assert answer["content"]["m.relates_to"]["event_id"] == event["event_id"]
