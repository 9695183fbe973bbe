"""Transactions that Synapse left behind are asked for, and holes that mean nothing are left alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

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
        self.age, self.step = 0, 1000
        self.sender, self.to_device = "@alice:hs.test", False
        self.leftovers = Leftovers(
            self.sink, self._ask, self._read, self.clock, own=lambda user: user == "@bot:hs.test", shared=shared
        )

    def _ask(self) -> None:
        self.asked += 1

    async def _read(self, room: RoomId, event: EventId) -> None:
        self.read.put_nowait((room, event))
        if self.error is not None:
            raise self.error

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.leftovers.watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def send(self, *numbers: object) -> None:
        for number in numbers:
            event = {"room_id": "!r:hs.test", "event_id": f"${number}", "sender": self.sender}
            event["unsigned"] = {"age": self.age}
            await self._put(number, [event], [], [{"type": "m.room_key"}] if self.to_device else [])

    async def receipt(self, number: int) -> None:
        """Only a signal, which Synapse never sends again."""
        await self._put(number, [], [{"type": "m.receipt"}], [])

    async def _put(self, number: object, events: Any, ephemeral: Any, to_device: Any) -> None:
        self.clock.now += self.step
        await self.leftovers.accept(Transaction(str(number), b"", events, ephemeral, to_device, {}, {}, {}))

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


async def in_vain(rig: Rig, *numbers: int) -> None:
    """Each is refused, and comes again as the oldest."""
    for number in numbers:
        await rig.refused(number)
        await rig.send(number)


async def test_that_there_is_another_service_is_learnt() -> None:
    """A few refusals in vain while people speak, then some in pauses, each after twice the time; then none."""
    rig = Rig()
    await rig.send(1)
    await in_vain(rig, 3, 5, 7, 9, 11)
    number, at = 11, []
    while rig.clock.now < 1_800_000_000_000 + 3_600_000:
        rig.clock.now += 2_000
        number += 2
        try:
            await rig.receipt(number)
        except TransientError:
            at.append(rig.clock.now // 1000)
            await rig.receipt(number)
    assert len(at) == 5
    waits = [after - before for before, after in itertools.pairwise(at)]
    assert waits == sorted(waits)
    assert waits[-1] >= 32


async def test_the_first_behind_a_backlog_is_refused_where_there_is_a_hole() -> None:
    """6 was left behind at the backlog's end: it comes before 7, which is said at once."""
    rig = Rig(shared=True)
    await rig.backlog(1, 3, 5)
    assert rig.asked == 0
    await rig.refused(7)
    await rig.send(6, 7)
    assert rig.accepted() == ["1", "3", "5", "6", "7"]


async def test_what_waited_while_others_were_taken_hides_nothing() -> None:
    """A backlog comes oldest first, so its holes are numbers of others; not so where the network dates events."""
    rig = Rig(shared=True)
    await rig.backlog(1, 3, 5)
    assert rig.asked == 0
    rig.sender = "@bot:hs.test"
    rig.age = 3_600_000
    await rig.refused(7)


async def test_two_numbers_in_a_row_end_it() -> None:
    """A signal is no part of a backlog: no hole before it, then nothing was left behind at the backlog's end."""
    rig = Rig(shared=True)
    await rig.backlog(1, 3)
    await rig.receipt(4)
    await rig.send(6, 8)
    assert rig.asked == 0


async def test_a_hole_that_was_passed_is_not_forgotten() -> None:
    """Messages to devices would be lost, so the next transaction is refused, though there is no hole before it."""
    rig = Rig()
    await rig.send(1)
    rig.to_device = True
    await rig.send(3)
    rig.to_device = False
    await rig.refused(4)
    await rig.send(2, 4, 5)
    assert rig.accepted() == ["1", "3", "2", "4", "5"]


async def test_a_new_count_ends_it() -> None:
    """Synapse on SQLite counts from 1 only where nothing is unsent: the first word after its restart is not refused."""
    rig = Rig(shared=True)
    await rig.backlog(41, 43)
    await rig.send(1, 3, 5, 7)
    assert rig.asked == 0


async def test_nothing_overtakes_what_was_refused() -> None:
    """Synapse sends 6 before it has noticed that 4 was refused: 6 is refused too, without asking again."""
    rig = Rig()
    await rig.send(1, 2)
    await rig.refused(4)
    await rig.refused(6)
    await rig.send(3, 4, 5, 6)
    assert rig.accepted() == ["1", "2", "3", "4", "5", "6"]
    assert rig.asked == 1
    rig.sink.error = TransientError("full")
    await rig.refused(7)
    rig.sink.error = None
    await rig.refused(8)
    await rig.send(7, 8)
    assert rig.asked == 1


async def test_what_never_comes_again_is_not_waited_for_for_ever() -> None:
    """A homeserver that forgot what was refused is heard again after half a minute."""
    rig = Rig()
    await rig.send(1)
    rig.sink.error = TransientError("full")
    await rig.refused(2)
    rig.sink.error = None
    rig.clock.now += 30_000
    await rig.refused(4)  # as for any hole
    await rig.send(4)
    assert rig.accepted() == ["1", "4"]


