"""Rooms that were open to all, or bridged twice, before the bridge knew to look: found at its start, and closed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.api.network import Grant
from bridge_core.engine.doublebridges import DoubleBridges
from bridge_core.engine.portals import LOOKED
from bridge_core.engine.publicity import Publicity
from bridge_core.engine.roomsurvey import RoomSurvey
from bridge_core.engine.store_ports import PortalRow
from tests.harness import Harness
from tests.invariants.scenes import Recorder, balances, notices, receive, said, say
from tests.scripted import Script

ADMIN = UserId("@admin:hs.test")


@pytest.fixture(name="script")
def _script() -> Script:
    script = Script()
    script.withheld = frozenset(Grant)
    return script


@pytest.fixture(name="grants")
def _grants() -> list[str]:
    return []


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script, grants: list[str]) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "grants": grants}}
    async with Harness(tmp_path, networks, {"scripted": script}, limits={"membership_rate": 1000}) as harness:
        yield harness


def _portal(bridge: Harness) -> PortalRow:
    found = bridge.running.engine.portals.get(PortalKey(NetworkId("net"), ChatId("attic")))
    assert found is not None
    return found


async def _plumbed(bridge: Harness, *also: str, chat: str = "attic") -> str:
    """A room that is bridged, as an earlier version left it: nobody has looked at it."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot, *also])
    call = bridge.running.engine.commands.call
    await call(ADMIN, "bridge", {"network": "net", "chat": chat}, RoomId(room))
    await bridge.settled()
    return room


def _was(bridge: Harness, room: str, kind: str, key: str, content: dict[str, Any]) -> None:
    """The room's state is so, and nobody is told."""
    current = bridge.homeserver.room(room).current
    event = dict(current.get((kind, key)) or current["m.room.create", ""])
    current[kind, key] = {**event, "type": kind, "state_key": key, "content": content}


def _open(bridge: Harness, room: str) -> None:
    _was(bridge, room, "m.room.history_visibility", "", {"history_visibility": "world_readable"})


async def _restart(bridge: Harness) -> None:
    await bridge.stop_bridge()
    await bridge.start_bridge()


async def _surveyed(bridge: Harness) -> None:
    await bridge.until(lambda: not bridge.running.engine.room_features.survey.waiting())


async def test_a_room_that_anybody_reads_is_closed_at_start(bridge: Harness, script: Script) -> None:
    """Not even what comes first crosses, in either direction; the room is told why, and goes on once it is not so."""
    room = await _plumbed(bridge)
    _open(bridge, room)
    await _restart(bridge)
    bridge.alice.send(room, "out")
    await receive(bridge, script, say("in", chat="attic"))
    found = await balances(bridge)
    assert (found["net", 0].rejected, found["net", 1].rejected) == (1, 1)
    assert script.sent == [] and said(bridge, room, "bob") == []
    assert any("anybody can read this room" in text for text in notices(bridge, room))
    bridge.alice.set_state(room, "m.room.history_visibility", {"history_visibility": "shared"})
    await bridge.settled()
    await receive(bridge, script, say("in again", chat="attic"))
    assert said(bridge, room, "bob") == ["in again"]


async def test_nothing_crosses_before_it_is_known(bridge: Harness, script: Script) -> None:
    """While the homeserver does not tell who can read a room, what is said is held, and crosses in order afterwards."""
    room = await _plumbed(bridge)
    bridge.homeserver.faults.answer(502, times=10_000, match="GET .*/state/m.room.history_visibility")
    await _restart(bridge)
    assert script.inbox is not None
    bridge.alice.send(room, "out")
    await script.inbox.receive([say("one", chat="attic"), say("two", chat="attic")])
    await bridge.until(lambda: bridge.homeserver.faults.hits > 1)
    assert script.sent == [] and said(bridge, room, "bob") == []
    bridge.homeserver.faults.clear()
    await bridge.settled()
    assert (script.texts(), said(bridge, room, "bob")) == (["out"], ["one", "two"])
    assert (await balances(bridge))["net", 1].delivered == 2


@pytest.mark.parametrize("grants", [["public_history"]], ids=["granted"])
async def test_where_public_logs_are_allowed_nothing_waits(bridge: Harness, script: Script) -> None:
    """The same room goes on, and nobody asks who can read it."""
    room = await _plumbed(bridge)
    _open(bridge, room)
    await bridge.stop_bridge()
    asked = Recorder(bridge)
    await bridge.start_bridge()
    await receive(bridge, script, say("in", chat="attic"))
    await _surveyed(bridge)
    assert said(bridge, room, "bob") == ["in"]
    assert asked.of("m.room.history_visibility") == []


