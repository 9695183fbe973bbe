"""Transactions that Synapse left behind are asked for, and holes that mean nothing are left alone."""

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.matrix.leftovers import Leftovers
from bridge_core.matrix.transaction import Transaction
from tests.unit.matrix.doubles import Clock, Sink


class Rig:
    """Leftovers before a sink that remembers."""

    def __init__(self) -> None:
        self.sink, self.clock, self.asked = Sink(), Clock(), 0
        self.leftovers = Leftovers(self.sink, self._ask, self.clock)

    def _ask(self) -> None:
        self.asked += 1

    async def send(self, *numbers: object) -> None:
        for number in numbers:
            await self.leftovers.accept(Transaction(str(number), b"", [], [], [], {}, {}, {}))

    async def refused(self, number: object) -> None:
        with pytest.raises(TransientError):
            await self.send(number)

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


async def test_holes_that_mean_nothing_are_looked_into_ever_more_rarely() -> None:
    """Where other services take numbers, refusals bring nothing: the time between them doubles, up to a day."""
    rig = Rig()
    await rig.send(1)
    number, waits = 1, []
    for _ in range(14):
        number += 2
        await rig.refused(number)
        await rig.send(number)
        began = rig.clock.now
        while True:
            number += 2
            before = rig.asked
            rig.clock.now += 15_000
            try:
                await rig.send(number)
            except TransientError:
                await rig.send(number)
                break
            assert rig.asked == before
        waits.append((rig.clock.now - began) / 1000)
        rig.clock.now += 86_400_000
    assert waits[0] >= 60
    assert waits[-1] <= 86_400 + 15


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
