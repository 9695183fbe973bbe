"""A join and a change of the same user's profile never overlap."""

import asyncio

from bridge_core.matrix.turns import Turns


async def test_joins_run_together_and_a_change_alone() -> None:
    """A change waits for the joins that began before it, a join for the change; other users wait for neither."""
    turns, log, first, second = Turns(), [], asyncio.Event(), asyncio.Event()

    async def join(name: str, until: asyncio.Event, user: str = "@a") -> None:
        async with turns.joining(user):
            log.append(f"{name} begins")
            await until.wait()
            log.append(f"{name} ends")

    async def change() -> None:
        async with turns.changing("@a"):
            log.append("change begins")
            await second.wait()
            log.append("change ends")

    free = asyncio.Event()
    free.set()
    tasks = [asyncio.create_task(join("one", first)), asyncio.create_task(join("two", first))]
    tasks.append(asyncio.create_task(change()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert log == ["one begins", "two begins"]
    first.set()
    while "change begins" not in log:
        await asyncio.sleep(0)
    tasks.append(asyncio.create_task(join("three", free)))
    await join("other", free, "@b")
    assert "three begins" not in log
    second.set()
    await asyncio.gather(*tasks)
    assert log.index("change ends") < log.index("three begins")
    assert not turns._turns
