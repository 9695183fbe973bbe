"""A channel in two rooms, whole: what is said in either is in the channel and the other room, each once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.ids import ChatId, NetworkId, RoomId
from bridge_core.testing.homeserver import FakeUser
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from tests.harness import Harness


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[DemoIrcServer]:
    server = DemoIrcServer()
    await server.start()
    yield server
    await server.stop()


async def _rooms(bridge: Harness, carol: FakeUser) -> tuple[str, str]:
    """Alice's room, which the bridge made, and carol's own."""
    engine = bridge.running.engine
    portal = await engine.portals.ensure(NetworkId("irc"), ChatId("#den"))
    first = await engine.rooms.ensure(portal)
    bridge.alice.join(first)
    second = carol.create_room(invite=[bridge.homeserver.bot], power_level_content_override={"events_default": 0})
    await engine.rooms.adopt(portal, RoomId(second), by=carol.id)
    return first, second


@pytest.mark.parametrize("puppets", [True, False])
async def test_two_rooms_of_one_channel(tmp_path: Path, server: DemoIrcServer, puppets: bool) -> None:
    """With connections of their own and over the relay: no line is said twice anywhere, and answers find their way."""
    irc = {
        "type": "irc",
        "server": "127.0.0.1",
        "port": server.port,
        "tls": False,
        "nick": "relay",
        "rate": 0,
        "connect_rate": 0,
        "portals": ["#den"],
        "grants": ["puppets"] if puppets else [],
        "relay": {"enabled": not puppets},
        "consent": {"required": False},
    }
    async with Harness(tmp_path, {"irc": irc}) as bridge:
        bob = await Witness.connect("127.0.0.1", int(server.port or 0), "bob", caps=("message-tags", "echo-message"))
        await bob.join("#den")
        carol = bridge.homeserver.user("carol")
        first, second = await _rooms(bridge, carol)
        question = bridge.alice.send(first, "a question")
        line = await bob.wait_text("a question")
        copy = await bridge.homeserver.wait_event(second, lambda e: e["content"].get("body") == "alice: a question")
        bob.raw(f"@+reply={line.tags['msgid']} PRIVMSG #den :an answer")
        for room, target in ((first, question), (second, copy["event_id"])):
            answer = await bridge.homeserver.wait_event(room, lambda e: e["content"].get("body") == "an answer")
            assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == target
        carol.reply(second, copy["event_id"], "me too")
        await bob.wait_text("me too")
        mine = await bridge.homeserver.wait_event(first, lambda e: e["content"].get("body") == "carol: me too")
        assert mine["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == question
        await bridge.settled()
        for room in (first, second):
            texts = [text for _, text in bridge.homeserver.messages(room)]
            assert sum("a question" in text for text in texts) == sum("me too" in text for text in texts) == 1
        said = [line.text for line in bob.messages("#den")]
        assert sum("a question" in text for text in said) == sum("me too" in text for text in said) == 1
        await bob.close()
