"""What was decided after a message was made ready counts for it: the gate is asked again right before it is shown."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge_core.api.events import RemoteInfo
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.network import Login
from bridge_core.engine.consents import CONSENT
from bridge_core.engine.store_ports import PortalRow
from tests.harness import Harness
from tests.invariants.scenes import balances, receive, said, say
from tests.scripted import Script, ScriptedConnector

NET, ADMIN = NetworkId("net"), UserId("@admin:hs.test")


class Slow(Script):
    """A network that takes its time to give a user a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer_now = asyncio.Event(), asyncio.Event()

    def __call__(self, network: NetworkId, config: Any) -> "SlowConnector":
        return SlowConnector(self, network)


class SlowConnector(ScriptedConnector):
    """Gives connections when the test says so."""

    async def provide(self, user: UserId, name: str) -> Login | None:
        self._script.asked.set()  # type: ignore[attr-defined]
        await self._script.answer_now.wait()  # type: ignore[attr-defined]
        return await super().provide(user, name)


@pytest.fixture(name="script")
def _script() -> Slow:
    return Slow()


def _portal(bridge: Harness) -> PortalRow:
    found = bridge.running.engine.portals.get(PortalKey(NET, ChatId("lobby")))
    assert found is not None
    return found


async def _stop_network(bridge: Harness, room: str) -> None:
    await bridge.running.whomay.stops.stop(NET, ADMIN)


async def _stop_room(bridge: Harness, room: str) -> None:
    await bridge.running.whomay.stops.stop(RoomId(room), ADMIN)


async def _refuse(bridge: Harness, room: str) -> None:
    await bridge.running.engine.portals.set_option(_portal(bridge), CONSENT, "refused")


async def _opt_out(bridge: Harness, room: str) -> None:
    await bridge.running.whomay.optouts.person(NET, RemoteUserId("bob"), out=True, entry=1_000_000)


async def _ban(bridge: Harness, room: str) -> None:
    await bridge.running.whomay.bans.add("@_net_bob:hs.test", ADMIN)


async def _unbridge(bridge: Harness, room: str) -> None:
    await bridge.running.engine.room_features.unbridging.end(_portal(bridge), RoomId(room))


DECISIONS = [_stop_network, _stop_room, _refuse, _opt_out, _ban, _unbridge]


@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "restarted"])
@pytest.mark.parametrize("decide", DECISIONS)
async def test_what_is_held_up_is_not_shown_after_a_no(
    bridge: Harness, script: Slow, decide: Callable[[Harness, str], Awaitable[None]], restarted: bool
) -> None:
    """The homeserver was away while somebody said no: what was ready before ends rejected, counted, and unseen."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("before"))
    faults = bridge.homeserver.faults
    faults.answer(502, times=10_000, match="/send/")
    assert script.inbox is not None
    await script.inbox.receive([say("one"), say("two")])
    await bridge.until(lambda: faults.hits)
    await decide(bridge, room)
    if restarted:
        await bridge.stop_bridge()
        await bridge.start_bridge()
    faults.clear()
    bridge.running.engine.to_matrix.wake()
    found = (await balances(bridge))["net", 1]
    assert (found.delivered, found.rejected) == (1, 2)
    assert said(bridge, room, "bob") == ["before"]


@pytest.mark.parametrize("decide", DECISIONS)
async def test_a_no_counts_within_a_batch(
    bridge: Harness, script: Slow, decide: Callable[[Harness, str], Awaitable[None]]
) -> None:
    """Messages that were made ready together are asked about one by one: what is on its way arrives, no more."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("before"))
    faults = bridge.homeserver.faults
    on_its_way = faults.hold(match="/send/m.room.message")
    assert script.inbox is not None
    await script.inbox.receive([say("one"), say("two")])
    await bridge.until(lambda: faults.hits)
    await decide(bridge, room)
    on_its_way.set()
    found = (await balances(bridge))["net", 1]
    assert (found.delivered, found.rejected) == (2, 1)
    assert said(bridge, room, "bob") == ["before", "one"]


async def test_a_stopped_room_is_told_no_topics(bridge: Harness, script: Slow) -> None:
    """What a network tells of a chat stays out of a room that is stopped, as what is said does."""
    room = await bridge.portal_room("net", "lobby")
    await _stop_room(bridge, room)
    await receive(bridge, script, RemoteInfo(ChatId("lobby"), topic="for members"))
    topic = bridge.homeserver.room(room).content("m.room.topic") or {}
    assert topic.get("topic") != "for members"
    assert (await balances(bridge))["net", 1].rejected == 1


@pytest.mark.parametrize("decide", [_stop_network, _stop_room, _refuse, _unbridge])
async def test_a_no_counts_while_a_connection_is_made(
    bridge: Harness, script: Slow, decide: Callable[[Harness, str], Awaitable[None]]
) -> None:
    """What a Matrix user said before a no, and waits for their connection, does not go to the network."""
    script.provided = True
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "out")
    async with asyncio.timeout(60):
        await script.asked.wait()
    await decide(bridge, room)
    script.answer_now.set()
    found = (await balances(bridge))["net", 0]
    assert (found.delivered, found.rejected) == (0, 1)
    assert script.sent == []


async def _alice_opts_out(bridge: Harness, room: str) -> None:
    await bridge.running.whomay.optouts.opt_out(UserId(bridge.alice.id))


@pytest.mark.parametrize("decide", [_stop_network, _stop_room, _refuse, _alice_opts_out])
async def test_a_no_counts_for_copies_too(
    bridge: Harness, script: Slow, decide: Callable[[Harness, str], Awaitable[None]]
) -> None:
    """What was said in one room is not copied to another once its sender, or anybody in charge, does not want it."""
    script.answer_now.set()
    room = await bridge.portal_room("net", "lobby")
    other = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    await bridge.running.engine.rooms.adopt(_portal(bridge), RoomId(other), by=bridge.alice.id)
    await bridge.settled()
    faults = bridge.homeserver.faults
    faults.answer(502, times=10_000, match="/send/")
    bridge.alice.send(room, "for all")
    await bridge.until(lambda: script.texts() == ["for all"] and faults.hits)
    await decide(bridge, other)
    faults.clear()
    bridge.running.engine.to_matrix.wake()
    await bridge.settled()
    assert not [text for _, text in bridge.homeserver.messages(other) if "for all" in text]
