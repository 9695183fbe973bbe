"""The desk shows mails in their order, and none hinders those of other mailboxes, or is tried for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.info import Figure
from bridges.email.arrivals import Shown
from bridges.email.codec.addresses import parse_address
from bridges.email.config.receiving import Held
from bridges.email.desk import Desk
from bridges.email.lanes import Lanes
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.parsing.pool import UnreadableMailError
from bridges.email.requests import Requests
from bridges.email.spool import Spool
from bridges.email.spooled import Waiting
from bridges.email.tally import Became
from tests.bridges.email.mailing import NOW, MailHost
from tests.bridges.email.office import BOX, Office, mail

SALES = "sales@example.org"


class Reading:
    """A parser that reads nothing."""

    def context(self, *_: Any, **more: Any) -> None:
        return None

    @asynccontextmanager
    async def parse(self, *_: Any) -> AsyncIterator[Any]:
        class Read:
            pass

        read: Any = Read()
        read.mail = mail()
        yield read


class Showing:
    """Shows mails as it is told, by their ids: what `does` has for it is raised, waited for, or what it became."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.does: dict[str, list[Any]] = {}
        self.changed = asyncio.Event()

    async def show(self, envelope: Envelope, *_: Any) -> Shown:
        self.seen.append(envelope.id)
        self.changed.set()
        todo = self.does.get(envelope.id)
        what = todo.pop(0) if todo else Became.SHOWN
        if isinstance(what, asyncio.Event):
            await what.wait()
            what = Became.SHOWN
        if isinstance(what, BaseException):
            raise what
        return what if isinstance(what, Shown) else Shown({what})

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not wanted():
                self.changed.clear()
                with_others = asyncio.ensure_future(self.changed.wait())
                await asyncio.wait([with_others], timeout=0.05)
                with_others.cancel()


class NothingSent:
    """Submissions of nobody."""

    async def send_on(self, *_: Any) -> None:
        return None


