"""Rooms of strangers: what they claim about bridges is not believed, and how they are called breaks out of nothing."""

from typing import Any
from urllib.parse import unquote

import pytest

from bridge_core.api.ids import RoomId
from tests.apicalls import SECRET, ApiClient
from tests.harness import Harness
from tests.invariants.scenes import Recorder, balances, receive, say
from tests.scripted import Script


@pytest.fixture
def sections() -> dict[str, Any]:
    """With the HTTP API."""
    return {"api": {"enabled": True, "secret": SECRET}}


def _claim(bridge: Harness, chat: str) -> dict[str, Any]:
    """What the bridge itself writes into the room of a chat."""
    return {
        "bridgebot": bridge.homeserver.bot,
        "creator": bridge.alice.id,
        "protocol": {"id": "scripted"},
        "network": {"id": "net"},
        "channel": {"id": chat, "displayname": chat},
    }


@pytest.mark.parametrize("kind", ["m.bridge", "uk.half-shot.bridge"])
async def test_a_forged_m_bridge_bridges_nothing(bridge: Harness, script: Script, kind: str) -> None:
    """A room that claims to be a chat's, with the bridge's bot in it, gets nothing of the chat and says nothing there,
    also after a start; a claim in a portal's own room changes nothing about it."""
    room = await bridge.portal_room("net", "lobby")
    mallory = bridge.homeserver.user("mallory")
    forged = mallory.create_room(preset="public_chat", invite=[bridge.homeserver.bot])
    await bridge.until(lambda: bridge.homeserver.room(forged).membership(bridge.homeserver.bot) == "join")
    key = "dev.matrix_bridge://net/lobby"
    world = bridge.homeserver._world
    mallory.set_state(forged, kind, _claim(bridge, "lobby"), key)
    world.emit(world.room(room), "@eve:else.where", kind, _claim(bridge, "garden"), state_key=key)
    await bridge.settled()
    for start in (False, True):
        if start:
            await bridge.stop_bridge()
            await bridge.start_bridge()
        assert bridge.running.engine.portals.in_room(RoomId(forged)) == ()
        assert [row.chat for row in bridge.running.engine.portals.in_room(RoomId(room))] == ["lobby"]
        await receive(bridge, script, say(f"secret {start}"))
        mallory.send(forged, f"let me in {start}")
        await balances(bridge)
        assert not any("secret" in str(body) for _, body in bridge.homeserver.messages(forged))
    assert script.texts() == []


CRAFTED = ["!x/../../../_synapse/admin/v1/rooms", "!x?access_token=1", "!x#y", "!x%2f..%2fy", "!x:hs.test/state", "!//"]


@pytest.mark.parametrize("room", CRAFTED)
async def test_irc_1619_a_crafted_room_id_is_one_segment(bridge: Harness, room: str) -> None:
    """matrix-appservice-irc #1619: a room id from the HTTP API stays one segment of the address that is asked, and a
    room that the caller is not in is no room for them."""
    recorder = Recorder(bridge)
    api = ApiClient(bridge.port)
    body = {"arguments": {"network": "net", "chat": "lobby"}, "room": room}
    status, _ = await api.call("POST", "/commands/bridge", SECRET, body, user_id=bridge.alice.id)
    assert status in {400, 403, 409}
    prefix = "/_matrix/client/v3/rooms/"
    asked = [one.url for one in recorder.seen if one.url.startswith("/_matrix/client/v3/rooms") or "admin" in one.url]
    segments = [url.removeprefix(prefix).partition("/")[0] for url in asked]
    assert asked
    assert [unquote(segment) for segment in segments] == [room] * len(asked)
    assert bridge.running.engine.portals.in_room(RoomId(room)) == ()
