"""What the bridge knows of a room's members."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import RoomId
from tests.harness import Harness
from tests.scripted import Script

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Harness]:
    """A bridge with one scripted network."""
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, adapters={"scripted": Script()}) as harness:
        yield harness


async def test_when_each_member_came(bridge: Harness) -> None:
    """The time of each person's join, kept right by events without asking again; names changed later do not count."""
    room = RoomId(await bridge.portal_room("net", "lobby"))
    members = bridge.running.engine.members
    first = await members.joined_at(room)
    assert set(first) == {bridge.alice.id}
    carol = bridge.homeserver.user("carol")
    carol.join(room)
    await bridge.settled()
    bridge.homeserver.faults.answer(500, times=99, match="/members$")
    joined = await members.joined_at(room)
    event = next(e for e in bridge.homeserver.room(room).timeline if e.get("state_key") == carol.id)
    assert joined == {**first, carol.id: event["origin_server_ts"]}
    carol.set_profile(name="Caroline")
    await bridge.settled()
    assert await members.joined_at(room) == joined
    carol.leave(room)
    await bridge.settled()
    assert await members.joined_at(room) == first


async def test_unknown_times_are_no_times(bridge: Harness) -> None:
    """When the homeserver does not answer, whoever asks gets an error and not an empty list."""
    room = RoomId(await bridge.portal_room("net", "lobby"))
    bridge.homeserver.faults.answer(502, times=1, match="/members$")
    with pytest.raises(TransientError):
        await bridge.running.engine.members.joined_at(room)
    assert set(await bridge.running.engine.members.joined_at(room)) == {bridge.alice.id}
