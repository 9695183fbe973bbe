"""Messages that disappear do so over restarts, and whoever is still there takes them back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteEdit, RemoteInfo, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
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
    networks = {"net": {"type": "scripted", "portals": ["lobby", "den"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


def _message(text: str, expiry: int | None = None) -> RemoteMessage:
    return RemoteMessage(CHAT, ANNA, Content((Plain(text),)), MessageId(text), expiry=expiry)


def _redactions(bridge: Harness, room: str) -> list[str]:
    return [event["sender"] for event in bridge.homeserver.room(room).timeline if event["type"] == "m.room.redaction"]


async def test_what_is_due_while_the_bridge_is_away_disappears_at_the_next_start(
    bridge: Harness, script: AbleScript
) -> None:
    """The time is stored with the message, and goes on while nobody runs; once is enough."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    await script.inbox.receive([_message("soon", 2_000)])
    await bridge.settled()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await bridge.until(lambda: _redactions(bridge, room) == [GHOST])
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert await bridge.running.database.expiring.next_due() is None
    assert _redactions(bridge, room) == [GHOST]


async def test_the_bot_takes_back_what_a_ghost_cannot(bridge: Harness, script: AbleScript) -> None:
    """A ghost that is not in the room any more leaves nothing behind, and no other message waits for it."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    await script.inbox.receive([_message("soon", 2_000)])
    await bridge.settled()
    bridge.homeserver.room(room).current["m.room.member", GHOST]["content"] = {"membership": "leave"}
    await bridge.until(lambda: _redactions(bridge, room) == [bridge.homeserver.bot])


async def test_edits_disappear_with_their_message(bridge: Harness, script: AbleScript) -> None:
    """An edit holds the text too: in a chat with a timer it goes as well."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    edit = RemoteEdit(CHAT, ANNA, MessageId("one"), Content((Plain("seen twice"),)))
    await script.inbox.receive([RemoteInfo(CHAT, expiry=2_000), _message("one"), edit])
    await bridge.until(lambda: _redactions(bridge, room) == [GHOST, GHOST])
    assert "seen twice" not in str([event["content"] for event in bridge.homeserver.room(room).timeline])


@pytest.mark.parametrize("expiry", [-1, 2**62])
async def test_times_that_are_none_are_no_timer(bridge: Harness, script: AbleScript, expiry: int) -> None:
    """What a network makes up neither removes a message nor breaks its lane."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    await script.inbox.receive([RemoteInfo(CHAT, expiry=expiry), _message("one", expiry), _message("two")])
    await bridge.settled()
    assert [body for sender, body in bridge.homeserver.messages(room) if sender == GHOST] == ["one", "two"]
    assert await bridge.running.database.expiring.next_due() is None


async def test_a_room_that_fails_keeps_nothing_elsewhere(bridge: Harness, script: AbleScript) -> None:
    """While the homeserver fails for one room, messages of others disappear in time."""
    rooms = [await bridge.portal_room("net", chat) for chat in ("lobby", "den")]
    assert script.inbox is not None
    bridge.homeserver.faults.answer(500, times=10_000, match=f"{rooms[0].removeprefix('!').split(':')[0]}.*/redact/")
    await script.inbox.receive([_message("stuck", 1_000)])
    await script.inbox.receive([replace(_message("gone", 1_500), chat=ChatId("den"))])
    await bridge.until(lambda: _redactions(bridge, rooms[1]) == [GHOST])
    assert _redactions(bridge, rooms[0]) == []
    assert await bridge.running.database.expiring.next_due() is not None
