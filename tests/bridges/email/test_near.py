"""Mail between mailboxes of the bridge: it stays here, arrives once, and is no stranger's."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import BackpressureError, TransientError
from bridge_core.api.events import RemoteMessage
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.delivery.near import HERE
from bridges.email.envelopes import decode
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.ports import Reply, Visit
from bridges.email.spool import Spool
from tests.bridges.email.mailing import BOB, about
from tests.bridges.email.office import BOX, Office, mail
from tests.bridges.email.post import Post
from tests.bridges.email.test_delivery import Depot, State

SALES = parse_address("sales@example.org")
UNKNOWN = Reply(550, "5.1.1", "there is no such mailbox here")
RAW = b"From: Support <support@example.org>\r\nTo: sales@example.org\r\nMessage-ID: <m@example.org>\r\n\r\nHello\r\n"


class Book:
    """A directory with one mailbox; `answer` is said for it."""

    def __init__(self) -> None:
        self.answer: Reply | None = None
        self.asked: list[tuple[Visit, Address | None]] = []

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        self.asked.append((visit, sender))
        return self.answer if address.key == SALES.key else UNKNOWN

    async def may_send_as(self, login: str, address: Address) -> bool:
        raise AssertionError


class Near(Depot):
    """A post office with a spool of its own."""

    def __init__(self, host: Any = None, **settings: Any) -> None:
        super().__init__(host, smarthosts=[{"host": "127.0.0.1", "tls": "none"}], **settings)
        self.book = Book()
        context: Any = self.host
        self.spool = Spool(context, most_mails=100, most_bytes=1 << 20)
        self.office.keep_near(self.book, self.spool, ["example.org"])
        self.office.courier.carrier._others = self.postman  # type: ignore[attr-defined]

    async def submitted(self, *to: Address) -> None:
        """The support mailbox writes."""
        found = await self.mail("m", RAW)
        await self.office.outbox.submit(found, to, about(found.message_id))

    async def came(self) -> list[tuple[Envelope, Verdict, bytes]]:
        """What the spool has, with its bytes."""
        found = [decode(item.body) for item in self.host.queue("incoming").items.values() if item.body]
        return [(envelope, verdict, self.host.blobs.files[blob]) for envelope, verdict, blob in found]


async def test_our_own_mailboxes_are_reached_by_no_other_server() -> None:
    """What is for one is in the spool, from its verified author; all else goes out, with the return path of its own."""
    near = Near()
    await near.submitted(SALES, BOB)
    await near.work()
    assert [to for _, to in near.postman.carried] == ["bob@there.test"]
    ((envelope, verdict, raw),) = await near.came()
    assert raw.endswith(RAW) and raw.startswith(b"Received: ") and b" with local id " in raw
    assert (envelope.recipients, envelope.door, envelope.size) == ((SALES,), Door.LOCAL, len(raw))
    assert (envelope.login, envelope.has_id) == (None, True)
    assert envelope.sender is not None and envelope.sender.local.startswith("b+")
    assert verdict.verified and verdict.author is not None and verdict.author.key == BOX
    assert near.states() == [State.SENT, State.SENT]
    ((visit, asking),) = near.book.asked
    assert visit.door is Door.LOCAL
    assert asking is not None and asking.key == BOX  # who may be known there, not the token of the way back


async def test_killed_before_its_end_is_stored_it_arrives_once() -> None:
    """The spool has it and the outbox does not know that: handed over again, the spool knows it."""
    near = Near(lease=60)
    await near.submitted(SALES)
    put = near.queue.put

    async def dying(items: Any = (), *, removed: Any = ()) -> None:
        if removed:
            await asyncio.Event().wait()
        await put(items, removed=removed)

    near.queue.put = dying  # type: ignore[method-assign]
    await near.runner.look()
    async with asyncio.timeout(60):
        while not near.host.queue("incoming").items:
            await asyncio.sleep(0)
    for task in near.host.tasks.running:
        task.cancel()
    near.queue.put = put  # type: ignore[method-assign]
    again = Near(near.host, lease=60)
    await again.spool.start()
    near.host.clock.turn(60)
    assert await again.work() == 1
    assert again.states() == [State.SENT]
    assert (again.spool.given_twice, len(await again.came())) == (1, 1)


async def test_a_full_spool_is_tried_again() -> None:
    """A mailbox that cannot take the mail now gets it later; nothing is told as failed."""
    near = Near()
    accept = near.spool.accept

    async def full(*_: Any) -> None:
        raise BackpressureError("no room")

    async def away(*_: Any) -> None:
        raise TransientError("the store is away")

    await near.submitted(SALES)
    for trouble in (full, away):
        near.spool.accept = trouble  # type: ignore[method-assign]
        await near.work()
        assert near.states() == [State.WAITING]
        near.host.clock.turn(3600)
    near.spool.accept = accept  # type: ignore[method-assign]
    await near.work()
    assert near.states() == [State.SENT]
    assert len(await near.came()) == 1


@pytest.mark.parametrize(
    ("answer", "state", "carried"),
    [
        (UNKNOWN, State.SENT, ["sales@example.org"]),
        (Reply(550, "5.7.1", "answers only"), State.FAILED, []),
        (Reply(451, "4.3.0", "later"), State.WAITING, []),
    ],
)
async def test_a_mailbox_may_be_another_servers(answer: Reply, state: State, carried: list[str]) -> None:
    """What no mailbox here has may be an address of the server in front; what a mailbox refuses is refused."""
    near = Near()
    near.book.answer = answer
    await near.submitted(SALES)
    await near.work()
    assert near.states() == [state]
    assert [to for _, to in near.postman.carried] == carried
    assert await near.came() == []


async def test_without_a_server_in_front_nobody_else_is_asked() -> None:
    """An address of ours that is no mailbox is unknown, at once."""
    near = Near()
    near.office.courier.carrier._smarthost = False  # type: ignore[attr-defined]
    await near.submitted(parse_address("nobody@example.org"))
    await near.work()
    assert near.states() == [State.FAILED]
    assert near.postman.carried == []
    assert near.office.courier.carrier.destination(await near.mail("x"), SALES, "example.org") == HERE


# Mail of our own that comes back


async def test_an_own_post_that_a_list_sends_back_is_shown_once() -> None:
    """What a mailbox wrote is in its room already, in whatever form it comes back to it."""
    office = Office()
    await office.says("To: dev@lists.test\nSubject: Hi\n\nHello")
    sent = f"{office.composer.drafts[-1].key}@example.org"
    assert await office.comes(mail(sent, author=BOX), digest="a" * 64) == []
    listed = mail(sent, author="dev@lists.test", list_id="dev.lists.test")
    assert await office.comes(listed, digest="b" * 64) == []
    # Somebody else's mail under that id is another mail.
    (other,) = await office.comes(mail(sent), digest="c" * 64)
    assert isinstance(other, RemoteMessage)
    (spoofed,) = await office.comes(mail(sent, author=BOX), digest="e" * 64, verified=False)
    assert isinstance(spoofed, RemoteMessage)


async def test_what_a_mail_program_says_anew_is_no_echo() -> None:
    """A program that uses an id again for another mail of its own suppresses nothing."""
    office = Office()
    assert len(await office.comes(mail("m@example.org", author=BOX), "bob@x.net", login=BOX, digest="a" * 64)) == 1
    assert len(await office.comes(mail("m@example.org", author=BOX), "bob@x.net", login=BOX, digest="b" * 64)) == 1


async def test_two_mailboxes_write_to_each_other(tmp_path: Path) -> None:
    """From one room into the other and back, in one thread on both sides; the smarthost sees none of it."""
    other = "sales@example.org"
    boxes = {BOX: {"members": ["@alice:hs.test"]}, other: {"members": ["@alice:hs.test"]}}
    async with Post(tmp_path, mailboxes=boxes) as post:
        await post.sends("For both\n", BOX, other, Subject="First")
        support, sales = await post.room(), await post.room(other)
        post.bridge.alice.send(support, f"To: {other}\nSubject: Hi\n\nHello sales")
        asked = await post.seen(sales, "Hello sales")
        assert asked["sender"].startswith("@_mail_")
        assert "nobody answers for" not in asked["content"]["body"]
        thread: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": asked["event_id"]}}
        post.bridge.alice.send(sales, "Hello support", **thread)
        answer = await post.seen(support, "Hello support")
        assert answer["content"]["m.relates_to"]["rel_type"] == "m.thread"
        assert answer["sender"] != asked["sender"]
        assert post.elsewhere.received == []
