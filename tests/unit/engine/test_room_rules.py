"""What rooms set for themselves, how old messages may be, and who of which chat is shown."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge_core.api.events import RemoteMembers, RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RemoteUserId, RoomId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.engine.roomrules import NO_RULES, RULES_EVENT, BadRulesError, RoomRules, parse_rules, rules_of
from tests.harness import Harness
from tests.invariants.scenes import put_transaction
from tests.scripted import Script

LOBBY = PortalKey(NetworkId("net"), ChatId("lobby"))
HOUR = 3_600_000


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "max_age": "1h"}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _own_room(bridge: Harness, **content: Any) -> str:
    """A room of alice's own that is bridged to the lobby, with these settings from before."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot], power_level_content_override={"events_default": 0})
    if content:
        bridge.alice.set_state(room, RULES_EVENT, content)
    engine = bridge.running.engine
    await engine.rooms.adopt(await engine.portals.ensure(*_lobby()), RoomId(room), by=bridge.alice.id)
    return room


def _lobby() -> tuple[NetworkId, ChatId]:
    return LOBBY.network, LOBBY.chat


def _rules(bridge: Harness, room: str) -> RoomRules:
    portal = bridge.running.engine.portals.get(LOBBY)
    assert portal is not None
    return rules_of(portal, RoomId(room))


async def _answer(bridge: Harness, room: str, words: str) -> None:
    await bridge.homeserver.wait_event(room, lambda e: words in str(e["content"].get("body")))


async def test_rooms_of_one_chat_that_are_set_at_once_keep_both(bridge: Harness) -> None:
    """Of two settings that are stored at the same time neither is lost."""
    first, second = await _own_room(bridge), await _own_room(bridge)
    rules = bridge.running.engine.room_features.rules
    await asyncio.gather(
        rules.keep(RoomId(first), RoomRules(relay=False)), rules.keep(RoomId(second), RoomRules(copies=False))
    )
    assert (_rules(bridge, first), _rules(bridge, second)) == (RoomRules(relay=False), RoomRules(copies=False))
    await rules.keep(RoomId(first), NO_RULES)
    assert (_rules(bridge, first), _rules(bridge, second)) == (NO_RULES, RoomRules(copies=False))


async def _aged(bridge: Harness, room: str, text: str, age: int, **more: Any) -> None:
    """A message of alice's that her homeserver hands over late."""
    said = {"msgtype": "m.text", "body": text}
    event = {"event_id": f"${text}", "room_id": room, "sender": bridge.alice.id, "type": "m.room.message"}
    at = bridge.running.database.now_ms() - age
    body = {"events": [{**event, "content": said, "origin_server_ts": at, **more}]}
    assert (await put_transaction(bridge, f"t-{text}", orjson.dumps(body)))[0] == 200
    await bridge.settled()


