"""What somebody ends while others are still at it stays ended, and what somebody begins meanwhile is not ended."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import ChatId, LoginId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.engine.bridgestate import bridge_key
from bridge_core.engine.store_ports import PortalRow
from bridge_core.testing.homeserver.failure import MatrixError
from tests.harness import Harness
from tests.scripted import Script, ScriptedConnector

NET, LOBBY = NetworkId("net"), ChatId("lobby")
ALIAS = "#_net_lobby:hs.test"
NETWORKS = {"net": {"type": "scripted", "portals": ["lobby"]}}


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path) -> AsyncIterator[Harness]:
    async with Harness(tmp_path, NETWORKS, {"scripted": Script()}) as harness:
        yield harness


async def _portal(bridge: Harness) -> PortalRow:
    return await bridge.running.engine.portals.ensure(NET, LOBBY)


async def _room(bridge: Harness) -> RoomId:
    """A room of alice's in which she may have the bridge come."""
    room = bridge.alice.create_room()
    bridge.alice.invite(room, bridge.homeserver.bot)
    await bridge.until(lambda: bridge.homeserver.room(room).membership(bridge.homeserver.bot) == "join")
    return RoomId(room)


def _leads(bridge: Harness, alias: str) -> str | None:
    try:
        return bridge.homeserver.room(alias).id
    except (KeyError, MatrixError):
        return None


async def _is_left(bridge: Harness, room: str) -> None:
    await bridge.until(lambda: bridge.homeserver.room(room).membership(bridge.homeserver.bot) == "leave", 10)


async def _begun(bridge: Harness, portal: PortalRow) -> tuple[asyncio.Event, asyncio.Task[RoomId]]:
    """A portal's room is being made: what lets the homeserver go on, and who waits for the room."""
    faults = bridge.homeserver.faults
    gate, before = faults.hold(match="createRoom"), faults.hits
    making = asyncio.create_task(bridge.running.engine.rooms.ensure(portal))
    await bridge.until(lambda: faults.hits > before)
    return gate, making


@pytest.mark.parametrize("match", ["POST .*/join/", "PUT .*/directory/room/", "PUT .*/state/m.bridge/"])
async def test_a_chat_that_is_ended_while_its_room_is_replaced_stays_ended(bridge: Harness, match: str) -> None:
    """However far the bridge had followed: no portal, no alias, no state tells of it, and the bot leaves."""
    engine, homeserver = bridge.running.engine, bridge.homeserver
    room = await bridge.portal_room("net", LOBBY)
    there = homeserver.room(room)
    levels = there.current["m.room.power_levels", ""]
    levels["content"] = {**levels["content"], "users": {bridge.alice.id: 100, homeserver.bot: 100}}
    gate, before = homeserver.faults.hold(match=match), homeserver.faults.hits
    new = homeserver._world.upgrade(there, bridge.alice.id, "11")
    homeserver._world.aliases[ALIAS] = room  # a homeserver need not move it
    await bridge.until(lambda: homeserver.faults.hits > before)
    await engine.room_features.unbridging.end(await _portal(bridge), RoomId(room))
    gate.set()
    await _is_left(bridge, new)
    assert engine.portals.get(PortalKey(NET, LOBBY)) is None and not engine.portals.in_room(RoomId(new))
    assert _leads(bridge, ALIAS) is None
    assert not homeserver.room(new).content("m.bridge", bridge_key(NET, LOBBY))
    assert await engine.room_features.upgrades.follow(RoomId(room)) is None


async def test_a_chat_that_is_ended_while_its_room_is_made_has_none(bridge: Harness) -> None:
    """The room that came too late is nobody's: its alias is free again, and the bot leaves it."""
    engine, homeserver = bridge.running.engine, bridge.homeserver
    portal = await _portal(bridge)
    gate, making = await _begun(bridge, portal)
    await engine.portals.delete(portal)
    gate.set()
    with pytest.raises(TransientError, match="just ended"):
        await making
    (room,) = homeserver.rooms()
    await _is_left(bridge, room)
    assert _leads(bridge, ALIAS) is None and not list(engine.portals.all())
    with pytest.raises(TransientError, match="just ended"):
        await engine.rooms.ensure(portal)
    assert homeserver.rooms() == [room], "and none is made for it later"
    again = await engine.rooms.ensure(await _portal(bridge))
    assert again != room and _leads(bridge, ALIAS) == again


