"""What waits is given in the order of the store, though most looks never reach it."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from bridge_core.api.queues import QueueItem
from bridge_core.testing.memory import MemoryQueue
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.waiting import Arrival, Waiting


def arrival(item: QueueItem) -> Arrival:
    """The mail of a row."""
    return Arrival(item, Envelope(item.key, Door.SMTP, None, (), "", "", item.due, 1), Verdict(), "blob:x")


async def opened(item: QueueItem) -> Arrival:
    """As the spool does."""
    return arrival(item)


class CountingQueue(MemoryQueue):
    """Counts reads; a read gives what was there when it began, and takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def due(self, now: int, limit: int, *, after: QueueItem | None = None) -> list[QueueItem]:
        self.reads += 1
        found = await super().due(now, limit, after=after)
        await asyncio.sleep(0)
        return found


async def changed(queue: MemoryQueue, waiting: Waiting, item: QueueItem) -> None:
    """A row is committed, and said to be."""
    await queue.put([item])
    waiting.put(arrival(item))


@pytest.mark.parametrize("seed", range(20))
async def test_it_gives_what_the_store_would(seed: int) -> None:
    """Whatever is added, put off and removed, also while the store is read, and after commits of unknown fate."""
    chance = random.Random(seed)
    queue = CountingQueue()
    waiting = Waiting(queue, opened, page=4, most=8)

    async def change(number: int) -> None:
        key = f"k{chance.randrange(40)}"
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                await changed(queue, waiting, QueueItem(key, b"x", chance.randrange(30)))
            case 4 | 5:
                await queue.put(removed=[key])
                waiting.remove(key)
            case 6:  # bridged, and remembered
                await queue.put([QueueItem(key, b"", chance.randrange(30))])
                waiting.remove(key)
            case _:
                await queue.put([QueueItem(key, b"x", chance.randrange(30))])
                waiting.forget()

    for round_ in range(60):
        await asyncio.gather(*(change(number) for number in range(chance.randrange(6))), waiting.due(30, 40))
        now, limit = chance.randrange(35), chance.randrange(1, 12)
        wanted = [arrival(one) for one in await queue.due(now, 1000) if one.body]
        assert await waiting.due(now, limit) == wanted[:limit], round_
        if wanted:
            after = chance.choice(wanted)
            behind = wanted[wanted.index(after) + 1 :]
            assert await waiting.due(now, limit, after=after) == behind[:limit], round_
        times = [one.due for one in queue.items.values() if one.body]
        said = waiting.next_due()
        assert not times or (said is not None and said <= min(times))


async def test_a_look_reads_nothing_once_all_is_known() -> None:
    """Mails that come, go and are put off while less than a few hundred wait cost no read."""
    queue = CountingQueue()
    waiting = Waiting(queue, opened)
    assert await waiting.due(100, 10) == []
    for number in range(50):
        await changed(queue, waiting, QueueItem(f"k{number:02}", b"x", number))
    found: Sequence[Arrival] = await waiting.due(100, 64)
    for one in found[:25]:
        await queue.put(removed=[one.item.key])
        waiting.remove(one.item.key)
        assert (await waiting.due(100, 1))[0] == found[found.index(one) + 1]
    await changed(queue, waiting, QueueItem("k49", b"x", 0, attempts=1))
    assert [one.item.key for one in await waiting.due(0, 10)] == ["k49"]
    assert (queue.reads, waiting.next_due()) == (1, 0)


async def test_what_waits_beyond_what_memory_holds_comes_in_its_turn() -> None:
    """Thousands, most in the same millisecond, each given once."""
    queue = CountingQueue()
    waiting = Waiting(queue, opened, page=16, most=32)
    for number in range(500):
        await changed(queue, waiting, QueueItem(f"k{number:03}", b"x", 7 if number < 400 else number))
    given: list[str] = []
    while found := await waiting.due(1000, 8):
        for one in found:
            given.append(one.item.key)
            await queue.put(removed=[one.item.key])
            waiting.remove(one.item.key)
    assert given == [f"k{number:03}" for number in range(500)]