async def test_what_is_too_old_is_not_handed_over(bridge: Harness, script: Script) -> None:
    """A message older than `max_age` ends as rejected, its sender is told, and what is younger crosses."""
    room = await bridge.portal_room("net", "lobby")
    await _aged(bridge, room, "stale", 3 * HOUR)
    await _aged(bridge, room, "fresh", HOUR // 2)
    await _aged(bridge, room, "of tomorrow", -24 * HOUR)
    assert script.texts() == ["fresh", "of tomorrow"]
    await _answer(bridge, room, "was not delivered to net: it is 3 hours old, and what is older than 60 minutes")
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    balance = audit.balances["net", 0]
    assert (balance.delivered, balance.rejected) == (2, 1)


async def test_a_room_sets_less_than_the_configuration_gives(bridge: Harness, script: Script) -> None:
    """Settings hold once set, are answered in words, and go out with the messages; an empty event ends them."""
    room = await _own_room(bridge)
    bridge.alice.set_state(room, RULES_EVENT, {"max_lines": 3, "max_age": 60})
    await _answer(bridge, room, "What is older than 60 seconds is not passed on.\nA message has at most 3 lines there.")
    assert _rules(bridge, room) == RoomRules(max_lines=3, max_age=60)
    await _aged(bridge, room, "stale", HOUR // 2)
    bridge.alice.send(room, "now")
    await bridge.settled()
    ((_, message),) = script.sent
    assert isinstance(message, MatrixMessage)
    assert (message.content.text[0].text, message.max_lines) == ("now", 3)  # type: ignore[union-attr]
    bridge.alice.set_state(room, RULES_EVENT, {})
    await _answer(bridge, room, "no settings of its own")
    assert _rules(bridge, room) is NO_RULES


async def test_a_mistake_changes_nothing_and_is_said(bridge: Harness) -> None:
    """Of an event with a mistake nothing is in force, what was before stays, also over a restart."""
    room = await _own_room(bridge)
    bridge.alice.set_state(room, RULES_EVENT, {"relay": False})
    await _answer(bridge, room, "Only people with a connection of their own are heard.")
    bridge.alice.set_state(room, RULES_EVENT, {"relay": True, "max_lines": "many"})
    await _answer(bridge, room, "nothing has changed: max_lines is a whole number from 1 to 1000")
    assert _rules(bridge, room) == RoomRules(relay=False)
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert _rules(bridge, room) == RoomRules(relay=False)
    bridge.alice.send(room, "anybody?")
    await _answer(bridge, room, "only people with a connection of their own")


async def test_rules_are_shown_and_set_by_command(bridge: Harness) -> None:
    """`rules` shows them to everybody and sets the state event for who may change the room; else it says why not."""
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "!bridge rules max_lines 3")
    await _answer(bridge, room, "you may not change this room's settings")
    bridge.alice.send(room, "!bridge rules")
    await _answer(bridge, room, "This room has no settings of its own")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    admin.send(room, "!bridge rules max_lines 3")
    await _answer(bridge, room, "A message has at most 3 lines there.")
    admin.send(room, "!bridge rules relay off")
    await _answer(bridge, room, "Only people with a connection of their own are heard.\nA message has at most 3 lines")
    assert bridge.homeserver.room(room).content(RULES_EVENT) == {"max_lines": 3, "relay": False}
    assert _rules(bridge, room) == RoomRules(max_lines=3, relay=False)
    admin.send(room, "!bridge rules max_lines nine")
    await _answer(bridge, room, "is a whole number from 1 to 1000")
    admin.send(room, "!bridge rules max_lines default")
    admin.send(room, "!bridge rules relay default")
    await bridge.settled()
    assert _rules(bridge, room) is NO_RULES
    own = await _own_room(bridge)
    bridge.alice.send(own, "!bridge rules copies off")
    await _answer(bridge, own, "the bridge may not set state here")


async def test_a_message_that_looks_like_settings_is_none(bridge: Harness) -> None:
    """An event of that type which is no state, as anybody may send, sets nothing."""
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send_event(room, RULES_EVENT, {"relay": False})
    await bridge.settled()
    assert _rules(bridge, room) is NO_RULES


async def test_a_room_may_keep_to_itself(bridge: Harness, script: Script) -> None:
    """With `copies: false`, set before it was bridged, nothing is copied from a room or to it."""
    first, second = await bridge.portal_room("net", "lobby"), await _own_room(bridge, copies=False)
    bridge.alice.send(first, "one")
    bridge.alice.send(second, "two")
    await bridge.settled()
    assert sorted(script.texts()) == ["one", "two"]
    texts = [text for room in (first, second) for _, text in bridge.homeserver.messages(room)]
    assert [text for text in texts if text.endswith(("one", "two"))] == ["one", "two"]


@pytest.mark.parametrize(
    "content",
    [{"copies": 1}, {"max_age": 0}, {"max_age": True}, {"max_lines": 10**9}, {"odd\n": 1}, {"relay": None}, {"": 1}],
)
def test_what_is_no_setting(content: dict[str, Any]) -> None:
    """Other names, and values of another kind or size, are refused."""
    with pytest.raises(BadRulesError):
        parse_rules(content)


async def test_members_of_one_chat_may_be_shown_otherwise(tmp_path: Path, script: Script) -> None:
    """`members` of a chat in the configuration replaces that of its network, for that chat alone."""
    portals = ["lobby", {"chat": "garden", "members": "eager"}]
    networks = {"net": {"type": "scripted", "portals": portals}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        rooms = {chat: await bridge.portal_room("net", chat) for chat in ("lobby", "garden")}
        people = tuple(RemoteSender(RemoteUserId(name), name) for name in ("ann", "ben"))
        assert script.inbox is not None
        await script.inbox.receive([RemoteMembers(ChatId(chat), people) for chat in rooms])
        await bridge.until(lambda: "@_net_ben:hs.test" in bridge.homeserver.room(rooms["garden"]).members("join"))
        await bridge.settled()
        assert "@_net_ben:hs.test" not in bridge.homeserver.room(rooms["lobby"]).members("join")
