"""Copies between rooms: not out of encrypted rooms, and once where several chats have both rooms."""

from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RoomId
from bridge_core.api.network import Sent
from bridge_core.engine.consents import CONSENT
from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script

OPEN = {"events_default": 0, "state_default": 0}
SEALED = {"algorithm": "m.megolm.v1.aes-sha2"}


async def _room(bridge: Harness, owner: FakeUser, *networks: str) -> str:
    """A room of somebody's, plumbed to the lobby of each network."""
    room = owner.create_room(invite=[bridge.homeserver.bot], power_level_content_override=OPEN)
    engine = bridge.running.engine
    for network in networks:
        portal = await engine.portals.ensure(NetworkId(network), ChatId("lobby"))
        await engine.rooms.adopt(portal, RoomId(room), by=owner.id)
    return room


def _copied(bridge: Harness, room: str) -> list[str]:
    return [str(text) for _, text in bridge.homeserver.messages(room) if str(text).startswith("alice:")]


def _told(bridge: Harness, room: str) -> list[str]:
    return [str(text) for _, text in bridge.homeserver.messages(room) if "encrypted" in str(text)]


async def test_what_is_said_in_an_encrypted_room_stays_there(tmp_path: Path) -> None:
    """A room that is not encrypted gets no copies from one that is, from the moment it is; who speaks is told."""
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    harness = Harness(tmp_path, networks, {"scripted": Script()}, encryption={"mode": "auto"})
    harness.appservice.encryption = True
    async with harness as bridge:
        first, second = [await _room(bridge, bridge.alice, "net") for _ in range(2)]
        bridge.alice.send(first, "in the clear")
        await bridge.settled()
        assert _copied(bridge, second) == ["alice: in the clear"]
        bridge.alice.set_state(first, "m.room.encryption", SEALED)
        bridge.alice.send(first, "from a sealed room")
        await bridge.settled()
        assert _copied(bridge, second) == ["alice: in the clear"]
        bridge.alice.set_state(second, "m.room.encryption", SEALED)
        bridge.alice.send(first, "between sealed rooms")
        await bridge.homeserver.wait_event(second, lambda event: event["type"] == "m.room.encrypted")
        assert _copied(bridge, second) == ["alice: in the clear"]


def _sides(tmp_path: Path, one: Script, two: Script, **options: Any) -> Harness:
    networks = {
        "one": {"type": "first", "portals": ["lobby"], **options},
        "two": {"type": "second", "portals": ["lobby"]},
    }
    return Harness(tmp_path, networks, {"first": one, "second": two})


def _refuse(message: Any, attempt: Any) -> Sent:
    raise RejectedError("moderated")


@pytest.mark.parametrize("first", ["takes it", "refuses it", "is not to copy", "never says"])
async def test_of_two_chats_of_both_rooms_one_copies(tmp_path: Path, first: str) -> None:
    """What is said is seen in the other room once, whatever one of the two networks does."""
    one, two = Script(), Script()
    two.answer = lambda message, attempt: Sent((MessageId(f"id-{attempt.key}"),))
    if first == "refuses it":
        one.answer = _refuse
    elif first == "never says":
        one.answer = one.later
    async with _sides(tmp_path, one, two, copy_between_rooms=first != "is not to copy") as bridge:
        here, there = [await _room(bridge, bridge.alice, "one", "two") for _ in range(2)]
        event = bridge.alice.send(here, "hello")
        await bridge.until(lambda: two.texts() == ["hello"] and _copied(bridge, there))
        for future in one.waiting:
            future.set_result(Sent())  # at last
        await bridge.settled()
        assert _copied(bridge, there) == ["alice: hello"]
        (copy,) = [e for e in bridge.homeserver.room(there).timeline if e["content"].get("body") == "alice: hello"]
        one.answer = lambda message, attempt: Sent()
        bridge.alice.reply(there, copy["event_id"], "answer")
        await bridge.until(lambda: "answer" in two.texts())
        answer = next(message for _, message in two.sent if getattr(message, "reply_to", None) is not None)
        assert answer.reply_to.matrix_sender.id == bridge.alice.id  # type: ignore[union-attr]
        bridge.alice.redact(here, event)
        await bridge.settled()
        assert _copied(bridge, there) == []


async def test_nothing_is_quoted_of_what_was_said_before_the_chat_agreed(tmp_path: Path) -> None:
    """What the gate refused is remembered as nothing: an answer to it, later, has no excerpt of it."""
    script = Script()
    script.quoted = 50
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        first, _ = [await _room(bridge, bridge.alice, "net") for _ in range(2)]
        portals = bridge.running.engine.portals
        (portal,) = portals.in_room(RoomId(first))
        await portals.set_option(portal, CONSENT, "asked")
        before = bridge.alice.send(first, "among ourselves")
        await bridge.settled()
        await portals.set_option(portal, CONSENT, None)
        bridge.alice.reply(first, before, "so?")
        await bridge.until(lambda: script.sent)
        await bridge.settled()
        ((_, message),) = script.sent
        assert message.reply_to is None or message.reply_to.excerpt is None  # type: ignore[union-attr]
        assert await bridge.running.database.messages.by_event(RoomId(first), before) == []  # type: ignore[arg-type]
