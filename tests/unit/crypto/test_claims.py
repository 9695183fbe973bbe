"""Devices that have no one-time keys, and servers that do not answer: asked for once for all of ours."""

from collections.abc import Mapping
from typing import Any

from bridge_core.api.ids import UserId
from bridge_core.crypto.ports import Claimed, Owner
from tests.unit.crypto.world import Bridge, KeyWorld


async def test_many_ghosts_ask_once(world: KeyWorld) -> None:
    """A device without keys for one ghost has none for the others; one of them that gets a session uses it."""
    a = await Bridge(world, "a").start()
    b = await Bridge(world, "b").start()
    await a.encrypted_room()
    lacking = await b.join(*(f"d{number}" for number in range(20)))
    for one in lacking:
        world.one_time[one] = {}
        world.fallback.pop(one, None)
    ghosts = await a.join(*(f"g{number}" for number in range(3)))
    for text in ("x", "y"):
        for ghost in ghosts:
            await a.send(ghost, text, lacking)
    assert world.count("claim_keys") == 1
    assert a.total("shares", "no_olm") == 60  # each ghost has told each of them
    for bridge in (a, b):
        await bridge.kill()


async def test_a_silent_server_is_asked_again_later(world: KeyWorld) -> None:
    """Every question about it would wait for it: for five minutes none is put, whoever of ours speaks."""
    a = await Bridge(world, "a").start()
    b = await Bridge(world, "b").start()
    await a.encrypted_room()
    (there,) = await b.join("carl")
    claim = world.claim_keys
    silent = [frozenset({there.user.partition(":")[2]})]

    async def claim_keys(owner: Owner, wanted: Mapping[UserId, Mapping[str, str]]) -> Any:
        answer = await claim(owner, wanted)
        return Claimed({}, silent[0]) if silent else answer

    world.claim_keys = claim_keys  # type: ignore[method-assign]
    first, second = await a.join("g1", "g2")
    await a.send(first, "1", [there])
    await a.send(second, "2", [there])
    assert world.count("claim_keys") == 1
    silent.clear()
    a.clock.ms += 300_000
    event = await a.send(second, "3", [there])
    await b.hear()
    assert world.count("claim_keys") == 2 and await b.read(event) == "3"
    for bridge in (a, b):
        await bridge.kill()
