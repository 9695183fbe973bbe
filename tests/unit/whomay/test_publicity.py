"""A room that anybody can read without being in it is a public log: a network has to allow it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.api.network import Grant
from tests.harness import Harness
from tests.invariants.scenes import notices, receive, said, say
from tests.scripted import Script

ADMIN = UserId("@admin:hs.test")


@pytest.fixture(name="grants")
def _grants() -> list[str]:
    return []


@pytest.fixture(name="withholding")
async def _withholding(tmp_path: Path, script: Script, grants: list[str]) -> AsyncIterator[Harness]:
    script.withheld = frozenset(Grant)
    networks = {"net": {"type": "scripted", "grants": grants}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        yield bridge


def _readable(bridge: Harness, room: str, visibility: str) -> None:
    bridge.alice.set_state(room, "m.room.history_visibility", {"history_visibility": visibility})


async def _bridge(bridge: Harness) -> str:
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    _readable(bridge, room, "world_readable")
    await bridge.running.engine.commands.call(ADMIN, "bridge", {"network": "net", "chat": "attic"}, RoomId(room))
    return room


async def test_a_public_log_is_refused(withholding: Harness) -> None:
    """Without a grant no room is bridged that strangers read."""
    with pytest.raises(RejectedError, match="public logs"):
        await _bridge(withholding)


@pytest.mark.parametrize("grants", [["public_history"]], ids=["granted"])
async def test_a_network_may_allow_it(withholding: Harness, script: Script) -> None:
    """With the grant it is bridged like any other."""
    room = await _bridge(withholding)
    await receive(withholding, script, say("in", chat="attic"))
    assert said(withholding, room, "bob") == ["in"]


async def test_a_room_that_becomes_one_is_stopped(withholding: Harness, script: Script) -> None:
    """Nothing crosses while it is one, also after a restart; the room is told why."""
    room = withholding.alice.create_room(invite=[withholding.homeserver.bot])
    call = withholding.running.engine.commands.call
    await call(ADMIN, "bridge", {"network": "net", "chat": "attic"}, RoomId(room))
    _readable(withholding, room, "world_readable")
    await withholding.settled()
    await withholding.stop_bridge()
    await withholding.start_bridge()
    withholding.alice.send(room, "out")
    await receive(withholding, script, say("in", chat="attic"))
    assert script.sent == [] and said(withholding, room, "bob") == []
    assert any("Nothing crosses" in text for text in notices(withholding, room))
    _readable(withholding, room, "shared")
    await withholding.settled()
    withholding.alice.send(room, "out again")
    await receive(withholding, script, say("in again", chat="attic"))
    assert script.texts() == ["out again"] and said(withholding, room, "bob") == ["in again"]
