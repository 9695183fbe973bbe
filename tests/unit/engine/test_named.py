"""Rooms have the members that an adapter names: who is named comes, who is named no longer goes, others are let be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.engine import named
from bridge_core.testing.homeserver.room import FakeRoom
from tests.harness import Harness
from tests.scripted import Script

CHAT = ChatId("den")
ALICE, BEN, EVE = UserId("@alice:hs.test"), UserId("@ben:hs.test"), UserId("@eve:hs.test")
AT_ONCE = (0, 0)


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portal_join_rule": "invite"}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _open(script: Script, *members: UserId) -> None:
    assert script.host is not None
    await script.host.rooms.open(CHAT, members)


async def _room(bridge: Harness) -> FakeRoom:
    engine = bridge.running.engine
    return bridge.homeserver.room(await engine.rooms.ensure(await engine.portals.ensure(NetworkId("net"), CHAT)))


def _left_over(bridge: Harness) -> object:
    row = bridge.running.engine.portals.get(PortalKey(NetworkId("net"), CHAT))
    return row.options.get("member_changes") if row is not None else None


async def test_who_is_named_no_longer_is_put_out(bridge: Harness, script: Script) -> None:
    """Members and invited ones go when they are no longer named; who people of the room invited stays."""
    await _open(script, ALICE, BEN)
    room = await _room(bridge)
    assert (room.membership(ALICE), room.membership(BEN)) == ("invite", "invite")
    bridge.alice.join(room.id)
    bridge.alice.invite(room.id, EVE)
    bridge.homeserver.user("eve").join(room.id)
    await _open(script)
    assert (room.membership(ALICE), room.membership(BEN)) == ("leave", "leave")
    assert room.membership(EVE) == "join"
    assert _left_over(bridge) is None


async def test_who_left_is_not_invited_again_and_who_returns_is(bridge: Harness, script: Script) -> None:
    """Naming somebody anew changes nothing for who left by themselves; who was taken out and comes back is invited."""
    await _open(script, ALICE, BEN)
    room = await _room(bridge)
    bridge.alice.join(room.id)
    bridge.alice.leave(room.id)
    await _open(script, ALICE, BEN)
    assert room.membership(ALICE) == "leave"
    await _open(script, BEN)
    await _open(script, BEN, ALICE)
    assert room.membership(ALICE) == "invite"


async def test_who_cannot_be_invited_stops_nobody(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ban keeps one out; the others come, nothing fails, and the one comes when the ban is over."""
    monkeypatch.setattr(named, "_RETRY", AT_ONCE)
    await _open(script, ALICE)
    room = await _room(bridge)
    bridge.alice.join(room.id)
    world = bridge.alice._world
    world.set_member(room, room.creator, BEN, "ban")
    await _open(script, ALICE, BEN, EVE)
    assert (room.membership(BEN), room.membership(EVE)) == ("ban", "invite")
    world.set_member(room, room.creator, BEN, "leave")
    await _open(script, ALICE, BEN, EVE)
    assert room.membership(BEN) == "invite"
    assert _left_over(bridge) is None


async def test_a_dead_server_keeps_no_room_from_being_made(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room is there though nobody can be invited to it now; they are later, and not once more after that."""
    monkeypatch.setattr(named, "_RETRY", AT_ONCE)
    bridge.homeserver.faults.answer(502, times=2, match="/invite")
    await _open(script, ALICE, BEN)
    room = await _room(bridge)
    assert (room.membership(ALICE), room.membership(BEN)) == (None, None)
    await _open(script, ALICE, BEN)
    assert (room.membership(ALICE), room.membership(BEN)) == ("invite", "invite")
    assert _left_over(bridge) is None


async def test_nothing_is_shown_while_somebody_could_read_on(bridge: Harness, script: Script) -> None:
    """While who is named no longer cannot be put out, opening fails; it succeeds when they are out."""
    await _open(script, ALICE, BEN)
    room = await _room(bridge)
    bridge.alice.join(room.id)
    bridge.homeserver.faults.answer(502, times=2, match="/kick")
    for _ in range(2):
        with pytest.raises(TransientError):
            await _open(script, BEN)
        assert room.membership(ALICE) == "join"
    await _open(script, BEN)
    assert room.membership(ALICE) == "leave"


async def test_a_change_that_was_cut_off_is_made_after_the_restart(bridge: Harness, script: Script) -> None:
    """The bridge ends between storing who is named and bringing it about: the next call does the rest."""
    await _open(script, ALICE)
    room = await _room(bridge)
    bridge.alice.join(room.id)
    held = bridge.homeserver.faults.hold(times=2, match="/(kick|invite)")
    opening = asyncio.create_task(_open(script, BEN))
    await bridge.until(lambda: _left_over(bridge))
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    held.set()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await _open(script, BEN)
    await bridge.until(lambda: (room.membership(ALICE), room.membership(BEN)) == ("leave", "invite"))
    assert _left_over(bridge) is None


async def test_rooms_that_were_there_are_left_alone(bridge: Harness, script: Script) -> None:
    """A room of other people that was bridged to the chat keeps its members, named or not."""
    await _open(script, ALICE, BEN)
    room = await _room(bridge)
    other = bridge.homeserver.room(bridge.alice.create_room(invite=[bridge.homeserver.bot]))
    engine = bridge.running.engine
    row = engine.portals.get(PortalKey(NetworkId("net"), CHAT))
    assert row is not None
    await engine.rooms.adopt(row, RoomId(other.id), by=ALICE)
    await _open(script)
    assert (room.membership(ALICE), other.membership(ALICE)) == ("leave", "join")


async def test_a_room_made_anew_has_all_of_them(bridge: Harness, script: Script) -> None:
    """When the chat's room is lost, everybody who is named is invited to the next one."""
    await _open(script, ALICE, BEN)
    first = await _room(bridge)
    portals = bridge.running.engine.portals
    row = portals.get(PortalKey(NetworkId("net"), CHAT))
    assert row is not None
    await bridge.running.matrix.drop_alias("_net_den")
    await portals.remove_room(row, RoomId(first.id))
    room = await _room(bridge)
    assert room.id != first.id
    assert (room.membership(ALICE), room.membership(BEN)) == ("invite", "invite")
