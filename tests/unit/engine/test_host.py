"""What networks are given."""

import asyncio
from typing import Any

from bridge_core.api.ids import NetworkId
from bridge_core.engine import host as hosts
from bridge_core.engine.host import NetworkHost, TokenBucket


class Stopped:
    """A clock that is set by hand; nobody wakes from its sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.never = asyncio.Event()

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await self.never.wait()


async def test_buckets_are_bounded_and_used_ones_stay() -> None:
    """Budgets of users who come and go are let go once they are full again: then a new one is the same."""
    clock = Stopped()
    nothing: Any = None
    host = NetworkHost(
        NetworkId("net"),
        *(nothing,) * 4,
        clock,
        *(nothing,) * 9,
    )
    busy = host.budget("busy", 0.1, 1)
    assert isinstance(busy, TokenBucket)
    waiting = [asyncio.create_task(busy.take(1)) for _ in range(3)]
    await asyncio.sleep(0)
    clock.now = 25.0
    for number in range(3 * hosts._BUCKETS):
        host.budget(f"lines/@u{number}:hs.test", 1, 5)
    assert len(host._buckets) <= hosts._BUCKETS + 1
    assert host.budget("busy", 0.1, 1) is busy
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_networks_share_what_each_cannot_have() -> None:
    """Hosts of one process give the same object under one name, made once; those of another process their own."""
    nothing: Any = None
    process: dict[str, Any] = {}
    one, two = (NetworkHost(NetworkId(name), *(nothing,) * 14, shared=process) for name in ("one", "two"))
    other = NetworkHost(NetworkId("one"), *(nothing,) * 14)
    made = one.shared("irc port 113", object)
    assert two.shared("irc port 113", object) is made
    assert two.shared("irc port 114", object) is not made
    assert other.shared("irc port 113", object) is not made