async def test_a_long_conversation_is_not_interrupted_until_it_pauses() -> None:
    """After refusals in vain a message is taken; a signal that the bot had sent while all were quiet is refused."""
    rig = Rig(shared=True)
    await rig.backlog(1)
    await in_vain(rig, 3, 5, 7, 9, 11)
    await rig.send(13, 15)
    rig.clock.now += 4_000
    await rig.send(17)
    rig.clock.now += 4_000
    with pytest.raises(TransientError):
        await rig.receipt(19)
    await rig.send(16, 19)
    assert rig.accepted()[-5:] == ["13", "15", "17", "16", "19"]
    await rig.refused(21)  # it was worth it: order is kept again


async def test_a_wide_hole_interrupts_a_conversation() -> None:
    """One number was missing where nothing was: three may be those of a message and the other service's."""
    rig = Rig(shared=True)
    await rig.backlog(1)
    await in_vain(rig, 3, 5, 7, 9, 11)
    await rig.send(13)
    await rig.refused(17)
    await rig.send(15, 17)
    assert rig.accepted()[-3:] == ["13", "15", "17"]


async def test_where_no_signals_come_a_message_after_a_pause_does() -> None:
    """After half a minute what was left behind does not wait for signals any longer."""
    rig = Rig(shared=True)
    await rig.backlog(1)
    await in_vain(rig, 3, 5, 7, 9, 11)
    rig.clock.now += 30_000
    await rig.refused(13)


class Synapse:
    """Its scheduler, where each message has a number for another service too. `late` are said as each recovery ends."""

    def __init__(self, rig: Rig, late: Iterator[int]) -> None:
        self.rig, self.late, self.number, self.up = rig, late, 0, False
        self.unsent: dict[int, int] = {}
        rig.step = 20

    async def say(self) -> None:
        self.number += 2
        self.unsent[self.number] = self.rig.clock.now
        if self.up:
            self.up = await self._sent(self.number)

    async def recover(self) -> None:
        while self.unsent:
            if not await self._sent(min(self.unsent)):
                return
        for _ in range(next(self.late, 0)):
            await self.say()  # behind the last look for what is unsent, before the service is up
        self.up = True

    async def _sent(self, number: int) -> bool:
        self.rig.age = self.rig.clock.now - self.unsent[number]
        try:
            await self.rig.send(number)
        except TransientError:
            return False
        del self.unsent[number]
        return True


@pytest.mark.parametrize("late", [[1], [2, 1], [0, 1, 0, 3], [0, 0, 0, 1], [1] * 8, [0, 0, 0, 0, 0, 1]])
@pytest.mark.parametrize("shared", [False, True])
async def test_a_conversation_behind_an_outage_keeps_its_order(late: list[int], shared: bool) -> None:
    """Whatever the ends of recoveries leave behind while people speak, everything crosses once, in order."""
    rig = Rig(shared=shared)
    rig.leftovers.resume("0")
    synapse = Synapse(rig, iter(late))
    for _ in range(5):
        await synapse.say()
        rig.clock.now += 3_000
    for _ in range(40):
        rig.clock.now += 300
        if not synapse.up:
            await synapse.recover()
        await synapse.say()
    while not synapse.up:
        rig.clock.now += 300
        await synapse.recover()
    assert not synapse.unsent
    assert rig.asked > 0
    assert rig.accepted() == [str(number) for number in range(2, synapse.number + 1, 2)]


async def test_what_is_found_has_it_looked_for_again() -> None:
    """The refusal that found something may have left something itself."""
    rig = Rig(shared=True)
    await rig.backlog(1)
    await in_vain(rig, 3, 5, 7, 9)
    await rig.refused(12)
    await rig.send(11, 12)
    await in_vain(rig, 14, 16, 18, 20)
    await rig.refused(22)


async def test_after_the_sink_refused_something_is_suspected() -> None:
    """A backlog is sent again then, which is when Synapse leaves something behind."""
    rig = Rig(shared=True)
    await rig.send(1)
    rig.sink.error = TransientError("full")
    await rig.refused(2)
    rig.sink.error = None
    await rig.send(2)
    assert rig.asked == 0
    await rig.refused(5)
    assert rig.asked == 1


@pytest.mark.parametrize("shared", [False, True])
async def test_where_nobody_speaks_a_receipt_has_a_transaction_sent(shared: bool) -> None:
    """What was left behind does not wait for somebody's next message; each event is marked as read once."""
    rig = Rig(shared=shared)
    rig.error = RejectedError("not in the room")
    async with rig.watching():
        await rig.send(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.read.empty()
        last = 3 if shared else 2
        await rig.backlog(last)
        async with asyncio.timeout(60):
            assert await rig.read.get() == ("!r:hs.test", f"${last}")
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.read.empty()
        with pytest.raises(TransientError):
            await rig.receipt(last + 2)


async def test_where_no_signals_come_receipts_end() -> None:
    """A homeserver that tells us of no receipts is not sent them for ever; later holes are looked into all the same."""
    rig = Rig()
    async with rig.watching():
        await rig.backlog(1)
        async with asyncio.timeout(60):
            assert await rig.read.get() == ("!r:hs.test", "$1")
        for _ in range(200):
            await asyncio.sleep(0)
        await rig.send(2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.read.empty()
        await rig.refused(4)


async def test_a_hole_that_was_passed_is_looked_into_however_long_nothing_comes() -> None:
    """Messages to devices were not refused for it, and no receipt could be set: the next transaction is."""
    rig = Rig()
    rig.leftovers.resume("10")
    async with rig.watching():
        rig.to_device = True
        await rig.send(12)
        rig.to_device = False
        for _ in range(200):
            await asyncio.sleep(0)
        await rig.refused(13)


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