async def test_a_room_that_comes_during_a_logout_is_left_too(bridge: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the rooms of a private chat are told that it is over, one more comes: it is told, and left, as they are."""
    engine, late = bridge.running.engine, await _room(bridge)
    portal = await engine.portals.ensure(NET, ChatId("dm-bob"), LoginId("dora"))
    first = await engine.rooms.ensure(portal)
    end = engine.room_features.unbridging.end

    async def ends(row: PortalRow, room: RoomId, **how: Any) -> None:
        if room == first:
            await engine.portals.add_room(row, late)
        await end(row, room, **how)

    monkeypatch.setattr(engine.room_features.unbridging, "end", ends)
    current = engine.portals.by_id(portal.id)
    assert current is not None
    await engine._forget_chat(current)
    assert engine.portals.by_id(portal.id) is None
    for room in (first, late):
        await _is_left(bridge, room)


async def test_a_room_that_comes_while_another_goes_keeps_the_chat(
    bridge: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unbridging in a chat's last room while it is bridged to a further one: that one has the chat."""
    engine, further = bridge.running.engine, await _room(bridge)
    room = await engine.rooms.ensure(await _portal(bridge))
    remove = engine.portals.remove_room

    async def removes(row: PortalRow, gone: RoomId) -> PortalRow:
        left = await remove(row, gone)
        await engine.rooms.adopt(left, further, by=bridge.alice.id)
        return left

    monkeypatch.setattr(engine.portals, "remove_room", removes)
    await engine.room_features.unbridging.end(await _portal(bridge), room)
    kept = engine.portals.get(PortalKey(NET, LOBBY))
    assert kept is not None and kept.rooms == (further,)


class _Watched(Script):
    """A network that must know which chats have a portal: what it was told, and what holds up that one has none."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.gate, self.removing = asyncio.Event(), asyncio.Event()

    def __call__(self, network: NetworkId, config: Any) -> "_Connector":
        return _Connector(self, network)


class _Connector(ScriptedConnector):
    def __init__(self, script: _Watched, network: NetworkId) -> None:
        super().__init__(script, network)
        self._watched = script

    async def chat_added(self, chat: ChatId) -> None:
        self._watched.told.append("added")

    async def chat_removed(self, chat: ChatId) -> None:
        self._watched.told.append("removed")
        self._watched.removing.set()
        await self._watched.gate.wait()


@pytest.fixture(name="watched")
async def _watched(tmp_path: Path) -> AsyncIterator[tuple[Harness, _Watched]]:
    script = _Watched()
    async with Harness(tmp_path, NETWORKS, {"scripted": script}) as harness:
        yield harness, script


async def test_a_network_is_told_last_what_is_true(watched: tuple[Harness, _Watched]) -> None:
    """A chat that is bridged again while the network is told that it is not, is told of once more."""
    bridge, script = watched
    engine = bridge.running.engine
    plumbing, further = engine.room_features.plumbing, await _room(bridge)
    room = await engine.rooms.ensure(await _portal(bridge))
    ending = asyncio.create_task(engine.room_features.unbridging.end(await _portal(bridge), room))
    await script.removing.wait()
    await engine.rooms.adopt(await plumbing.portal(UserId(bridge.alice.id), NET, LOBBY, "Lobby", into=further), further)
    script.gate.set()
    await ending
    assert script.told[-3:] == ["removed", "added", "added"] and engine.portals.in_room(further)


async def test_a_chat_that_ends_while_it_is_bridged_is_bridged_from_the_beginning(
    watched: tuple[Harness, _Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what a command asks and what it does the chat ended elsewhere: the network is told of it again."""
    bridge, script = watched
    engine = bridge.running.engine
    script.gate.set()
    further, room = await _room(bridge), await engine.rooms.ensure(await _portal(bridge))
    adopt, first = engine.rooms.adopt, True

    async def adopts(row: PortalRow, into: RoomId, **how: Any) -> PortalRow:
        nonlocal first
        if first:
            first = False
            await engine.room_features.unbridging.end(row, room)
        return await adopt(row, into, **how)

    monkeypatch.setattr(engine.rooms, "adopt", adopts)
    bridge.alice.join(further)
    other = bridge.homeserver.user("bob")
    bridge.alice.invite(further, other.id)
    other.join(further)
    bridge.alice.send(further, "!bridge bridge net lobby")
    await bridge.until(lambda: any("now bridged" in body for _, body in bridge.homeserver.messages(further)))
    kept = engine.portals.get(PortalKey(NET, LOBBY))
    assert kept is not None and kept.rooms == (further,)
    assert script.told[-3:] == ["added", "removed", "added"]


async def test_a_chat_that_moves_while_its_room_is_made_takes_its_alias_along(bridge: Harness) -> None:
    """Somebody else who is called so by then gets a room of their own, however early they come."""
    engine, homeserver = bridge.running.engine, bridge.homeserver
    portal = await _portal(bridge)
    gate, making = await _begun(bridge, portal)
    await engine.portals.move(portal, ChatId("hall"), 1)
    other = await _portal(bridge)
    assert other.id != portal.id
    others = asyncio.create_task(engine.rooms.ensure(other))
    gate.set()
    room, second = await making, await others
    assert room != second
    assert (_leads(bridge, "#_net_hall:hs.test"), _leads(bridge, ALIAS)) == (room, second)
    there = homeserver.room(room)
    assert there.content("m.room.canonical_alias") == {"alias": "#_net_hall:hs.test"}
    assert there.content("m.bridge", bridge_key(NET, LOBBY)) == {}
    told = there.content("m.bridge", bridge_key(NET, ChatId("hall")))
    assert told is not None and told["channel"]["id"] == "hall"


async def test_who_takes_a_key_whose_room_is_under_way_has_its_alias(bridge: Harness) -> None:
    """A room for the chat that was called so before comes late: it is nobody's, and the alias is the new one's."""
    engine = bridge.running.engine
    hall = await engine.portals.ensure(NET, ChatId("hall"))
    room = await engine.rooms.ensure(hall)
    portal = await _portal(bridge)
    gate, making = await _begun(bridge, portal)
    assert await engine.portals.delete_without_rooms(portal)
    await engine.portals.move(hall, LOBBY, 1)
    moving = asyncio.create_task(engine.rooms.move_alias(room, "_net_hall", "_net_lobby"))
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(TransientError, match="just ended"):
        await making
    await moving
    assert (_leads(bridge, "#_net_hall:hs.test"), _leads(bridge, ALIAS)) == (None, room)


async def test_an_alias_that_was_left_behind_leads_nobody_into_another_chat(bridge: Harness) -> None:
    """Where the room of a chat that moved still has the old alias, who has that key now gets a room of their own."""
    engine, homeserver = bridge.running.engine, bridge.homeserver
    portal = await _portal(bridge)
    room = await engine.rooms.ensure(portal)
    await engine.portals.move(portal, ChatId("hall"), 1)
    before, other = len(homeserver.room(room).timeline), await _portal(bridge)
    with pytest.raises(TransientError, match="another chat's room"):
        await engine.rooms.ensure(other)
    second = await engine.rooms.ensure(other)
    assert second != room and [row.id for row in engine.portals.in_room(room)] == [portal.id]
    assert len(homeserver.room(room).timeline) == before, "nothing was changed there"
    await engine.rooms.move_alias(room, "_net_lobby", "_net_hall")
    assert (_leads(bridge, "#_net_hall:hs.test"), _leads(bridge, ALIAS)) == (room, second)


async def test_a_room_that_was_ended_before_its_alias_moved_gets_none(bridge: Harness) -> None:
    """A chat moved and was ended at once: neither key's alias leads to its room, where nobody of the bridge is."""
    engine, portal = bridge.running.engine, await _portal(bridge)
    room = await engine.rooms.ensure(portal)
    await engine.portals.move(portal, ChatId("hall"), 1)
    await engine.room_features.unbridging.end(portal, room)
    await engine.rooms.move_alias(room, "_net_lobby", "_net_hall")
    assert (_leads(bridge, "#_net_hall:hs.test"), _leads(bridge, ALIAS)) == (None, None)


async def test_a_room_that_was_bridged_to_a_further_chat_is_still_its_own_chats(bridge: Harness) -> None:
    """A room whose making is finished later may be plumbed by then: it is found, and both chats are in it."""
    engine, homeserver = bridge.running.engine, bridge.homeserver
    portal = await _portal(bridge)
    homeserver.faults.lose_answer(match="createRoom")
    gate = homeserver.faults.hold(match="createRoom")
    with pytest.raises(TransientError):
        await engine.rooms.ensure(portal)
    (room,) = homeserver.rooms()
    further = await engine.rooms.adopt(await engine.portals.ensure(NET, ChatId("hall")), RoomId(room), by="@alice")
    gate.set()
    await bridge.until(lambda: not engine.portals.unfinished())
    assert {row.id for row in engine.portals.in_room(RoomId(room))} == {portal.id, further.id}
