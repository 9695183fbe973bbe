"""Rooms are as open as their chat is: who may enter, who may speak, who may read along, who learns of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import MemberPower, RemoteInfo, RemoteMessage, RemotePower, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from bridge_core.api.info import ChatInfo
from tests.able import AbleScript
from tests.harness import Harness

CHAT = ChatId("lobby")
ANNA = RemoteSender(RemoteUserId("anna"), "Anna")
GHOST = "@_net_anna:hs.test"


@pytest.fixture(name="script")
def _script() -> AbleScript:
    return AbleScript()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: AbleScript) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


def _message(text: str, least: int | None = None) -> RemoteMessage:
    return RemoteMessage(CHAT, ANNA, Content((Plain(text),)), MessageId(text), least_power=least)


def _levels(bridge: Harness, room: str) -> dict[str, Any]:
    return bridge.homeserver.room(room).content("m.room.power_levels") or {}


def _heard(bridge: Harness, room: str) -> list[str]:
    return [body for sender, body in bridge.homeserver.messages(room) if sender == GHOST]


async def test_speaking_takes_what_the_chat_says(bridge: Harness, script: AbleScript) -> None:
    """A moderated chat's room is moderated, is so once, and is free again when the chat is."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    await script.inbox.receive([RemoteInfo(CHAT, speak_power=1)])
    await bridge.until(lambda: _levels(bridge, room).get("events_default") == 1)
    await script.inbox.receive([RemoteInfo(CHAT, speak_power=1)])
    await bridge.settled()
    changes = [event for event in bridge.homeserver.room(room).timeline if event["type"] == "m.room.power_levels"]
    await script.inbox.receive([RemoteInfo(CHAT, speak_power=0)])
    await bridge.until(lambda: _levels(bridge, room).get("events_default") == 0)
    after = [event for event in bridge.homeserver.room(room).timeline if event["type"] == "m.room.power_levels"]
    assert len(after) == len(changes) + 1


async def test_what_the_network_let_somebody_say_is_shown(bridge: Harness, script: AbleScript) -> None:
    """In a moderated room the message of one whose voice the room has not heard of yet arrives all the same."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    await script.inbox.receive([RemoteInfo(CHAT, speak_power=1)])
    await bridge.until(lambda: _levels(bridge, room).get("events_default") == 1)
    await script.inbox.receive([_message("first")])
    await bridge.settled()
    assert _heard(bridge, room) == ["first"]
    assert _levels(bridge, room)["users"][GHOST] == 1
    await script.inbox.receive([RemotePower(CHAT, (MemberPower(ANNA, 0),))])
    await bridge.until(lambda: GHOST not in _levels(bridge, room)["users"])


async def test_a_room_that_admins_moderate_is_left_alone(bridge: Harness, script: AbleScript) -> None:
    """What speaking takes in a room whose chat never was moderated is its admins' affair: nobody is given a voice."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    levels = {**_levels(bridge, room), "events_default": 10}
    bridge.homeserver.room(room).current["m.room.power_levels", ""]["content"] = levels
    await script.inbox.receive([RemoteInfo(CHAT, speak_power=0), _message("refused")])
    await bridge.settled()
    assert _heard(bridge, room) == []
    assert _levels(bridge, room)["events_default"] == 10


async def test_a_message_for_some_is_shown_where_nobody_else_reads(bridge: Harness, script: AbleScript) -> None:
    """What was said to people of a power reaches a room only while all users of Matrix in it have that power."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    await script.inbox.receive([_message("secret", 50), _message("open")])
    await bridge.settled()
    assert _heard(bridge, room) == ["open"]
    levels = _levels(bridge, room)
    raised = {**levels, "users": {**levels["users"], bridge.alice.id: 50}}
    bridge.homeserver.room(room).current["m.room.power_levels", ""]["content"] = raised
    await script.inbox.receive([_message("for ops", 50), _message("for owners", 100)])
    await bridge.settled()
    assert _heard(bridge, room) == ["open", "for ops"]


async def test_who_loses_their_power_is_not_shown_what_is_ready_for_some(bridge: Harness, script: AbleScript) -> None:
    """Who reads along is looked at right before such a message is shown, and not only when it is made ready."""
    room = await bridge.portal_room("net", "lobby")
    levels = _levels(bridge, room)
    state = bridge.homeserver.room(room).current["m.room.power_levels", ""]
    state["content"] = {**levels, "users": {**levels["users"], bridge.alice.id: 50}}
    faults = bridge.homeserver.faults
    on_its_way = faults.hold(match="/send/m.room.message")
    assert script.inbox is not None
    await script.inbox.receive([_message("for ops", 50), _message("for ops only", 50)])
    await bridge.until(lambda: faults.hits)
    state["content"] = levels
    on_its_way.set()
    await bridge.settled()
    assert _heard(bridge, room) == ["for ops"]


async def test_a_room_begins_as_closed_as_its_chat(tmp_path: Path, script: AbleScript) -> None:
    """A room made for a closed chat is entered by invitation from its first moment, and is in no list."""
    script.described[CHAT] = ChatInfo("lobby", join_rule="invite", speak_power=1, listed=False)
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "space": "network"}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        engine = bridge.running.engine
        room = await engine.rooms.ensure(await engine.portals.ensure(NetworkId("net"), CHAT))
        rules = [event for event in bridge.homeserver.room(room).timeline if event["type"] == "m.room.join_rules"]
        assert [event["content"] for event in rules] == [{"join_rule": "invite"}]
        await bridge.until(lambda: _levels(bridge, room).get("events_default") == 1)
        assert bridge.running.engine.room_features.spaces.wished() == set()
        assert script.inbox is not None
        await script.inbox.receive([replace(RemoteInfo(CHAT), listed=True, join_rule="public")])
        await bridge.until(lambda: len(bridge.running.engine.room_features.spaces.done) == 1)
        await script.inbox.receive([RemoteInfo(CHAT, listed=False)])
        await bridge.until(lambda: not bridge.running.engine.room_features.spaces.done)
