"""A bridge whose encryption is off, in rooms that are encrypted."""

from pathlib import Path

import pytest

from bridge_core.api.ids import NetworkId, RoomId, UserId
from tests.encrypted import MEGOLM
from tests.harness import Harness
from tests.scripted import Script
from tests.unit.app.test_encryption import HALL, SECRET, said

OFF = "this room is encrypted, and the bridge's encryption is off"


def off(folder: Path) -> tuple[Harness, Script]:
    """A bridge without encryption, with the scripted network."""
    script = Script()
    return Harness(folder, {"net": {"type": "scripted", "portals": ["hall"]}}, {"scripted": script}), script


async def test_nobody_silences_a_plain_room(tmp_path: Path) -> None:
    """Anybody can send an encrypted event to a room that is not encrypted: all else crosses on."""
    harness, script = off(tmp_path)
    async with harness:
        room = await harness.portal_room("net", "hall")
        harness.alice.send_event(
            room, "m.room.encrypted", {"algorithm": MEGOLM, "ciphertext": "AAAA", "session_id": "s"}
        )
        await harness.settled()
        harness.alice.send(room, "still here")
        await harness.until(lambda: script.texts() == ["still here"])
        await said(script, "here too")
        await harness.homeserver.wait_message(room, "here too")


@pytest.mark.parametrize("seen", ["its state", "what is said there", "what it has when it is bridged"])
async def test_nothing_crosses_in_a_room_that_is_encrypted(tmp_path: Path, seen: str) -> None:
    """However the bridge has seen it: nothing goes there in the clear, over a restart too, and who speaks is told."""
    harness, script = off(tmp_path)
    async with harness:
        portal = await harness.running.engine.portals.ensure(NetworkId("net"), HALL)
        room = harness.alice.create_room(preset="public_chat")
        if seen == "what it has when it is bridged":
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
        await harness.running.engine.rooms.adopt(portal, RoomId(room))
        if seen == "its state":
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
        elif seen == "what is said there":
            harness.running.engine.on_encryption.clear()  # that event was missed
            harness.alice.set_state(room, "m.room.encryption", {"algorithm": MEGOLM})
            content = {
                "algorithm": MEGOLM,
                "ciphertext": "AAAA",
                "session_id": "s",
                "sender_key": "k",
                "device_id": "d",
            }
            harness.alice.send_event(room, "m.room.encrypted", content)
        await harness.settled()
        harness.alice.send(room, "in the clear")
        await harness.homeserver.wait_event(room, lambda event: OFF in str(event["content"].get("body")))
        await said(script, SECRET)
        await harness.settled()
        await harness.stop_bridge()
        await harness.start_bridge()
        await said(script, SECRET, 2)
        await harness.settled()
        assert SECRET not in [body for _, body in harness.homeserver.messages(room)]
        assert script.texts() == []


async def test_plain_rooms_are_as_ever(tmp_path: Path) -> None:
    """What is not encrypted crosses."""
    harness, script = off(tmp_path)
    async with harness:
        room = await harness.portal_room("net", "hall")
        await said(script, "hello")
        await harness.homeserver.wait_message(room, "hello")


async def test_that_encryption_is_off_is_said(tmp_path: Path) -> None:
    """Whoever asks how encryption is reads that it is off, and what that means."""
    harness, _ = off(tmp_path)
    async with harness:
        commands = harness.running.engine.commands
        answer = await commands.call(UserId("@admin:hs.test"), "encryption-status", {})
        assert answer.text.startswith("Encryption is off (encryption.mode).") and answer.data == {"mode": "off"}
        assert commands.get("encryption-recovery-key") is None
