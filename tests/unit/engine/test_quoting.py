"""Quotes in replies: what both sides could read anyway, and nothing else (CVE-2023-38700, CVE-2024-32000)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain, Spoiler
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.matrix import MatrixMessage
from tests.harness import Harness
from tests.scripted import Script

BOB = RemoteSender(RemoteUserId("bob"), "Bob")


@pytest.fixture(name="script")
def _script() -> Script:
    script = Script()
    script.quoted = 20
    return script


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby", "garden"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _heard(bridge: Harness, script: Script, room: str, content: Content, **more: Any) -> str:
    """Something that bob says, as the event that it became."""
    assert script.inbox is not None
    number = MessageId(f"m{len(bridge.homeserver.room(room).timeline)}")
    await script.inbox.receive([RemoteMessage(ChatId("lobby"), BOB, content, number, **more)])
    event = await bridge.homeserver.wait_event(
        room, lambda e: str(e["sender"]).startswith("@_net_bob") and "body" in e["content"]
    )
    await bridge.settled()
    return str(event["event_id"])


async def _excerpt(bridge: Harness, script: Script, room: str, event: str, user: Any = None) -> str | None:
    """What a reply to an event quotes of it."""
    script.sent.clear()
    (user or bridge.alice).reply(room, event, "so?")
    await bridge.until(lambda: script.sent)
    (_, message), *_ = script.sent
    assert isinstance(message, MatrixMessage) and message.reply_to is not None
    return message.reply_to.excerpt


def _text(words: str) -> Content:
    return Content((Plain(words),))


async def test_a_reply_quotes_the_beginning_of_what_it_answers(bridge: Harness, script: Script) -> None:
    """A client that wants it gets the beginning of what is answered, in one line, from either side."""
    room = await bridge.portal_room("net", "lobby")
    event = await _heard(bridge, script, room, _text("hello\nall of you who are here"))
    assert await _excerpt(bridge, script, room, event) == "hello all of you wh\u2026"
    own = bridge.alice.send(room, "short")
    await bridge.settled()
    assert await _excerpt(bridge, script, room, own) == "short"


async def test_who_came_later_quotes_nothing(bridge: Harness, script: Script) -> None:
    """What was said before the replier was in the room is not repeated for them."""
    room = await bridge.portal_room("net", "lobby")
    event = await _heard(bridge, script, room, _text("said before you came"), timestamp=1_000)
    late = bridge.homeserver.user("late")
    late.join(room)
    assert await _excerpt(bridge, script, room, event, late) is None
    assert await _excerpt(bridge, script, room, event) is None


async def test_what_is_for_some_or_hidden_is_not_repeated(bridge: Harness, script: Script) -> None:
    """Words for some people of the chat only, spoilers and what was taken back are repeated to nobody."""
    room = await bridge.portal_room("net", "lobby")
    event = bridge.alice.send(room, "regretted")
    await bridge.settled()
    bridge.alice.redact(room, event)
    await bridge.settled()
    assert await _excerpt(bridge, script, room, event) is None
    hidden = await _heard(bridge, script, room, Content((Spoiler("who", (Plain("the murderer"),)),)))
    assert await _excerpt(bridge, script, room, hidden) is None


async def test_words_for_some_are_not_repeated(bridge: Harness, script: Script) -> None:
    """What is for people of some power in the chat is not repeated to all of it."""
    room = await bridge.portal_room("net", "lobby")
    event = await _heard(bridge, script, room, _text("for voices"), least_power=0)
    assert await _excerpt(bridge, script, room, event) is None


async def test_nothing_of_another_room_or_chat_is_quoted(bridge: Harness, script: Script) -> None:
    """An event id of another room says nothing here, and is not even asked for."""
    lobby, garden = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    event = await _heard(bridge, script, lobby, _text("secret of the lobby"))
    assert await _excerpt(bridge, script, garden, event) is None
