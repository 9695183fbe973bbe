"""Who came when, against servers that lie about it: a past is shown to nobody who was not there (CVE-2024-39691)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.ids import RoomId
from tests.unit.engine.test_backfill import Keeper, Scene, said

EVE = "@eve:evil.test"


def _joins(at: Scene, user: str, ts: int | None = None) -> None:
    """A join as the user's own server signed it, with a time of its choice."""
    world = at.harness.homeserver._world
    content = {"membership": "join", "displayname": "Eve"}
    world.emit(world.room(at.room), user, "m.room.member", content, state_key=user, ts=ts)


@pytest.mark.parametrize("seen", ["live", "asked", "restarted"])
async def test_cve_2024_39691_a_back_dated_join_shows_no_past(tmp_path: Path, seen: str) -> None:
    """CVE-2024-39691: a member of another server counts from when the bridge learned of them, whatever time their join
    tells: as it happened, when the members were asked for, or after a start."""
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        if seen == "live":
            await at.engine.members.joined_at(at.room)
        at.away()
        keeper.events = [said("one"), said("secret")]
        await asyncio.sleep(0.002)  # times are milliseconds: the join is to be a later one
        _joins(at, EVE, ts=1_000)
        await at.harness.settled()
        if seen == "asked":
            at.engine.members.forget(at.room)
        if seen == "restarted":
            await at.harness.stop_bridge()
            await at.harness.start_bridge()
            at.away()
        await asyncio.sleep(0.002)
        keeper.events.append(said("after eve"))
        if seen != "live":
            keeper.events.pop()  # who is learned of only now is shown nothing that was said before
        await at.back()
        assert "secret" not in at.bodies()
        assert ("after eve" in at.bodies()) == (seen == "live")
        joined = await at.engine.members.joined_at(at.room)
        assert joined[EVE] > keeper.events[1].timestamp  # type: ignore[operator, union-attr]
        assert joined[at.harness.alice.id] < keeper.events[0].timestamp  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("ts", [2**52, -(2**60), 0, True, "soon", None, 1.5])
async def test_cve_2024_39691_no_time_is_earlier_than_it_was_learned(tmp_path: Path, ts: Any) -> None:
    """CVE-2024-39691: odd times count from when the bridge learned of them too; a member without one is a member."""
    async with Scene(tmp_path, Keeper(public=False)) as at:
        before = at.engine.members._clock.now_ms()
        _joins(at, EVE)
        room = at.harness.homeserver.room(at.room)
        event = next(e for e in room.timeline if e.get("state_key") == EVE)
        event["origin_server_ts"] = ts
        for _ in range(2):
            assert (await at.engine.members.joined_at(at.room))[EVE] >= before
            at.engine.members.forget(at.room)


async def test_a_new_name_is_no_new_join_and_no_earlier_one(tmp_path: Path) -> None:
    """Further events of somebody who is there, of whatever time, do not change when they came."""
    async with Scene(tmp_path, Keeper(public=False)) as at:
        _joins(at, EVE, ts=1_000)
        await at.harness.settled()
        first = await at.engine.members.joined_at(at.room)
        await asyncio.sleep(0.002)
        _joins(at, EVE, ts=1)
        await at.harness.settled()
        assert await at.engine.members.joined_at(at.room) == first


@pytest.mark.parametrize("remover", ["@_net_bob:hs.test", "@bridgebot:hs.test", "@alice:hs.test"])
async def test_who_was_removed_and_came_back_came_then(tmp_path: Path, remover: str) -> None:
    """A member whom a ghost or the bot removed is gone: when they are back, what was said meanwhile stays out."""
    keeper = Keeper(public=False)
    async with Scene(tmp_path, keeper) as at:
        await at.receive(said("one"))
        carol = at.harness.homeserver.user("carol")
        carol.join(at.room)
        await at.harness.settled()
        assert carol.id in await at.engine.members.joined_at(at.room)
        at.away()
        world = at.harness.homeserver._world
        world.set_member(world.room(at.room), remover, carol.id, "leave")
        await at.harness.settled()
        assert carol.id not in await at.engine.members.joined_at(at.room)
        await asyncio.sleep(0.002)
        keeper.events = [said("one"), said("behind her back")]
        await asyncio.sleep(0.002)
        carol.join(at.room)
        await at.harness.settled()
        await at.back()
        assert "behind her back" not in at.bodies()


async def test_a_lane_that_is_late_makes_nobody_gone(tmp_path: Path) -> None:
    """An old leave that its lane comes to after the person is back does not take them out of the members."""
    async with Scene(tmp_path, Keeper(public=False)) as at:
        _joins(at, EVE)
        await at.harness.settled()
        first = (await at.engine.members.joined_at(at.room))[EVE]
        event = {"room_id": at.room, "type": "m.room.member", "sender": EVE, "state_key": EVE, "event_id": "$old"}
        await at.engine.room_events.handle({**event, "content": {"membership": "leave"}})
        assert (await at.engine.members.joined_at(at.room))[EVE] == first
        assert EVE in await at.engine.members.of(at.room)


async def test_a_room_that_was_left_is_asked_about_anew(tmp_path: Path) -> None:
    """Once the bot is put out of a room, whom it knew there counts no more: they may go and come unseen."""
    async with Scene(tmp_path, Keeper(public=False)) as at:
        _joins(at, EVE)
        await at.harness.settled()
        first = (await at.engine.members.joined_at(at.room))[EVE]
        portal = at.engine.portals.in_room(RoomId(at.room))[0]
        await at.engine.portals.remove_room(portal, RoomId(at.room))
        await asyncio.sleep(0.002)
        assert (await at.engine.members.joined_at(at.room))[EVE] > first
