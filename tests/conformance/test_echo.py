"""The main job on the echo network and the fake homeserver: what crosses, and that the counters say so."""

from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path) -> Any:
    async with Harness(tmp_path, {"echo": {"type": "echo", "portals": ["lobby"]}}) as harness:
        yield harness


async def test_message_comes_back_as_a_ghost(bridge: Harness) -> None:
    """A message crosses to the network, and what the network says comes into the room as its ghost."""
    room = await bridge.portal_room("echo", "lobby")
    bridge.alice.send(room, "hello there")
    event = await bridge.homeserver.wait_event(
        room, lambda event: event["sender"] == "@_echo_echo:hs.test" and event["type"] == "m.room.message"
    )
    assert event["content"]["body"] == "hello there"
    await bridge.settled()
    audit = await bridge.running.journal.audit()
    assert audit.holds
    assert audit.balances["echo", 0].delivered == 1
    assert audit.balances["echo", 1].delivered == 1


async def test_edit_reaction_and_redaction_come_back(bridge: Harness) -> None:
    """Edits, reactions and redactions reach the message they are about, on both sides."""
    room = await bridge.portal_room("echo", "lobby")
    alice = bridge.alice
    first = alice.send(room, "first")
    said = await bridge.homeserver.wait_event(
        room, lambda e: e["sender"] == "@_echo_echo:hs.test" and "body" in e["content"]
    )
    alice.edit(room, first, "second")
    edit = await bridge.homeserver.wait_event(
        room, lambda e: e["sender"] == "@_echo_echo:hs.test" and "m.new_content" in e["content"]
    )
    assert edit["content"]["m.new_content"]["body"] == "second"
    assert edit["content"]["m.relates_to"]["event_id"] == said["event_id"]
    alice.react(room, first, "👍")
    reaction = await bridge.homeserver.wait_event(
        room, lambda e: e["sender"] == "@_echo_echo:hs.test" and e["type"] == "m.reaction"
    )
    assert reaction["content"]["m.relates_to"] == {"rel_type": "m.annotation", "event_id": first, "key": "👍"}
    alice.redact(room, first)
    redaction = await bridge.homeserver.wait_event(
        room, lambda e: e["sender"] == "@_echo_echo:hs.test" and e["type"] == "m.room.redaction"
    )
    assert redaction.get("redacts", redaction["content"].get("redacts")) == said["event_id"]


async def test_a_stopped_bridge_goes_on_where_it_was(bridge: Harness) -> None:
    """What is said while the bridge is away arrives once, in order, when it is back."""
    room = await bridge.portal_room("echo", "lobby")
    await bridge.stop_bridge()
    alice = bridge.alice
    for number in range(20):
        alice.send(room, f"message {number}")
    await bridge.start_bridge()
    await bridge.homeserver.wait_message(room, "message 19")
    await bridge.settled()
    echoed = [body for sender, body in bridge.homeserver.messages(room) if sender == "@_echo_echo:hs.test"]
    assert echoed == [f"message {number}" for number in range(20)]
