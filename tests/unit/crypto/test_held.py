"""Objects that are held: one of each, few in memory."""

import asyncio
import gc

import pytest

from bridge_core.crypto.held import Held


class Thing:
    """Something that is loaded."""


async def test_there_is_one_of_each() -> None:
    """Loaded by many at once it is loaded once; in use it is found again, though long pushed out."""
    held: Held[str, Thing] = Held(2)
    loads: list[str] = []

    async def load() -> Thing:
        loads.append("x")
        await asyncio.sleep(0)
        return Thing()

    things = await asyncio.gather(*(held.get("a", load) for _ in range(5)))
    assert len(loads) == 1 and len(set(map(id, things))) == 1
    for key in "bcde":
        await held.get(key, load)
    assert await held.get("a", load) is things[0] and len(loads) == 5
    del things
    for key in "bcde":
        await held.get(key, load)
    gc.collect()
    assert len(held) == 2 and held.peek("a") is None and len(held.values()) == 2


async def test_a_failed_load_is_tried_again() -> None:
    """Everybody who waited gets an answer: the next one loads."""
    held: Held[str, Thing] = Held(2)
    fail = [True]

    async def load() -> Thing:
        await asyncio.sleep(0)
        if fail.pop() if fail else False:
            raise ValueError("once")
        return Thing()

    results = await asyncio.gather(*(held.get("a", load) for _ in range(3)), return_exceptions=True)
    assert isinstance(results[0], ValueError) and results[1] is results[2]
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0):
            await held.get("b", load)
    assert isinstance(await held.get("b", load), Thing)
