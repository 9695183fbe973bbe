"""Postfix as smarthost: what it takes, brings further, holds back and returns."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.events import Fate, RemoteStatus
from bridges.email.codec.addresses import parse_address
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.composer import MailComposer
from bridges.email.config.composing import Composing
from bridges.email.config.delivery import Delivery, HostTls, Smarthost
from bridges.email.delivery.office import PostOffice
from bridges.email.delivery.rows import State, row_of
from bridges.email.parsing.context import Context
from bridges.email.parsing.reader import read_mail
from tests.bridges.email.mailing import BOB, SECRET, MailHost, about, draft, person
from tests.bridges.email.sink import Sink
from tests.bridges.email.test_delivery import Inbox
from tests.servers.postfix import Postfix

pytestmark = pytest.mark.server


@pytest.fixture
async def world() -> AsyncIterator[Sink]:
    """The server of everybody else, and of our own domain."""
    async with Sink(extensions=("SIZE 50000000", "8BITMIME")) as sink:
        yield sink


@pytest.fixture
async def postfix(tmp_path: Path, world: Sink) -> AsyncIterator[Postfix]:
    to = f"smtp:[127.0.0.1]:{world.port}"
    server = Postfix(tmp_path / "postfix", {"there.test": to, "example.org": to})
    try:
        await server.start()
        yield server
    finally:
        await server.close()


class Office:
    """Our side: writing and sending by the smarthost."""

    def __init__(self, port: int) -> None:
        self.host = MailHost()
        self.inbox = Inbox()
        context: Any = self.host
        tokens = Tokens(SECRET)
        settings = Delivery(hold=0, smarthosts=[Smarthost(host="127.0.0.1", port=port, tls=HostTls.NONE)])
        self.composer = MailComposer(context, tokens, Composing(), bridge="bridge.test", keys={})
        self.office = PostOffice(context, self.inbox, tokens, settings, "bridge.example.org")

    async def send(self, key: str, *to: str, text: str = "Hello") -> str:
        """Write and send a mail; its Message-ID."""
        people = tuple(person(one) for one in to) or (BOB,)
        mail = await self.composer.compose(draft(text, key=key, to=people))
        await self.office.outbox.submit(mail, people, about(mail.message_id))
        return mail.message_id

    async def sent(self, count: int) -> None:
        """Work the queue off until so many were handed over."""
        async with asyncio.timeout(60):
            while self.office.counts.sent < count:
                await self.office.runner.look()
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        await self.office.stop(5)
        assert not self.host.tasks.errors


@pytest.fixture
async def office(postfix: Postfix) -> AsyncIterator[Office]:
    found = Office(postfix.port)
    yield found
    await found.close()


async def test_mails_go_out_through_postfix(office: Office, postfix: Postfix, world: Sink) -> None:
    """Mails of every size arrive once for each recipient, over few connections, as they were written."""
    text = "".join(f"line {number}: ä.\n.\n" for number in range(3_000))
    await office.send("long", text=text)
    for number in range(20):
        await office.send(f"k{number}", "bob@there.test", "eve@there.test")
    await office.sent(41)
    await world.until(41)
    assert {row_of(item).state for item in office.host.queue("outgoing").items.values()} == {State.SENT}
    assert len({mail.sender for mail in world.mails}) == 41
    assert {tuple(mail.recipients) for mail in world.mails} == {("bob@there.test",), ("eve@there.test",)}
    (long,) = [mail for mail in world.mails if len(mail.data) > 50_000]
    assert "line 2999: ä." in str(read_mail(long.data, Context()).mail.text)
    assert office.host.blobs.files == {}
    assert postfix.log_file.read_text().count(": connect from") <= 5


async def test_what_postfix_returns_is_told_at_its_message(office: Office, world: Sink) -> None:
    """A report of Postfix to the reverse-path names the message and the recipient who did not get it."""
    world.always["rcpt eve@there.test"] = "550 5.1.1 no such person"
    message = await office.send("k", "bob@there.test", "eve@there.test")
    await office.sent(2)
    await world.until(2)
    async with asyncio.timeout(60):
        while not (reports := [mail for mail in world.mails if not mail.sender]):
            await asyncio.sleep(0.05)
    (report,) = reports
    returned = office.office.returned
    token = returned.token(parse_address(report.recipients[0]))
    assert token is not None
    mail = read_mail(report.data, Context(null_sender=True)).mail
    assert mail.automatic
    (event,) = await returned.events(token, mail)
    assert isinstance(event, RemoteStatus)
    assert (event.fate, event.target, event.recipient) == (Fate.FAILED, message, "eve@there.test")
    assert "5.1.1" in str(event.reason)
    assert "no such person" in str(event.reason)
    assert [one.address for one in await office.office.suppressions.all()] == ["eve@there.test"]


async def test_what_postfix_refuses_is_told_at_once(office: Office, world: Sink) -> None:
    """A recipient that the smarthost will not take is a failure in its words, and the other one gets the mail."""
    await office.send("k", "bob@there.test", "x@nowhere.test")
    async with asyncio.timeout(60):
        await office.sent(1)
        while office.office.counts.failed < 1:
            await asyncio.sleep(0.05)
    (event,) = office.inbox.events
    assert (event.fate, event.recipient) == (Fate.FAILED, "x@nowhere.test")
    await world.until(1)


async def test_a_postfix_that_is_away_loses_nothing(tmp_path: Path, world: Sink) -> None:
    """What cannot be handed over waits, and goes out when the smarthost is there."""
    postfix = Postfix(tmp_path / "postfix", {"there.test": f"smtp:[127.0.0.1]:{world.port}"})
    office = Office(postfix.port)
    try:
        await office.send("k")
        async with asyncio.timeout(60):
            await office.office.runner.look()
            while office.office.counts.deferred < 1:
                await asyncio.sleep(0.05)
        await postfix.start()
        office.host.clock.turn(1000)
        await office.sent(1)
        await world.until(1)
    finally:
        await office.close()
        await postfix.close()
