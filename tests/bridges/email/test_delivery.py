"""The outgoing queue: what was taken over is sent once, told when it is not, and never lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import Fate, RemoteEvent, RemoteStatus
from bridge_core.api.ids import MessageId, UserId
from bridge_core.api.network import Accepted
from bridge_core.testing.memory import KeptTasks
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.codec.tokens import Tokens
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.commands import QueueCommands
from bridges.email.delivery.loops import Answers, answerable
from bridges.email.delivery.office import PostOffice
from bridges.email.delivery.rows import DONE, WAITING, Row, State, row_of
from bridges.email.delivery.schedule import next_delay, notices_due
from bridges.email.delivery.suppression import Suppressions, base
from bridges.email.mail import Door, Envelope, Mail, Report, ReportKind
from bridges.email.mail import Fate as Told
from bridges.email.ports import Outcome, OutgoingMail, Reply
from tests.bridges.email.mailing import BOB, NOW, SECRET, SUPPORT, MailHost, about, person

EVE = person("eve@there.test")
YES = Outcome(Reply(250, "2.0.0", "queued"), "mx.there.test")
LATER = Outcome(Reply(0, "4.4.1", "mx.there.test does not answer"), "mx.there.test")
GREY = Outcome(Reply(450, "4.7.1", "greylisted"), "mx.there.test")
NEVER = Outcome(Reply(550, "5.1.1", "no such person"), "mx.there.test")
DOUBT = Outcome(Reply(0, "4.4.2", "gave up the connection"), "mx.there.test", unknown=True)


class Inbox:
    """Keeps what it is given; `full` refuses."""

    def __init__(self) -> None:
        self.events: list[RemoteStatus] = []
        self.full = False

    async def receive(self, events: Sequence[RemoteEvent], **_: Any) -> list[Accepted]:
        if self.full:
            raise TransientError("the journal is full")
        self.events += [event for event in events if isinstance(event, RemoteStatus)]
        return [Accepted(1) for _ in events]

    def report(self, state: Any) -> None:
        raise AssertionError

    @property
    def fates(self) -> list[tuple[Fate, str | None, str | None]]:
        return [(event.fate, event.recipient, event.reason) for event in self.events]


class Postman:
    """Instead of the transport: gives the answers it was told, and remembers what it carried."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Outcome]] = {}
        self.carried: list[tuple[OutgoingMail, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = 0
        self.most: dict[str, int] = {}
        self.now: dict[str, int] = {}
        self.before: Callable[[], None] = lambda: None
        self.quick: set[str] = set()
        """Who waits for no gate."""

    def destination(self, mail: OutgoingMail, recipient: Address, domain: str) -> str:
        return recipient.domain

    async def deliver(
        self, mail: OutgoingMail, recipients: Sequence[Address], destination: str = ""
    ) -> Mapping[Address, Outcome]:
        (recipient,) = recipients
        self.before()
        self.carried.append((mail, recipient.key))
        self.now[destination] = self.now.get(destination, 0) + 1
        self.busy += 1
        self.most[destination] = max(self.most.get(destination, 0), self.now[destination])
        self.most["all"] = max(self.most.get("all", 0), self.busy)
        try:
            if recipient.key not in self.quick:
                await self.gate.wait()
        finally:
            self.now[destination] -= 1
            self.busy -= 1
        answers = self.answers.get(recipient.key, [])
        return {recipient: answers.pop(0) if answers else YES}

    def forget_away(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Depot:
    """A post office without a network, whose runner looks when it is told to."""

    def __init__(self, host: MailHost | None = None, **settings: Any) -> None:
        self.host = host or MailHost()
        self.inbox = Inbox()
        self.postman = Postman()
        self.settings = Delivery(**{"hold": 0, **settings})
        self.learnt: list[tuple[str, str]] = []

        async def learn(row: Row, given: str) -> None:
            self.learnt.append((row.about.message, given))

        context: Any = self.host
        self.office = PostOffice(context, self.inbox, Tokens(SECRET), self.settings, "mail.example.org", learnt=learn)
        self.runner = self.office.runner
        self.office.courier.carrier = self.postman
        self.office.courier._chance = lambda: 0.5
        self.queue = self.host.queue("outgoing")

    async def submit(self, name: str, *to: Address, **changes: Any) -> OutgoingMail:
        """Take a mail over."""
        mail = await self.mail(name)
        given = changes.pop("about", about(mail.message_id))
        await self.office.outbox.submit(mail, to or (BOB,), given, **changes)
        return mail

    async def mail(self, name: str, text: bytes = b"Subject: x\r\n\r\nhello\r\n") -> OutgoingMail:
        async def chunks() -> AsyncIterator[bytes]:
            yield text

        blob = await self.host.blobs.put(chunks(), 10**6)
        return OutgoingMail(name, f"{name}@example.org", SUPPORT.named(""), blob, len(text))

    async def work(self) -> int:
        """Try what is due now, to the end; how many rows that were."""
        taken = await self.runner.look()
        await self.rest()
        return taken

    async def rest(self) -> None:
        """Wait until nothing is under way."""
        async with asyncio.timeout(60):
            while tasks := list(self.host.tasks.running):
                await asyncio.wait(tasks)
        assert not self.host.tasks.errors

    def rows(self) -> list[Row]:
        return [row_of(item) for item in self.queue.items.values()]

    def states(self) -> list[State]:
        return sorted(row.state for row in self.rows())

    def restarted(self) -> "Depot":
        """The same after a crash: nothing is left but what was committed."""
        for task in self.host.tasks.running:
            task.cancel()
        self.host.tasks = KeptTasks()
        return Depot(self.host, **self.settings.model_dump(exclude={"smarthosts", "dkim"}))


async def test_a_mail_goes_to_each_recipient_once() -> None:
    """Each recipient has a row, its own reverse-path, and no second try; the blob is dropped with the last."""
    depot = Depot()
    mail = await depot.submit("m", BOB, EVE)
    assert depot.states() == [State.WAITING] * 2
    assert await depot.work() == 2
    assert sorted(to for _, to in depot.postman.carried) == ["bob@there.test", "eve@there.test"]
    senders = {str(one.sender) for one, _ in depot.postman.carried}
    assert len(senders) == 2
    assert all(one.startswith("b+") and one.endswith("@example.org") for one in senders)
    assert depot.states() == [State.SENT] * 2
    assert mail.blob not in depot.host.blobs.files
    assert await depot.work() == 0
    assert depot.inbox.events == []


async def test_one_recipient_waits_for_the_bytes() -> None:
    """The bytes of a mail stay as long as one of its recipients has not got it, and are the same for the last."""
    depot = Depot()
    depot.postman.answers["eve@there.test"] = [LATER]
    mail = await depot.submit("m", BOB, EVE)
    await depot.work()
    assert depot.states() == [State.SENT, State.WAITING]
    assert mail.blob in depot.host.blobs.files
    depot.host.clock.turn(1000)
    await depot.work()
    assert depot.states() == [State.SENT, State.SENT]
    assert mail.blob not in depot.host.blobs.files


async def test_a_mail_given_twice_is_sent_once() -> None:
    """The core may say a message again after a crash: while it waits, and long after it was sent."""
    depot = Depot()
    await depot.submit("m")
    await depot.submit("m")
    assert len(depot.host.blobs.files) == 1
    await depot.work()
    await depot.submit("m")
    assert await depot.work() == 0
    assert len(depot.postman.carried) == 1
    assert depot.host.blobs.files == {}


async def test_what_was_sent_is_forgotten_in_time() -> None:
    """Rows are remembered for reports that come late, and removed after that."""
    depot = Depot(remember=86400)
    await depot.submit("m")
    await depot.work()
    depot.host.clock.turn(86300)
    await depot.work()
    assert len(depot.queue.items) == 1
    depot.host.clock.turn(101)
    await depot.work()
    assert depot.queue.items == {}


async def test_a_mail_is_held_back() -> None:
    """Nothing is sent before its time, and a caller may ask for none."""
    depot = Depot(hold=20)
    await depot.submit("m")
    await depot.submit("n", hold=0)
    await depot.work()
    depot.host.clock.turn(19)
    assert await depot.work() == 0
    assert [one.id for one, _ in depot.postman.carried] == ["n"]
    depot.host.clock.turn(1)
    assert await depot.work() == 1


async def test_an_edit_in_time_is_sent_instead() -> None:
    """While a mail is held its words can be changed: only the new ones go out, after a hold of their own."""
    depot = Depot(hold=20)
    first = await depot.submit("m", BOB, EVE)
    depot.host.clock.turn(15)
    second = await depot.mail("m", b"new\r\n")
    assert await depot.office.outbox.replace(MessageId("m@example.org"), SUPPORT, second)
    assert first.blob not in depot.host.blobs.files
    depot.host.clock.turn(15)
    assert await depot.work() == 0
    depot.host.clock.turn(5)
    assert await depot.work() == 2
    assert {one.blob for one, _ in depot.postman.carried} == {second.blob}
    third = await depot.mail("m")
    assert not await depot.office.outbox.replace(MessageId("m@example.org"), SUPPORT, third)
    assert depot.host.blobs.files == {}
    assert not await depot.office.outbox.replace(MessageId("unknown"), SUPPORT, third)


async def test_a_redaction_in_time_is_never_sent() -> None:
    """A mail that nobody has got is taken back, also one that was tried in vain; again is the same."""
    depot = Depot(hold=20)
    await depot.submit("m", BOB, EVE)
    assert await depot.office.outbox.cancel(MessageId("m@example.org"), SUPPORT)
    assert await depot.office.outbox.cancel(MessageId("m@example.org"), SUPPORT)
    assert depot.host.blobs.files == {}
    depot.postman.answers["bob@there.test"] = [LATER]
    await depot.submit("n", hold=0)
    await depot.work()
    assert await depot.office.outbox.cancel(MessageId("n@example.org"), SUPPORT)
    depot.host.clock.turn(86400)
    assert await depot.work() == 0
    assert len(depot.postman.carried) == 1
    await depot.submit("m", BOB, EVE)
    assert depot.states() == [State.CANCELLED] * 3


async def test_what_somebody_has_cannot_be_taken_back() -> None:
    """Once one recipient has it, or may have it, the others get the same: nothing changes, and that is said."""
    for answer in (YES, DOUBT):
        depot = Depot()
        depot.postman.answers = {"bob@there.test": [answer], "eve@there.test": [LATER]}
        await depot.submit("m", BOB, EVE)
        await depot.work()
        assert not await depot.office.outbox.cancel(MessageId("m@example.org"), SUPPORT)
        assert State.WAITING in depot.states()
    assert not await depot.office.outbox.cancel(MessageId("unknown"), SUPPORT)


async def test_only_who_wrote_a_mail_takes_it_back() -> None:
    """Another mailbox got it too, and knows its id: what it changes or takes back there changes nothing."""
    depot = Depot(hold=30)
    await depot.submit("m")
    sales = parse_address("sales@example.org")
    assert not await depot.office.outbox.cancel(MessageId("m@example.org"), sales)
    assert not await depot.office.outbox.replace(MessageId("m@example.org"), sales, await depot.mail("m", b"evil"))
    assert depot.states() == [State.WAITING]
    assert await depot.office.outbox.cancel(MessageId("m@example.org"), SUPPORT)


async def test_an_edit_that_was_applied_is_known_later() -> None:
    """Tried again after a crash, when its mail is on its way or there: it says so, and sends nothing anew."""
    depot = Depot(hold=0)
    await depot.submit("m")
    edited = replace(await depot.mail("m", b"new\r\n"), revision="$edit")
    assert await depot.office.outbox.replace(MessageId("m@example.org"), SUPPORT, edited)
    await depot.work()
    assert depot.states() == [State.SENT]
    again = replace(await depot.mail("m", b"new\r\n"), revision="$edit")
    assert await depot.office.outbox.replace(MessageId("m@example.org"), SUPPORT, again)
    other = replace(await depot.mail("m", b"newer\r\n"), revision="$other")
    assert not await depot.office.outbox.replace(MessageId("m@example.org"), SUPPORT, other)
    assert depot.host.blobs.files == {}
    assert depot.states() == [State.SENT]


async def test_nothing_is_changed_while_it_is_sent() -> None:
    """A redaction that comes during the try is too late."""
    depot = Depot()
    depot.postman.gate.clear()
    depot.postman.quick.add("eve@there.test")
    depot.postman.answers["eve@there.test"] = [LATER]
    await depot.submit("m", BOB, EVE)
    await depot.runner.look()
    async with asyncio.timeout(60):
        while depot.states() != [State.TRYING, State.WAITING]:
            await asyncio.sleep(0)
    assert not await depot.office.outbox.cancel(MessageId("m@example.org"), SUPPORT)
    assert not await depot.office.outbox.replace(MessageId("m@example.org"), SUPPORT, await depot.mail("m"))
    depot.postman.gate.set()
    await depot.rest()
    assert depot.states() == [State.SENT, State.WAITING]


async def test_a_try_is_recorded_before_it_is_made() -> None:
    """When the server is dialled, the store already says that this try was begun."""
    depot = Depot()
    await depot.submit("m")
    seen: list[tuple[State, int]] = []
    depot.postman.before = lambda: seen.extend((row.state, row.attempts) for row in depot.rows())
    await depot.work()
    assert seen == [(State.TRYING, 1)]


async def test_a_crash_in_a_try_is_a_doubt() -> None:
    """After a crash a try of unknown end is made again soon with the same mail, and counted."""
    depot = Depot(lease=60)
    depot.postman.gate.clear()
    await depot.submit("m")
    await depot.runner.look()
    await asyncio.sleep(0)
    again = depot.restarted()
    assert await again.work() == 0
    depot.host.clock.turn(60)
    assert await again.work() == 1
    (row,) = again.rows()
    assert (row.state, row.doubts, row.attempts) == (State.SENT, 1, 2)
    assert again.office.counts.unknown == 1
    assert [one.message_id for one, _ in again.postman.carried] == ["m@example.org"]


class Killed(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commit", [1, 2, 3, 4])
@pytest.mark.parametrize("answer", [YES, LATER, NEVER])
async def test_killed_at_each_commit(commit: int, after: bool, answer: Outcome) -> None:
    """Wherever the bridge dies, every mail ends in one state, and is handed over twice only where that is counted."""
    depot = Depot(lease=60)
    depot.postman.answers["bob@there.test"] = [answer]
    count = 0
    put = depot.queue.put

    async def dying(*arguments: Any, **named: Any) -> None:
        nonlocal count
        count += 1
        if count > commit or (count == commit and not after):
            raise Killed
        await put(*arguments, **named)
        if count == commit:
            raise Killed

    depot.queue.put = dying  # type: ignore[method-assign]
    try:
        await depot.submit("m")
        await depot.runner.look()
        while depot.host.tasks.running:
            await asyncio.wait(depot.host.tasks.running)
    except Killed:
        pass
    depot.queue.put = put  # type: ignore[method-assign]
    again = depot.restarted()
    if not depot.rows():
        assert (commit, after) == (1, False)
        await again.submit("m")  # Matrix says it again: it was not acknowledged.
    for _ in range(3):
        await again.work()
        depot.host.clock.turn(600)
    (row,) = again.rows()
    carried = len(depot.postman.carried) + len(again.postman.carried)
    assert row.done
    assert row.state is (State.FAILED if answer is NEVER and not again.postman.carried else State.SENT)
    if answer is YES:
        assert 1 <= carried <= 1 + row.doubts


async def test_a_long_try_is_not_made_twice() -> None:
    """While a try goes on its lease is renewed, however long it takes."""
    depot = Depot(lease=60)
    depot.postman.gate.clear()
    await depot.submit("m")
    await depot.runner.look()
    for _ in range(3):
        depot.host.clock.turn(61)
        assert await depot.runner.look() == 0
    depot.postman.gate.set()
    await depot.rest()
    assert len(depot.postman.carried) == 1
    (row,) = depot.rows()
    assert (row.state, row.attempts, row.doubts) == (State.SENT, 1, 0)


@pytest.mark.parametrize("answer", [YES, LATER])
@pytest.mark.parametrize("ended", [False, True])
async def test_a_try_that_ends_while_its_lease_is_renewed_stays_ended(ended: bool, answer: Outcome) -> None:
    """Whoever looks at rows that are under way writes none of them back that has ended meanwhile, and takes it not."""
    depot = Depot(lease=60)
    depot.postman.gate.clear()
    depot.postman.answers["bob@there.test"] = [answer]
    await depot.submit("m")
    await depot.runner.look()
    depot.host.clock.turn(70)
    due, put = depot.queue.due, depot.queue.put
    committed, stay = asyncio.Event(), asyncio.Event()

    async def ending(*arguments: Any, **named: Any) -> None:
        await put(*arguments, **named)
        committed.set()
        if not ended:
            await stay.wait()

    async def late(*arguments: Any, **named: Any) -> Any:
        found = await due(*arguments, **named)
        depot.postman.gate.set()
        depot.queue.put = ending  # type: ignore[method-assign]
        await committed.wait()
        depot.queue.put = put  # type: ignore[method-assign]
        if ended:
            await depot.rest()
        return found

    depot.queue.due = late  # type: ignore[method-assign]
    assert await depot.runner.look() == 0
    depot.queue.due = due  # type: ignore[method-assign]
    stay.set()
    await depot.rest()
    (row,) = depot.rows()
    assert row.state is (State.SENT if answer is YES else State.WAITING)
    assert await depot.work() == 0
    assert (len(depot.postman.carried), depot.office.counts.unknown) == (1, 0)


async def test_what_never_gets_an_answer_is_not_sent_for_ever() -> None:
    """A mail whose end stays unknown again and again is given up, and its writer told so."""
    depot = Depot()
    depot.postman.answers["bob@there.test"] = [DOUBT] * 9
    await depot.submit("m")
    for _ in range(9):
        await depot.work()
        depot.host.clock.turn(40_000)
    assert len(depot.postman.carried) == 3
    assert depot.states() == [State.FAILED]
    assert depot.inbox.fates[-1][0] is Fate.FAILED
    assert "nobody knows" in str(depot.inbox.fates[-1][2])


async def test_a_refusal_is_told_and_kept_in_mind() -> None:
    """A recipient who does not exist is told to the writer, in the server's words, and not written to for a while."""
    depot = Depot(suppress_for=1000)
    depot.postman.answers["bob@there.test"] = [NEVER]
    await depot.submit("m", BOB, EVE)
    await depot.work()
    assert depot.inbox.fates == [(Fate.FAILED, "bob@there.test", "mx.there.test: 550 5.1.1 no such person")]
    assert depot.inbox.events[0].target == "m@example.org"
    assert depot.states() == [State.FAILED, State.SENT]
    await depot.submit("n", BOB, EVE)
    await depot.work()
    assert len(depot.postman.carried) == 3
    assert depot.inbox.fates[-1][:2] == (Fate.FAILED, "bob@there.test")
    with pytest.raises(RejectedError, match="does not take mail"):
        await depot.submit("o", person("BOB@there.test"))
    assert len(depot.host.blobs.files) == 0
    depot.host.clock.turn(1001)
    await depot.submit("p", BOB)
    await depot.work()
    assert depot.postman.carried[-1][1] == "bob@there.test"


async def test_a_mail_that_is_not_liked_suppresses_nobody() -> None:
    """Only an address that does not exist is kept in mind, not one that refused this mail."""
    depot = Depot()
    depot.postman.answers["bob@there.test"] = [Outcome(Reply(550, "5.7.1", "spam"), "mx"), YES]
    await depot.submit("m")
    await depot.submit("n")
    await depot.work()
    assert await depot.office.suppressions.all() == []
    assert len(depot.postman.carried) == 2


async def test_delays_are_told_early_and_rarely() -> None:
    """Tries follow the schedule; the writer hears of it after minutes, after hours, at the end, and when it arrives."""
    depot = Depot()
    depot.postman.answers["bob@there.test"] = [LATER] * 7
    await depot.submit("m")
    tried = []
    while State.SENT not in depot.states():
        due = await depot.queue.next_due()
        assert due is not None
        depot.host.clock.now = max(due, depot.host.clock.now)
        tried.append((depot.host.clock.now - NOW) // 1000)
        await depot.work()
    assert depot.host.blobs.renewed == {"blob:1": 7}
    assert tried == [0, 450, 1350, 3150, 6750, 13950, 28350, 57150]
    assert [fate for fate, _, _ in depot.inbox.fates] == [Fate.DELAYED, Fate.DELAYED, Fate.DELIVERED]
    assert "does not answer. It is tried until 2023-11-16" in str(depot.inbox.fates[0][2])


async def test_a_mail_that_nobody_takes_comes_back() -> None:
    """After the time that is configured its writer is told, once, and nothing more is tried."""
    depot = Depot(give_up_after=3600)
    depot.postman.answers["bob@there.test"] = [LATER] * 99
    mail = await depot.submit("m")
    for _ in range(20):
        await depot.work()
        depot.host.clock.turn(600)
    assert depot.states() == [State.FAILED]
    assert [fate for fate, _, _ in depot.inbox.fates] == [Fate.DELAYED, Fate.FAILED]
    assert mail.blob not in depot.host.blobs.files
    assert depot.office.counts.failed == 1


def test_the_schedule_spreads_and_greylisting_is_short() -> None:
    """A tenth to either side, longer each time, within five minutes where the server asks to come again."""
    assert [next_delay(number, 0, 0.5) for number in (1, 2, 8, 9, 99)] == [450, 900, 57600, 57600, 57600]
    assert next_delay(1, 0, 0.0) == pytest.approx(405)
    assert next_delay(1, 0, 1.0) == pytest.approx(495)
    assert all(next_delay(number, code, 1.0) < 300 for number in (1, 2) for code in (421, 450, 451))
    assert next_delay(3, 450, 0.5) == 1800
    assert next_delay(1, 452, 0.5) == 450
    assert [notices_due(after) for after in (0, 299, 300, 7199, 7200, 10**6)] == [0, 0, 1, 1, 2, 2]


async def test_greylisting_is_over_soon() -> None:
    """The second try comes within five minutes, and nobody is told of a delay so short."""
    depot = Depot()
    depot.postman.answers["bob@there.test"] = [GREY]
    await depot.submit("m")
    await depot.work()
    depot.host.clock.turn(140)
    await depot.work()
    assert depot.states() == [State.SENT]
    assert depot.inbox.events == []


async def test_the_store_away_sends_nothing_twice() -> None:
    """What was handed over while the database is away is ended when it is back, not handed over again."""
    depot = Depot(lease=1)
    await depot.submit("m")
    waits = 0

    async def sleep(seconds: float) -> None:
        nonlocal waits
        waits += 1
        depot.host.clock.turn(seconds)
        if waits == 5:
            depot.queue.broken = None

    depot.host.clock.sleep = sleep  # type: ignore[method-assign]

    def away() -> None:
        depot.queue.broken = TransientError("away")

    depot.postman.before = away
    await depot.work()
    assert waits == 5
    assert len(depot.postman.carried) == 1
    assert depot.states() == [State.SENT]


async def test_a_fate_that_cannot_be_told_is_told_later() -> None:
    """A full journal loses no failure: the row ends when its writer will hear of it."""
    depot = Depot()
    depot.postman.answers["bob@there.test"] = [NEVER]
    depot.inbox.full = True

    async def sleep(seconds: float) -> None:
        assert depot.states() == [State.TRYING]
        depot.inbox.full = False

    depot.host.clock.sleep = sleep  # type: ignore[method-assign]
    await depot.submit("m")
    await depot.work()
    assert [fate for fate, _, _ in depot.inbox.fates] == [Fate.FAILED]
    assert depot.states() == [State.FAILED]


async def test_a_mail_that_is_lost_from_the_spool_fails() -> None:
    """A blob that cannot be read is told as a failure, never tried for days."""
    depot = Depot()

    def gone() -> None:
        raise RejectedError("the file is not there any more")

    depot.postman.before = gone
    await depot.submit("m")
    await depot.work()
    assert depot.states() == [State.FAILED]
    assert "not there any more" in str(depot.inbox.fates[0][2])


async def test_destinations_do_not_wait_for_each_other() -> None:
    """One destination gets as many connections as configured, all together as many as that; none holds up another."""
    depot = Depot(connections=2, connections_total=5, mails_per_thread=10_000, new_recipients_per_day=10_000)
    depot.postman.gate.clear()
    for number in range(30):
        await depot.submit(f"a{number}", person("x@a.test"))
    for domain in "bcdefg":
        await depot.submit(domain, person(f"x@{domain}.test"))
    await depot.runner.look()
    for _ in range(20):
        await asyncio.sleep(0)
    assert depot.postman.busy == 5
    assert depot.postman.now["a.test"] == 2
    depot.postman.gate.set()
    while depot.office.counts.sent < 36:
        await depot.work()
    assert depot.postman.most["a.test"] == 2
    assert depot.postman.most["all"] <= 5


async def test_a_long_queue_is_taken_in_pieces() -> None:
    """However much waits for one destination, only a bounded part of it is under way."""
    depot = Depot(connections=1, mails_per_thread=10_000, mails_per_day=10_000)
    depot.postman.gate.clear()
    for number in range(250):
        await depot.submit(f"m{number}")
    await depot.runner.look()
    await depot.runner.look()
    assert sum(row.state is State.TRYING for row in depot.rows()) <= 101
    depot.postman.gate.set()
    while depot.office.counts.sent < 250:
        await depot.work()
    assert len(depot.postman.carried) == 250
    assert {row.attempts for row in depot.rows()} == {1}


async def test_stopping_puts_back_what_was_not_begun() -> None:
    """An orderly stop lets tries end; what was only taken waits as before, without a try or a doubt counted."""
    depot = Depot(connections=1, mails_per_thread=100)
    depot.postman.gate.clear()
    for number in range(5):
        await depot.submit(f"m{number}")
    depot.runner.start()
    while not depot.postman.busy:
        await asyncio.sleep(0)
    stopping = asyncio.ensure_future(depot.office.stop(30))
    await asyncio.sleep(0)
    depot.postman.gate.set()
    await stopping
    assert depot.states() == [State.SENT, *[State.WAITING] * 4]
    assert sorted(row.attempts for row in depot.rows()) == [0, 0, 0, 0, 1]
    depot.office.start()
    async with asyncio.timeout(60):
        while depot.office.counts.sent < 5:
            await asyncio.sleep(0.01)
    assert depot.office.counts.unknown == 0
    await depot.office.stop(30)


async def test_the_runner_wakes_for_new_mail() -> None:
    """A mail is sent when it is there and due; nobody asks the queue in vain."""
    depot = Depot()
    depot.runner.start()
    await asyncio.sleep(0)
    await depot.submit("m")
    async with asyncio.timeout(60):
        while depot.states() != [State.SENT]:
            await asyncio.sleep(0.01)
    await depot.office.stop(1)


async def test_an_unreadable_row_stops_no_other() -> None:
    """A row that nobody can read is taken out, and the rest is sent."""
    depot = Depot()
    await depot.submit("m")
    item = depot.queue.items[next(iter(depot.queue.items))]
    depot.queue.items["w:odd"] = type(item)("w:odd", b"{}", 0)
    await depot.work()
    assert depot.queue.items.pop("x:w:odd").body == b"{}"
    assert depot.states() == [State.SENT]


async def test_ids_that_relays_give_are_learnt() -> None:
    """The id that a relay gave a mail instead of ours is told before the row is ended."""
    depot = Depot()
    depot.postman.answers["bob@there.test"] = [Outcome(YES.reply, "email-smtp", message_id="new@amazonses.com")]
    await depot.submit("m")
    await depot.work()
    assert depot.learnt == [("m@example.org", "new@amazonses.com")]


# Limits


async def test_one_person_writes_to_so_many_a_day() -> None:
    """The day's limit and that for new recipients refuse in words; tomorrow it goes on."""
    depot = Depot(mails_per_day=3, new_recipients_per_day=2)
    await depot.submit("a", BOB, EVE)
    with pytest.raises(RejectedError, match="2 new recipients a day"):
        await depot.submit("b", person("zoe@there.test"))
    await depot.submit("c", BOB)
    with pytest.raises(RejectedError, match="3 recipients a day"):
        await depot.submit("d", BOB)
    await depot.submit("e", BOB, about=about("e@example.org", user="@other:hs.test"))
    depot.host.clock.turn(86400)
    await depot.submit("f", BOB)
    assert len(depot.host.blobs.files) == 4


async def test_a_conversation_of_two_programs_comes_to_rest() -> None:
    """Mails of one conversation run out of tokens, which come back with time; other conversations go on."""
    depot = Depot(mails_per_thread=3)
    for number in range(3):
        await depot.submit(f"m{number}")
    with pytest.raises(RejectedError, match="too many mails"):
        await depot.submit("m3")
    await depot.submit("other", about=about("other@example.org", thread="u"))
    depot.host.clock.turn(60)
    await depot.submit("m4")
    with pytest.raises(RejectedError, match="too many mails"):
        await depot.submit("m5")


# What comes back


async def test_a_report_is_told_at_its_message() -> None:
    """A report to the reverse-path of a mail tells what became of it, for the recipient of that row."""
    depot = Depot()
    await depot.submit("m")
    await depot.work()
    sender = depot.postman.carried[0][0].sender
    assert sender is not None
    token = depot.office.returned.token(Address(sender.local.upper(), sender.domain))
    assert token is not None
    for action, fate in (
        ("delayed", Fate.DELAYED),
        ("failed", Fate.FAILED),
        ("delivered", Fate.DELIVERED),
        ("relayed", Fate.DELIVERED),
    ):
        report = Report(ReportKind.DELIVERY, (Told("somebody@else.test", action, "5.1.1", "no"),))
        for _ in range(2):
            (event,) = await depot.office.returned.events(token, Mail("r", report=report))
            assert isinstance(event, RemoteStatus)
            assert (event.fate, event.recipient, event.target) == (fate, "bob@there.test", "m@example.org")
    assert [one.address for one in await depot.office.suppressions.all()] == ["bob@there.test"]
    found = await depot.office.returned.about(token)
    assert found is not None
    assert found.thread == "t"


async def test_a_report_counts_by_its_token_alone() -> None:
    """A forged token is none, whoever's name stands in the report; what is no report tells nothing."""
    depot = Depot()
    await depot.submit("m")
    await depot.work()
    sender = depot.postman.carried[0][0].sender
    assert sender is not None
    token = sender.local.partition("+")[2]
    report = Report(ReportKind.DELIVERY, (Told("bob@there.test", "failed", "5.1.1"),))
    forged = token[:-1] + ("a" if token[-1] != "a" else "b")
    for local in (f"b+{forged}", f"c+{token}", "b+", "b", "b+" + "a" * 31, token, "bob"):
        assert depot.office.returned.token(Address(local, "example.org")) is None
    assert await depot.office.returned.events(forged, Mail("r", report=report)) == ()
    assert await depot.office.returned.events(Tokens(SECRET).returning("a" * 24), Mail("r", report=report)) == ()
    assert await depot.office.returned.events(token, Mail("r")) == ()
    assert await depot.office.returned.events(token, Mail("r", report=Report(ReportKind.READ))) == ()
    odd = Report(ReportKind.DELIVERY, (Told("x", "exploded"),))
    assert await depot.office.returned.events(token, Mail("r", report=odd)) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"automatic": True},
        {"report": Report(ReportKind.DELIVERY)},
        {"list_id": "a.b"},
        {"list_post": "a@b.c"},
        {"bridges": ("x",)},
        {"hops": 51},
        {"authors": (person("no-reply@there.test"),)},
        {"authors": (person("MAILER-DAEMON@there.test"),)},
        {"subject": "Automatische Antwort: Urlaub"},
        {"subject": "Out of office"},
        {"subject": "Undeliverable: x"},
    ],
)
def test_no_program_is_answered_by_a_program(changes: dict[str, Any]) -> None:
    """Every sign of a program, a list or a loop keeps automatic answers back (RFC 3834)."""
    envelope = Envelope("e", Door.SMTP, BOB, (SUPPORT,), "192.0.2.1", "there.test", NOW, 10)
    assert answerable(Mail("m", authors=(BOB,), subject="Hello"), envelope)
    assert not answerable(Mail("m", **{"authors": (BOB,), "subject": "Hello", **changes}), envelope)
    bounce = Envelope("e", Door.SMTP, None, (SUPPORT,), "192.0.2.1", "there.test", NOW, 10)
    assert not answerable(Mail("m", authors=(BOB,)), bounce)


async def test_nobody_gets_two_automatic_answers_in_a_week() -> None:
    """The second one is held back until a week has passed; other mailboxes have their own."""
    host = MailHost()
    context: Any = host
    answers = Answers(context.kv, context.clock)
    assert await answers.first(SUPPORT, BOB)
    assert not await answers.first(SUPPORT, BOB)
    assert await answers.first(SUPPORT, EVE)
    assert await answers.first(EVE, BOB)
    host.clock.turn(7 * 86400)
    assert await answers.first(SUPPORT, BOB)


def test_one_mailbox_has_one_base() -> None:
    """Tags and dots make no other mailbox where that is known; nowhere else."""
    assert base("B.o.b+news@Gmail.com") == base("bob@gmail.com")
    assert base("+x@gmail.com") == "+x@gmail.com"
    assert len({base(f"{one}@there.test") for one in ("b.ob", "bob", "bob+x", "BOB")}) == 3


async def test_a_misspelt_address_stops_mail_to_nobody_else() -> None:
    """Not to one much like it elsewhere, and to none of our own domains at all."""
    host = MailHost()
    there = Suppressions(host.secrets, host.clock, 1000)
    there.ours = ["example.org"]
    gone = Reply(550, "5.1.1", "there is no such mailbox here")
    for address in ("b.ob@x.net", "bob+x@x.net", "sup.port@example.org", "support@example.org"):
        await there.note("example.org", parse_address(address), gone)
    for address in ("bob@x.net", "support@example.org", "sup.port@example.org"):
        assert await there.find("example.org", parse_address(address)) is None
    assert await there.find("example.org", parse_address("B.ob@x.net")) is not None
    assert await there.clear(parse_address("b.ob@x.net")) == 1
    assert len(await there.all()) == 1


# For the admin


def call(**arguments: str) -> CommandCall:
    return CommandCall(UserId("@admin:hs.test"), CommandLevel.ADMIN, arguments)


async def test_an_admin_sees_and_moves_the_queue() -> None:
    """The queue is listed, a mail shown, tried now or dropped, by the beginning of its name."""
    depot = Depot(hold=20)
    said = QueueCommands()
    queue, suppressed = (one.run for one in said.commands())
    with pytest.raises(RejectedError, match="not started"):
        await queue(call())
    said.ledger = depot.office.ledger
    assert await queue(call()) == "Nothing waits to be sent."
    depot.postman.answers = {"bob@there.test": [LATER, YES], "eve@there.test": [NEVER]}
    await depot.submit("m", BOB)
    depot.host.clock.turn(20)
    await depot.work()
    (row,) = depot.rows()
    listed = await queue(call(action="list"))
    assert listed == (
        f"{row.id[:12]}  support@example.org -> bob@there.test  in 450 s, tried 1 times: mx.there.test does not answer"
    )
    shown = await queue(call(action="show", mail=row.id[:6].upper()))
    assert "to: bob@there.test" in shown
    assert "by @alice:hs.test" in shown
    assert "tried 1 times" in shown
    assert await queue(call(action="retry", mail=row.id)) == "1 will be tried now."
    await depot.work()
    assert depot.states() == [State.SENT]
    with pytest.raises(RejectedError, match="done with"):
        await queue(call(action="drop", mail=row.id))
    await depot.submit("n", EVE)
    await depot.submit("o", EVE)
    assert await queue(call(action="retry", mail="all")) == (
        "0 will be tried now. 2 were not tried yet and keep their hold."
    )
    depot.host.clock.turn(20)
    name = next(one.id for one in depot.rows() if one.mail.id == "n")
    assert await queue(call(action="drop", mail=name)) == "eve@there.test will not get it."
    with pytest.raises(RejectedError, match="done with"):
        await queue(call(action="retry", mail=name))
    await depot.work()
    assert (Fate.FAILED, "eve@there.test", "an admin has taken it out of the queue") in depot.inbox.fates
    assert [to for _, to in depot.postman.carried].count("eve@there.test") == 1
    assert "eve@there.test (from example.org)" in await suppressed(call())
    assert await suppressed(call(address="eve@there.test")) == "eve@there.test is written to again."
    assert await suppressed(call(address="eve@there.test")) == "eve@there.test is not on the list."
    assert await suppressed(call()) == "Nothing is suppressed."
    for wrong in (
        call(action="show", mail="zzzz"),
        call(action="show", mail="a"),
        call(action="show", mail="../x"),
        call(action="show"),
        call(action="explode", mail="all"),
    ):
        with pytest.raises(RejectedError):
            await queue(wrong)
    with pytest.raises(RejectedError, match="local part"):
        await suppressed(call(address="nonsense"))


async def test_a_long_list_goes_on() -> None:
    """A list shows a part, and from where it goes on; only what waits is in it."""
    depot = Depot(hold=20, mails_per_thread=100)
    for number in range(25):
        await depot.submit(f"m{number}")
    first = await depot.office.ledger.listed()
    assert len(first.split("\n")) == 21
    behind = first.split("\n")[-1].split()[-1]
    rest = await depot.office.ledger.listed(behind)
    names = [line[:12] for line in (*first.split("\n")[:20], *rest.split("\n")) if not line.startswith("...")]
    assert len(set(names)) == 25


def test_what_waits_and_what_is_remembered_are_apart() -> None:
    """Memories stand before all that waits, so that a list of what waits never walks through them."""
    assert DONE < WAITING


async def test_what_delivery_did_is_counted() -> None:
    """Each recipient that was queued is counted once where it ended; doubtful ends and notices beside it."""
    depot = Depot(give_up_after=100_000)
    depot.postman.answers = {"bob@there.test": [DOUBT, LATER, YES], "eve@there.test": [NEVER]}
    await depot.submit("m", BOB, EVE)
    await depot.submit("back", person("dan@there.test"), hold=60)
    assert await depot.office.outbox.cancel(MessageId("back@example.org"), SUPPORT)
    for _ in range(3):
        await depot.work()
        depot.host.clock.turn(40_000)
    await depot.submit("again", person("joe@there.test"), EVE)
    await depot.work()
    figures = {one.name: one.values for one in depot.office.counts.figures()}
    assert figures["email_outgoing"] == {("queued",): 5, ("sent",): 2, ("failed",): 2, ("cancelled",): 1}
    assert figures["email_suppressed"] == {(): 1}
    assert figures["email_doubtful_ends"] == {(): 1}
    assert figures["email_delay_notices"] == {(): 1}
    assert (figures["email_tries"], figures["email_deferred"]) == ({(): 5}, {(): 2})


async def test_taking_back_is_the_same_when_tried_again() -> None:
    """A mail that was taken back is so also where one of its recipients had been refused before."""
    depot = Depot()
    depot.postman.answers = {"eve@there.test": [NEVER], "bob@there.test": [LATER]}
    await depot.submit("m", BOB, EVE)
    await depot.work()
    for _ in range(2):
        assert await depot.office.outbox.cancel(MessageId("m@example.org"), SUPPORT)
    assert depot.states() == [State.CANCELLED, State.FAILED]


async def test_an_admin_is_told_of_doubtful_ends() -> None:
    """How many there were is said at the top of the list, also by a bridge that was started anew."""
    depot = Depot(lease=60)
    assert "doubt" not in await depot.office.ledger.listed()
    depot.postman.answers["bob@there.test"] = [DOUBT]
    await depot.submit("m")
    await depot.work()
    depot.postman.gate.clear()
    depot.host.clock.turn(40_000)
    await depot.runner.look()
    await asyncio.sleep(0)
    again = depot.restarted()
    depot.host.clock.turn(60)
    await again.work()
    assert (await again.office.ledger.listed()).startswith("2 tries ended in doubt")


async def test_whom_nobody_writes_to_any_more_is_forgotten() -> None:
    """A year after the last mail somebody is new again; the counts of past days go with the day."""
    depot = Depot()
    await depot.submit("m", BOB, EVE)
    depot.host.clock.turn(200 * 86_400)
    await depot.submit("n", EVE)
    assert await depot.office._limits.tidy() == 0
    depot.host.clock.turn(200 * 86_400)
    assert len(await depot.host.kv.items("written-to/")) == 2
    assert await depot.office._limits.tidy() == 2
    assert len(await depot.host.kv.items("written-to/")) == 1
    assert await depot.host.kv.items("sent-by/") == {}
