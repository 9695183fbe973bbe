"""What chats can carry is shown in their rooms: bounded, resumed, and taken away with the room."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RoomId
from bridge_core.api.network import Capabilities, Level, LoginStatus
from bridge_core.engine.enforcement import REFUSALS
from bridge_core.engine.features import NAMES, document
from tests.harness import Harness
from tests.scripted import Script

EVENT = "com.beeper.room_features"
KEY = "dev.matrix_bridge://net/"


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby", "garden"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


def _shown(bridge: Harness, room: str, chat: str) -> Any:
    return bridge.homeserver.room(room).content(EVENT, KEY + chat)


async def test_a_network_that_comes_back_is_asked_again(bridge: Harness, script: Script) -> None:
    """All its rooms are brought up to date; nothing is sent into rooms that show it already, also after a restart."""
    rooms = {chat: await bridge.portal_room("net", chat) for chat in ("lobby", "garden")}
    await bridge.until(lambda: all(_shown(bridge, room, chat) for chat, room in rooms.items()))
    script.capabilities = Capabilities(default=Level.PARTIAL)
    script.status(LoginStatus.DISCONNECTED)
    script.status(LoginStatus.CONNECTED)
    await bridge.until(lambda: all(_shown(bridge, room, chat)["reply"] == 1 for chat, room in rooms.items()))
    await bridge.until(lambda: bridge.running.engine.showing.idle)
    await bridge.stop_bridge()
    before = len(bridge.homeserver.requests)
    await bridge.start_bridge()
    await bridge.until(lambda: bridge.running.engine.showing.idle)
    later = [request for request in bridge.homeserver.requests[before:] if EVENT in str(request)]
    assert later == []


async def test_it_goes_with_the_room(bridge: Harness) -> None:
    """A room that is bridged no more shows nothing."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.until(lambda: _shown(bridge, room, "lobby"))
    portals = bridge.running.engine.portals
    portal = portals.get(PortalKey(NetworkId("net"), ChatId("lobby")))
    assert portal is not None
    await portals.remove_room(portal, RoomId(room))
    await bridge.until(lambda: _shown(bridge, room, "lobby") == {})


async def test_one_room_that_refuses_keeps_no_other_waiting(bridge: Harness, script: Script) -> None:
    """Where the bot may not speak any more the document stays as it was, and the next room has its turn."""
    first = await bridge.portal_room("net", "lobby")
    await bridge.until(lambda: _shown(bridge, first, "lobby"))
    bot = bridge.homeserver.room(first).current["m.room.member", bridge.homeserver.bot]
    bot["content"] = {"membership": "leave"}
    script.capabilities = Capabilities(default=Level.PARTIAL)
    second = await bridge.portal_room("net", "garden")
    bridge.running.engine.showing.connected(NetworkId("net"))
    await bridge.until(lambda: (_shown(bridge, second, "garden") or {}).get("reply") == 1)
    await bridge.until(lambda: bridge.running.engine.showing.idle)
    assert _shown(bridge, first, "lobby")["reply"] == 2


def test_the_same_document_has_the_same_id() -> None:
    """Its id changes with what it says, and with nothing else."""
    full, also = Capabilities(default=Level.FULL), Capabilities({"text": Level.FULL}, default=Level.FULL)
    assert document(full, frozenset()) == document(also, frozenset())
    assert document(full, frozenset({"edit"}))["id"] != document(full, frozenset())["id"]


def test_every_feature_has_its_words() -> None:
    """Whatever a chat may not carry, the sender is told in words; signals are nobody's message."""
    assert set(NAMES) - set(REFUSALS) == {"mention", "typing", "receipts", "delivery", "presence"}
