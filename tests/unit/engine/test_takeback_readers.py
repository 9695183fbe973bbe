"""What stays of a message that is taken back in part is a new event: said only to people who could read the old one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteRedaction, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from tests.harness import Harness
from tests.scripted import Script

LOBBY = ChatId("lobby")
BOB = RemoteSender(RemoteUserId("bob"), "Bob")
CAROL = RemoteSender(RemoteUserId("carol"), "Carol")
TAKEN = RemoteRedaction(LOBBY, CAROL, MessageId("1"), id=MessageId("r"))


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _receive(bridge: Harness, script: Script, *events: Any) -> None:
    assert script.inbox is not None
    await script.inbox.receive(events)
    await bridge.settled()


def _lines(**more: Any) -> RemoteMessage:
    return RemoteMessage(LOBBY, BOB, Content((Plain("one\ntwo"),)), MessageId("1"), also=(MessageId("2"),), **more)


def _shown(bridge: Harness, room: str) -> list[str | None]:
    events = bridge.homeserver.room(room).timeline
    said = [e for e in events if e["sender"] == "@_net_bob:hs.test" and e["type"] == "m.room.message"]
    return [event["content"].get("body") for event in said]


async def _opt_out(bridge: Harness) -> None:
    await bridge.running.whomay.optouts.person(NetworkId("net"), BOB.id, out=True, entry=1 << 40)


async def test_the_rest_is_said_to_those_who_could_read_it(bridge: Harness, script: Script) -> None:
    """While nobody came since and whoever said it is heard, only the line that was meant goes."""
    room = await bridge.portal_room("net", "lobby")
    await _receive(bridge, script, _lines())
    await _receive(bridge, script, TAKEN)
    assert _shown(bridge, room) == [None, "two"]


async def test_who_came_since_is_not_told_the_rest(bridge: Harness, script: Script) -> None:
    """A member who came after it was said could not read it, so all of it is taken back."""
    room = await bridge.portal_room("net", "lobby")
    await _receive(bridge, script, _lines(timestamp=1_000))
    await _receive(bridge, script, TAKEN)
    assert _shown(bridge, room) == [None]


async def test_what_was_for_some_is_not_said_again(bridge: Harness, script: Script) -> None:
    """What was said to people of a power goes as a whole, whoever has lost theirs."""
    room = await bridge.portal_room("net", "lobby")
    state = bridge.homeserver.room(room).current["m.room.power_levels", ""]
    levels = state["content"]
    state["content"] = {**levels, "users": {**levels["users"], bridge.alice.id: 50}}
    await _receive(bridge, script, _lines(least_power=50))
    assert _shown(bridge, room) == ["one\ntwo"]
    state["content"] = levels
    await _receive(bridge, script, TAKEN)
    assert _shown(bridge, room) == [None]


async def test_an_opt_out_covers_the_rest(bridge: Harness, script: Script) -> None:
    """Of somebody who opted out nothing is said anew when another takes one of their lines back."""
    room = await bridge.portal_room("net", "lobby")
    await _receive(bridge, script, _lines())
    await _opt_out(bridge)
    await _receive(bridge, script, TAKEN)
    assert _shown(bridge, room) == [None]


@pytest.mark.parametrize("what", ["optout", "join"])
async def test_it_is_asked_again_right_before_the_rest_is_said(bridge: Harness, script: Script, what: str) -> None:
    """What changes between the plan and the request counts: an opt-out, somebody who comes."""
    room = await bridge.portal_room("net", "lobby")
    await _receive(bridge, script, _lines())
    faults = bridge.homeserver.faults
    on_its_way = faults.hold(match="/redact/")
    assert script.inbox is not None
    await script.inbox.receive([TAKEN])
    await bridge.until(lambda: faults.hits)
    if what == "optout":
        await _opt_out(bridge)
    else:
        dave = bridge.homeserver.user("dave")
        dave.join(room)
        await bridge.homeserver.wait_pushed()
    on_its_way.set()
    await bridge.settled()
    assert _shown(bridge, room) == [None]
    audit = await bridge.running.journal.audit()
    assert audit.holds and audit.balances["net", 1].rejected == 1
