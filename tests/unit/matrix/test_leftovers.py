"""Transactions that Synapse left behind are asked for, and holes that mean nothing are left alone."""

import asyncio
import itertools

import pytest

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.ids import EventId, RoomId
from bridge_core.matrix.leftovers import Leftovers
from bridge_core.matrix.transaction import Transaction
from tests.unit.matrix.doubles import Clock, Sink


class Waiting(Clock):
    """Sleeps in no time, but not before the loop has gone round."""

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        await asyncio.sleep(0)


class Rig:
    """Leftovers before a sink that remembers. A second passes with each transaction."""

    def __init__(self, *, shared: bool = False) -> None:
        self.sink, self.clock, self.asked = Sink(), Waiting(), 0
        self.read: asyncio.Queue[tuple[RoomId, EventId]] = asyncio.Queue()
        self.error: Exception | None = None
        self.age = 0
        self.leftovers = Leftovers(self.sink, self._ask, self._read, self.clock, shared=shared)

    def _ask(self) -> None:
        self.asked += 1

    async def _read(self, room: RoomId, event: EventId) -> None:
        self.read.put_nowait((room, event))
        if self.error is not None:
            raise self.error

    async def send(self, *numbers: object) -> None:
        for number in numbers:
            self.clock.now += 1000
            event = {"room_id": "!r:hs.test", "event_id": f"${number}", "unsigned": {"age": self.age}}
            await self.leftovers.accept(Transaction(str(number), b"", [event], [], [], {}, {}, {}))

    async def refused(self, number: object) -> None:
        with pytest.raises(TransientError):
            await self.send(number)

    async def backlog(self, *numbers: object) -> None:
        """Of the time before this process."""
        self.age = 3_600_000
        await self.send(*numbers)
        self.age = 0

    def accepted(self) -> list[str]:
        return [txn.id for txn in self.sink.accepted]


async def test_the_first_behind_a_hole_is_refused_once_and_what_was_left_comes_first() -> None:
    """4 is refused since 3 is missing; the homeserver then sends 3 and 4: nothing is missing, the order is right."""
    rig = Rig()
    await rig.send(1, 2)
    await rig.refused(4)
    await rig.send(3, 4, 5)
    assert rig.accepted() == ["1", "2", "3", "4", "5"]
    assert rig.asked == 1
    await rig.refused(7)  # it was worth it: the next hole is looked into at once
    await rig.send(6, 7)
    assert rig.asked == 2


async def test_where_there_is_another_service_holes_say_nothing() -> None:
    """Each other number is another service's: without an outage nothing is refused, however long it goes on."""
    rig = Rig(shared=True)
    await rig.send(*range(1, 99, 2))
    rig.clock.now += 3_600_000
    await rig.send(*range(101, 199, 2))
    assert rig.asked == 0


async def test_that_there_is_another_service_is_learnt() -> None:
    """One refusal in vain, and a few more in calm moments in case it left something behind; then none."""
    rig = Rig()
    await rig.send(1)
    await rig.refused(3)
    await rig.send(3, 5, 7)
    assert rig.asked == 1
    for number in range(9, 29, 2):
        rig.clock.now += 600_000
        try:
            await rig.send(number)
        except TransientError:
            await rig.send(number)
    assert rig.asked == 5


async def test_after_a_backlog_the_first_in_a_calm_moment_is_refused() -> None:
    """6 was left behind at the backlog's end: it does not disturb the conversation, and comes when that pauses."""
    rig = Rig(shared=True)
    await rig.backlog(1, 3, 5)
    await rig.send(7, 9)
    assert rig.asked == 0
    rig.clock.now += 2_000
    await rig.refused(10)
    await rig.send(6, 10, 11)
    assert rig.accepted() == ["1", "3", "5", "7", "9", "6", "10", "11"]
    assert rig.asked == 1


async def test_a_conversation_without_a_pause_is_interrupted_after_half_a_minute() -> None:
    """What was left behind does not wait for ever."""
    rig = Rig(shared=True)
    await rig.backlog(1)
    await rig.send(*range(3, 32))
    await rig.refused(32)


async def test_refusals_in_vain_become_rarer_and_end() -> None:
    """After a backlog with nothing left behind there are five refusals, each after twice the time."""
    rig = Rig(shared=True)
    await rig.backlog(1)
    number, at = 1, []
    while rig.clock.now < 1_800_000_000_000 + 3_600_000:
        rig.clock.now += 2_000
        number += 2
        try:
            await rig.send(number)
        except TransientError:
            at.append(rig.clock.now // 1000)
            await rig.send(number)
    waits = [after - before for before, after in itertools.pairwise(at)]
    assert len(at) == 5
    assert waits == sorted(waits)
    assert waits[-1] >= 32


async def test_what_is_found_has_it_looked_for_again() -> None:
    """The refusal that found something may have left something itself."""
    rig = Rig(shared=True)
    await rig.backlog(1)
    rig.clock.now += 5_000
    await rig.refused(4)
    await rig.send(3, 4)
    rig.clock.now += 5_000
    await rig.refused(7)


async def test_after_the_sink_refused_something_is_suspected() -> None:
    """A backlog is sent again then, which is when Synapse leaves something behind."""
    rig = Rig(shared=True)
    await rig.send(1)
    rig.sink.error = TransientError("full")
    await rig.refused(2)
    rig.sink.error = None
    assert rig.asked == 0
    await rig.send(2, 5)
    rig.clock.now += 2_000
    await rig.refused(6)
    assert rig.asked == 1


async def test_where_nobody_speaks_a_receipt_has_a_transaction_sent() -> None:
    """What was left behind does not wait for somebody's next message; each event is marked as read once."""
    rig = Rig(shared=True)
    rig.error = RejectedError("not in the room")
    watching = asyncio.create_task(rig.leftovers.watch())
    try:
        await rig.send(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.read.empty()
        await rig.backlog(3)
        async with asyncio.timeout(30):
            assert await rig.read.get() == ("!r:hs.test", "$3")
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.read.empty()
        await rig.refused(4)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_other_ids_and_new_counts_are_no_holes() -> None:
    """Ids that are no numbers, repeated ones, and a count that begins again (Synapse on SQLite) are taken."""
    rig = Rig()
    await rig.send("a", 7, 7, 8, 1, 2, "x9", 3, "\u0663", "9" * 40, 4)
    assert len(rig.accepted()) == 11
    assert rig.asked == 0


async def test_what_the_sink_refuses_is_no_hole() -> None:
    """A transaction that could not be stored comes again and is taken."""
    rig = Rig()
    await rig.send(1)
    rig.sink.error = TransientError("full")
    await rig.refused(2)
    rig.sink.error = None
    await rig.send(2, 3)
    assert rig.accepted() == ["1", "2", "3"]
    assert rig.asked == 0


async def test_a_hole_over_a_restart_is_one_too() -> None:
    """Bridge and homeserver were killed over transaction 8: the next one is 9, and 8 is asked for."""
    rig = Rig()
    rig.leftovers.resume("7")
    await rig.refused(9)
    await rig.send(8, 9)
    assert rig.accepted() == ["8", "9"]
