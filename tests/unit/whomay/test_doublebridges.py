"""A room that another bridge joins to the same kind of network is not bridged, and stops being."""

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId, UserId
from tests.harness import Harness
from tests.invariants.scenes import notices, receive, said, say
from tests.scripted import Script

ADMIN = UserId("@admin:hs.test")


def _tell(bridge: Harness, room: str, protocol: str = "scripted", *, bot: str = "", gone: bool = False) -> None:
    """The state that another bridge sets."""
    content = {"bridgebot": bot, "protocol": {"id": protocol}, "channel": {"id": "#there"}}
    bridge.alice.set_state(room, "m.bridge", {} if gone else content, "other://there")


async def _bridge(bridge: Harness, room: str) -> str:
    answer = await bridge.running.engine.commands.call(
        ADMIN, "bridge", {"network": "net", "chat": "attic"}, RoomId(room)
    )
    return answer.text


async def test_a_room_with_another_bridge_is_refused(bridge: Harness, script: Script) -> None:
    """As long as its bot is there; a bridge that left, one to another kind of network, and our own do not count."""
    other = bridge.homeserver.user("otherbot")
    for present, protocol, bot, allowed in (
        (True, "scripted", other.id, False),
        (False, "scripted", other.id, True),
        (True, "discord", other.id, True),
        (True, "scripted", bridge.homeserver.bot, True),
    ):
        room = bridge.alice.create_room(invite=[bridge.homeserver.bot, other.id])
        if present:
            other.join(room)
        _tell(bridge, room, protocol, bot=bot)
        if allowed:
            assert "is now bridged" in await _bridge(bridge, room)
        else:
            with pytest.raises(RejectedError, match="as well"):
                await _bridge(bridge, room)
            assert not bridge.running.engine.portals.in_room(RoomId(room))


async def test_another_bridge_that_comes_later_stops_ours_until_it_is_gone(bridge: Harness, script: Script) -> None:
    """Nothing crosses in either direction, also after a restart, and the room is told by whom; then it goes on."""
    other = bridge.homeserver.user("otherbot")
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot, other.id])
    other.join(room)
    await _bridge(bridge, room)
    _tell(bridge, room, bot=other.id)
    await bridge.settled()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    bridge.alice.send(room, "out")
    await receive(bridge, script, say("in", chat="attic"))
    assert script.sent == [] and said(bridge, room, "bob") == []
    assert any(other.id in text and "Nothing crosses" in text for text in notices(bridge, room))
    _tell(bridge, room, bot=other.id, gone=True)
    await bridge.settled()
    bridge.alice.send(room, "out again")
    await receive(bridge, script, say("in again", chat="attic"))
    assert script.texts() == ["out again"] and said(bridge, room, "bob") == ["in again"]
