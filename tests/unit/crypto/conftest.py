"""Two bridges and the homeserver between them."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.crypto.world import Bridge, KeyWorld


@pytest.fixture
def world() -> KeyWorld:
    return KeyWorld()


@pytest.fixture
async def pair(world: KeyWorld) -> AsyncIterator[tuple[Bridge, Bridge]]:
    """Bridges `a` and `b`, each with a bot that has keys, in one encrypted room."""
    bridges = [await Bridge(world, name).start() for name in ("a", "b")]
    for bridge in bridges:
        await bridge.join("bot")
        await bridge.encrypted_room()
    yield bridges[0], bridges[1]
    for bridge in bridges:
        await bridge.kill()