class Place:
    """A desk over a spool in memory."""

    def __init__(self) -> None:
        self.host: Any = MailHost()
        self.office = Office(mailboxes={BOX: {}, SALES: {}})
        self.showing = Showing()
        self.begin()

    def begin(self) -> None:
        """As at a start of the bridge."""
        self.spool = Spool(self.host, most_mails=5000, most_bytes=1 << 20)
        requests = Requests(self.host, self.spool, Held())
        parts: Any = (Reading(), self.showing, requests)
        outgoing: Any = NothingSent()
        self.desk = Desk(self.host, self.spool, *parts, self.office.mailboxes, outgoing)
        self.task: asyncio.Task[None] | None = None

    async def comes(self, name: str, *to: str, number: int = 0) -> None:
        """A mail is taken over."""

        async def raw() -> AsyncIterator[bytes]:
            yield b"x"

        recipients = tuple(parse_address(one) for one in to or (BOX,))
        envelope = Envelope(name, Door.SMTP, None, recipients, "", "x", NOW - 10_000 + number, 1, digest=name)
        await self.spool.accept(envelope, Verdict(), await self.host.blobs.put(raw(), 10))

    def run(self) -> None:
        self.task = asyncio.create_task(self.desk.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def killed(self) -> None:
        """The process ends: nothing of it can store anything any more."""
        for queue in self.host.queues.values():
            queue.broken = TransientError("the process ended")
        await self.stop()
        for queue in self.host.queues.values():
            queue.broken = None
        self.begin()

    def figures(self) -> dict[str, Figure]:
        return {one.name: one for one in self.spool.tally.figures(self.spool.waiting, 0, 0)}


async def test_nothing_overtakes_a_mail_that_is_tried_again() -> None:
    """After a transient error the mailbox's next mails wait for it; those of other mailboxes do not."""
    place = Place()
    place.showing.does["m1"] = [TransientError("the journal is full")]
    for number, (name, to) in enumerate([("m1", BOX), ("m2", BOX), ("s1", SALES)]):
        await place.comes(name, to, number=number)
    place.run()
    await place.showing.until(lambda: "s1" in place.showing.seen)
    await place.showing.until(lambda: place.spool.waiting == 2)
    assert "m2" not in place.showing.seen
    place.host.clock.turn(3)
    await place.comes("m3", number=5)
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert [one for one in place.showing.seen if one[0] == "m"] == ["m1", "m1", "m2", "m3"]


async def test_nothing_overtakes_it_after_a_restart() -> None:
    """That a mail was put off outlives the process."""
    place = Place()
    place.showing.does["m1"] = [TransientError("the journal is full")]
    await place.comes("m1")
    await place.comes("m2", number=1)
    place.run()
    await place.showing.until(lambda: place.showing.seen == ["m1"] and not place.desk._begun)
    await place.stop()
    place.begin()
    await place.spool.start()
    place.run()
    await place.comes("s1", SALES, number=2)
    await place.showing.until(lambda: "s1" in place.showing.seen)
    assert "m2" not in place.showing.seen
    place.host.clock.turn(3)
    await place.comes("s2", SALES, number=3)
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert [one for one in place.showing.seen if one[0] == "m"] == ["m1", "m1", "m2"]


async def test_a_busy_mailbox_hides_no_other() -> None:
    """However many mails of one wait, older than the other's, the other's is shown at once."""
    place = Place()
    gate = asyncio.Event()
    place.showing.does["m0"] = [gate]
    for number in range(1500):
        await place.comes(f"m{number}", number=number)
    await place.comes("s1", SALES, number=2000)
    place.run()
    await place.showing.until(lambda: "s1" in place.showing.seen)
    assert [one for one in place.showing.seen if one[0] == "m"] == ["m0"]
    gate.set()
    await place.showing.until(lambda: "m20" in place.showing.seen)
    await place.stop()
    assert [one for one in place.showing.seen if one[0] == "m"][:21] == [f"m{number}" for number in range(21)]


async def test_a_mail_that_ends_the_bridge_is_set_aside() -> None:
    """Tried twice among others, the third time alone; then it is the admin's, and the others are shown."""
    place = Place()
    never = asyncio.Event()
    place.showing.does["bad"] = [never] * 3
    place.showing.does["good"] = [never] * 2
    await place.comes("bad")
    await place.comes("good", SALES, number=1)
    for number in range(3):
        await place.spool.start()
        seen = len(place.showing.seen)
        place.run()
        wanted = 2 if number < 2 else 1
        await place.showing.until(lambda seen=seen, wanted=wanted: len(place.showing.seen) == seen + wanted)
        await asyncio.sleep(0)
        assert len(place.showing.seen) == seen + wanted  # nothing beside what is tried for the last time
        await place.killed()
        place.host.clock.turn(20)
    assert place.showing.seen[4:] == ["bad"]
    await place.spool.start()
    place.run()
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert place.showing.seen[5:] == ["good"]
    (aside,) = await place.spool.aside.page("", 100)
    assert aside.arrival.envelope.id == "bad" and "ended 3 times" in aside.reason


async def test_a_stop_in_order_is_no_mails_fault() -> None:
    """However often the bridge is stopped while a mail is shown: it is shown in the end."""
    place = Place()
    place.showing.does["m1"] = [asyncio.Event() for _ in range(5)]
    await place.comes("m1")
    for number in range(5):
        await place.spool.start()
        place.run()
        await place.showing.until(lambda number=number: len(place.showing.seen) == number + 1)
        await place.stop()
        place.begin()
    await place.spool.start()
    place.run()
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert (await place.spool.aside.page("", 100), len(place.showing.seen)) == ([], 6)


async def test_what_waits_comes_when_the_network_is_opened_again() -> None:
    """Shut and opened within one process: nothing is forgotten, and the numbers still add up."""
    place = Place()
    place.showing.does["m1"] = [asyncio.Event()]
    place.showing.does["s1"] = [TransientError("the journal is full")]
    await place.comes("m1")
    await place.comes("m2", number=1)
    await place.comes("s1", SALES, number=2)
    place.run()
    await place.showing.until(lambda: len(place.showing.seen) == 2 and "s1" not in place.desk._begun)
    await place.stop()
    place.spool.close()
    assert (place.spool.waiting, place.spool.kept.mails) == (0, 0)
    place.host.clock.turn(3)
    await place.spool.start()
    place.run()
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert sorted(place.showing.seen[2:]) == ["m1", "m2", "s1"]
    ended = {name: count for (name,), count in place.figures()["email_ended"].values.items()}
    assert (ended["left"], ended["shown"]) == (3, 3)
    assert sum(place.figures()["email_came"].values.values()) == 6


async def test_the_desk_outlives_trouble_of_the_database() -> None:
    """What could not be begun is begun later, in its order."""
    place = Place()
    await place.comes("m1")
    await place.comes("m2", number=1)
    queue = place.host.queue("incoming")
    queue.broken = TransientError("the database is away")
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        place.host.clock.turn(seconds)
        queue.broken = None

    place.host.clock.sleep = sleep
    place.run()
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert place.showing.seen == ["m1", "m2"] and slept


async def test_what_came_is_what_was_ended_and_what_waits() -> None:
    """Whatever becomes of mails, the numbers add up at every moment: none is lost without a count."""
    place = Place()
    gate = asyncio.Event()
    nobody = (parse_address("gone@example.org"),)
    place.showing.does = {
        "odd": [UnreadableMailError("it is too large")],
        "broken": [ValueError("a mistake")],
        "later": [TransientError("the journal is full")] * 9,
        "slow": [gate],
        "held": [Became.HELD],
        "blocked": [Became.BLOCKED],
        "fate": [Became.REPORT],
        "nobody": [Shown({Became.QUARANTINED}, [(nobody, "there is no mailbox")])],
        "half": [Shown({Became.SHOWN, Became.QUARANTINED}, [(nobody, "there is no mailbox")])],
    }

    def adds_up() -> None:
        names = ("email_came", "email_ended", "email_waiting")
        came, ended, waiting = (sum(place.figures()[name].values.values()) for name in names)
        assert came == ended + waiting

    for number, name in enumerate(["good", *place.showing.does]):
        await place.comes(name, f"box{number}@example.org" if name == "slow" else SALES, number=number)
        adds_up()
    await place.comes("good", SALES)  # given twice
    adds_up()
    place.run()
    await place.showing.until(lambda: {"slow", "later"} <= set(place.showing.seen))
    for _ in range(3):
        adds_up()
        place.host.clock.turn(700)
        await place.comes(f"more{place.host.clock.now}", SALES, number=99)
        await asyncio.sleep(0)
    place.showing.does["later"].clear()
    gate.set()
    place.host.clock.turn(700)
    await place.comes("last", number=200)
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    adds_up()
    ended = {name: count for (name,), count in place.figures()["email_ended"].values.items()}
    assert {name: ended[name] for name in ("held", "blocked", "report", "twice", "quarantined")} == {
        "held": 1, "blocked": 1, "report": 1, "twice": 1, "quarantined": 4
    }  # fmt: skip
    (key,) = [one.key for one in await place.spool.aside.page("", 100) if one.arrival.envelope.id == "odd"]
    assert await place.spool.release(key)
    adds_up()
    place.begin()
    await place.spool.start()
    adds_up()
    assert place.spool.aside.mails == 3


async def test_a_quarantine_that_cannot_be_stored_is_tried_again() -> None:
    """A mail that cannot be set aside now is not forgotten."""
    place = Place()
    place.showing.does["odd"] = [UnreadableMailError("it is too large")] * 2
    await place.comes("odd")
    place.host.queue("quarantine").broken = TransientError("away")
    place.run()
    await place.showing.until(lambda: place.showing.seen == ["odd"] and not place.desk._begun)
    place.host.queue("quarantine").broken = None
    place.host.clock.turn(3)
    await place.comes("s1", SALES, number=1)
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert (place.spool.aside.mails, place.showing.seen.count("odd")) == (1, 2)


async def test_what_cannot_even_be_set_aside_hinders_no_other() -> None:
    """Its row is refused for good, whatever is tried: other mailboxes' mail is shown, and it comes again later."""
    place = Place()
    place.showing.does["odd"] = [UnreadableMailError("it is too deep")] * 2
    queue = place.host.queue("quarantine")
    queue.broken = RejectedError("the row is too large")
    await place.comes("odd")
    await place.comes("m2", number=1)
    await place.comes("s1", SALES, number=2)
    place.run()
    await place.showing.until(lambda: "s1" in place.showing.seen and not place.desk._begun)
    queue.broken = None
    place.host.clock.turn(601)
    await place.comes("s2", SALES, number=3)
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert [one for one in place.showing.seen if one[0] != "s"] == ["odd", "odd", "m2"]


async def test_the_last_try_that_cannot_be_set_aside_hinders_no_other() -> None:
    """A mail that ended the bridge three times and has no room in the quarantine: other mailboxes go on."""
    place = Place()
    await place.comes("odd")
    (arrival,) = [await place.spool.open(key) for key in place.host.queue("incoming").items]
    for _ in range(3):
        (arrival,) = await place.spool.begin([arrival], 0)
    place.host.queue("quarantine").broken = RejectedError("the row is too large")
    await place.comes("s1", SALES, number=1)
    place.run()
    await place.showing.until(lambda: "s1" in place.showing.seen)
    await place.stop()


async def test_the_desk_outlives_a_mistake_of_its_own() -> None:
    """Whatever comes between two mails: those that were accepted are shown all the same."""
    place = Place()
    await place.comes("m1")
    queue = place.host.queue("incoming")
    queue.broken = KeyError("a mistake")

    async def sleep(seconds: float) -> None:
        place.host.clock.turn(seconds)
        queue.broken = None

    place.host.clock.sleep = sleep
    place.run()
    await place.showing.until(lambda: place.spool.waiting == 0)
    await place.stop()
    assert place.showing.seen == ["m1"]


def test_lanes_forget_who_a_mail_was_for() -> None:
    """Senders choose the recipients: each choice is kept no longer than its mails."""
    lanes = Lanes(lambda waiting: frozenset(str(one) for one in waiting.recipients))
    both = (parse_address("a@x.net"), parse_address("b@x.net"))
    for number in range(2):
        lanes.add(Waiting(str(number), number, number, both))
    for number in range(2):
        assert lanes.take(1000) == str(number)
        assert len(lanes._names) == 1
        lanes.over(str(number))
    assert (lanes._names, lanes._of) == ({}, {})


def test_mails_for_several_mailboxes_keep_all_orders() -> None:
    """One begins when it is the first of each of its mailboxes, and holds all of them."""
    lanes = Lanes(lambda waiting: frozenset(str(one) for one in waiting.recipients))
    a, b = parse_address("a@x.net"), parse_address("b@x.net")
    for number, (key, to) in enumerate([("1", (a,)), ("2", (a, b)), ("3", (b,)), ("4", (a,)), ("5", ())]):
        lanes.add(Waiting(key, number, number, to))

    def take() -> list[str]:
        found = []
        while (key := lanes.take(1000)) is not None:
            found.append(key)
        return found

    assert take() == ["1", "5"]
    lanes.over("1")
    assert take() == ["2"]
    lanes.put_off("2", 2000)
    assert take() == [] and lanes.next_due() == 2000
    assert lanes.take(2000) == "2"
    lanes.over("2")
    assert take() == ["3", "4"]
    for key in ("3", "4", "5"):
        lanes.over(key)
    assert lanes._lanes == {} and lanes._mails == {}