async def test_a_room_is_looked_at_once(bridge: Harness) -> None:
    """What was found out is kept: the next start asks nothing, as what changes the room's events tell."""
    room = await _plumbed(bridge)
    await _restart(bridge)
    await _surveyed(bridge)
    assert set(_portal(bridge).options[LOOKED][room]) == {"r", "b"}
    await bridge.stop_bridge()
    asked = Recorder(bridge)
    await bridge.start_bridge()
    await bridge.settled()
    assert asked.of("m.room.history_visibility") == []
    assert not [one for one in asked.seen if one.url.partition("?")[0].endswith("/state")]


async def test_a_room_without_the_bot_is_looked_at_again(bridge: Harness, script: Script) -> None:
    """What none of ours can see is not taken for seen: nothing crosses, until it is seen."""
    room = await _plumbed(bridge)
    bridge.homeserver.faults.answer(403, times=10_000, match="GET .*/state", errcode="M_FORBIDDEN")
    await _restart(bridge)
    await _surveyed(bridge)
    assert LOOKED not in _portal(bridge).options
    bridge.alice.send(room, "out")
    await receive(bridge, script, say("in", chat="attic"))
    await _surveyed(bridge)
    found = await balances(bridge)
    assert (found["net", 0].rejected, found["net", 1].rejected) == (1, 1)
    assert script.sent == [] and said(bridge, room, "bob") == []
    bridge.homeserver.faults.clear()
    _open(bridge, room)
    await _restart(bridge)
    await receive(bridge, script, say("in", chat="attic"))
    assert said(bridge, room, "bob") == []


async def test_a_room_that_can_be_seen_again_goes_on(bridge: Harness, script: Script) -> None:
    """Whoever wants to cross has it looked at, without a restart."""
    room = await _plumbed(bridge)
    bridge.homeserver.faults.answer(403, times=10_000, match="GET .*/state", errcode="M_FORBIDDEN")
    await _restart(bridge)
    await _surveyed(bridge)
    bridge.homeserver.faults.clear()
    await receive(bridge, script, say("has it looked at", chat="attic"))
    await _surveyed(bridge)
    await receive(bridge, script, say("in again", chat="attic"))
    assert said(bridge, room, "bob")[-1:] == ["in again"]


async def test_a_ghost_looks_where_the_bot_is_not(bridge: Harness, script: Script) -> None:
    """Where the bot was thrown out and ghosts are there still, what these see counts: an open room is closed."""
    first, second = await _plumbed(bridge), await _plumbed(bridge, chat="cellar")
    await receive(bridge, script, say("one", chat="attic"), say("one", chat="cellar"))
    await bridge.stop_bridge()
    for room in (first, second):
        _was(bridge, room, "m.room.member", bridge.homeserver.bot, {"membership": "leave"})
    _open(bridge, first)
    await bridge.start_bridge()
    await _surveyed(bridge)
    await receive(bridge, script, say("two", chat="attic"), say("two", chat="cellar"))
    assert said(bridge, first, "bob") == ["one"]
    assert said(bridge, second, "bob") == ["one", "two"]


async def test_a_room_that_is_bridged_twice_is_closed_at_start(bridge: Harness, script: Script) -> None:
    """Another bridge that was there before this one looked is found, and nothing crosses until it is gone."""
    other = bridge.homeserver.user("otherbot")
    room = await _plumbed(bridge, other.id)
    other.join(room)
    await bridge.settled()
    content = {"bridgebot": other.id, "protocol": {"id": "scripted"}, "channel": {"id": "#there"}}
    _was(bridge, room, "m.bridge", "other://there", content)
    await _restart(bridge)
    await _surveyed(bridge)
    bridge.alice.send(room, "out")
    await receive(bridge, script, say("in", chat="attic"))
    assert script.sent == [] and said(bridge, room, "bob") == []
    assert any(other.id in text and "Nothing crosses" in text for text in notices(bridge, room))


async def test_a_room_that_goes_on_as_another_is_looked_at(bridge: Harness, script: Script) -> None:
    """The new room may be open where the old one was not: nothing crosses there. What was kept of the old one goes."""
    room = await _plumbed(bridge)
    bridge.alice.set_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    await bridge.settled()
    publicity = bridge.running.engine.room_features.publicity
    assert publicity.room(RoomId(room))
    new = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    await bridge.running.matrix.join(RoomId(new), UserId(bridge.homeserver.bot))
    _open(bridge, new)
    await bridge.running.engine.portals.replace_room(_portal(bridge), RoomId(room), RoomId(new))
    await receive(bridge, script, say("in", chat="attic"))
    await _surveyed(bridge)
    assert said(bridge, new, "bob") == []
    assert publicity.room(RoomId(new)) and not publicity.room(RoomId(room))
    await _restart(bridge)
    publicity = bridge.running.engine.room_features.publicity
    assert publicity.room(RoomId(new)) and not publicity.room(RoomId(room))


async def test_a_chat_that_comes_during_the_look_is_looked_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two chats that go on in a new room one may be shown to all: the other waits until it is known who reads it."""
    one, two = Script(), Script()
    one.withheld = two.withheld = frozenset(Grant)
    networks = {"net": {"type": "first", "grants": ["public_history"]}, "two": {"type": "second"}}
    async with Harness(tmp_path, networks, {"first": one, "second": two}) as bridge:
        engine = bridge.running.engine
        old, new = (RoomId(bridge.alice.create_room(invite=[bridge.homeserver.bot])) for _ in range(2))
        await bridge.running.matrix.join(new, engine.names.bot)
        rows = [await engine.portals.ensure(NetworkId(network), ChatId("attic")) for network in networks]
        for row in rows:
            await engine.rooms.adopt(row, old, by=ADMIN)
        await bridge.settled()
        _open(bridge, new)
        look, seen = DoubleBridges.look, list[RoomId]()

        async def slow(self: DoubleBridges, room: RoomId) -> bool:
            seen.append(room)
            if seen.count(new) == 1:
                await engine.portals.replace_room(rows[1], old, new)
            return await look(self, room)

        monkeypatch.setattr(DoubleBridges, "look", slow)
        await engine.portals.replace_room(rows[0], old, new)
        await bridge.until(lambda: new in seen)
        await _surveyed(bridge)
        assert engine.room_features.publicity.room(new)
        await receive(bridge, two, say("in", chat="attic"))
        assert said(bridge, new, "bob") == []
        assert set(engine.portals.by_id(rows[1].id).options[LOOKED][new]) == {"r", "b"}


async def test_a_room_that_cannot_be_looked_at_keeps_no_other_waiting(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in one room concerns that room: it stays closed, the others are looked at and go on."""
    first, second = await _plumbed(bridge), await _plumbed(bridge, chat="cellar")
    look = Publicity.look

    async def stumbling(self: Publicity, room: RoomId) -> bool:
        if room == first:
            raise ValueError("a bug")
        return await look(self, room)

    await bridge.stop_bridge()
    monkeypatch.setattr(Publicity, "look", stumbling)
    await bridge.start_bridge()
    assert script.inbox is not None
    await script.inbox.receive([say("in", chat="attic"), say("in", chat="cellar")])
    await bridge.until(lambda: said(bridge, second, "bob") == ["in"])
    assert said(bridge, first, "bob") == []
    monkeypatch.undo()
    await bridge.settled()
    assert said(bridge, first, "bob") == ["in"]


class _Counted:
    """A clock on which time passes by sleeping only, and what it was asked to sleep."""

    def __init__(self, most: int) -> None:
        self.slept: list[float] = []
        self._most = most
        self.done = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) >= self._most:
            self.done.set()
            await asyncio.Event().wait()

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return sum(self.slept)


async def test_rooms_are_looked_at_at_a_bounded_rate(bridge: Harness) -> None:
    """After each room the survey waits for its share of a second, and longer where the homeserver does not answer."""
    for chat in ("attic", "cellar", "den"):
        await _plumbed(bridge, chat=chat)
    features, clock = bridge.running.engine.room_features, _Counted(5)
    bridge.homeserver.faults.answer(502, times=2, match="GET .*/state/m.room.history_visibility")
    survey = RoomSurvey(
        bridge.running.networks,
        bridge.running.engine.portals,
        features.publicity,
        features.doubles,
        clock,
        4.0,
        lambda: None,
    )
    survey.load()
    running = asyncio.ensure_future(survey.run())
    try:
        async with asyncio.timeout(60):
            await clock.done.wait()
    finally:
        running.cancel()
    assert clock.slept == [1.0, 2.0, 0.25, 0.25, 0.25]
    assert survey.waiting() == 0
