"""By default a room is bridged to a channel over the relay, by the word of an operator, and as long as it holds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId, UserId
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import Bridged
from tests.harness import Harness

ADMIN = UserId("@admin:hs.test")
GHOST = "@_irc_bob:hs.test"


@pytest.fixture(name="bob")
async def _bob(server: DemoIrcServer) -> AsyncIterator[Witness]:
    """The channel's operator."""
    bob = await Witness.connect("127.0.0.1", int(server.port or 0), "bob")
    await bob.join("#den")
    yield bob
    await bob.close()


@pytest.fixture(name="bridge")
async def _bridge(bridged: Bridged, server: DemoIrcServer) -> AsyncIterator[Harness]:
    """A bridge that was granted nothing."""
    async with bridged(leave_grace="0s") as bridge:
        yield bridge


async def _call(bridge: Harness, key: str, room: str | None = None, **arguments: str) -> str:
    where = RoomId(room) if room else None
    return (await bridge.running.engine.commands.call(ADMIN, key, {"network": "irc", **arguments}, where)).text


def _bodies(bridge: Harness, room: str, sender: str = "") -> list[str]:
    return [str(body) for who, body in bridge.homeserver.messages(room) if not sender or who == sender]


async def _plumbed(bridge: Harness, bob: Witness) -> str:
    """A room that bob, the operator, allowed to be bridged."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    assert "I have asked" in await _call(bridge, "bridge", room, chat="#den")
    await bob.wait_text("asks to bridge this channel")
    bridge.alice.send(room, "too early")
    await bridge.until(lambda: any("has not agreed yet" in text for text in _bodies(bridge, room)))
    bob.privmsg("#den", "not for Matrix")
    bob.privmsg("#den", "!bridge allow")
    await bridge.until(lambda: any("From now on messages cross" in text for text in _bodies(bridge, room)))
    return room


async def test_a_channel_is_asked_then_bridged_then_left(bridge: Harness, bob: Witness) -> None:
    """Both ways after the yes and nothing before; after the operator's no nothing, our users leave, and nobody asks."""
    room = await _plumbed(bridge, bob)
    bob.privmsg("#den", "hello Matrix")
    await bridge.until(lambda: _bodies(bridge, room, GHOST) == ["hello Matrix"])
    bridge.alice.send(room, "hello IRC")
    await bob.wait_text("hello IRC")
    assert not [line for line in bob.messages("#den") if "too early" in line.text]
    bob.raw("KICK #den relay :out")
    there = bridge.homeserver.room(room)
    await bridge.until(
        lambda: any("does not want this chat to be bridged" in text for text in _bodies(bridge, room)), 30
    )
    await bridge.until(lambda: there.membership(GHOST) == "leave")
    bob.privmsg("#den", "just us")
    bridge.alice.send(room, "anybody?")
    await bob.sync()
    await bridge.settled()
    assert _bodies(bridge, room, GHOST) == ["hello Matrix"]
    assert not [line for line in bob.messages("#den") if "anybody" in line.text]
    again = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    with pytest.raises(RejectedError, match="does not want"):
        await _call(bridge, "bridge", again, chat="#den")


async def test_nothing_else_is_possible_without_a_grant(bridge: Harness, bob: Witness) -> None:
    """No portal, no private message, no connection of one's own: only what the channel's operator allowed."""
    room = await _plumbed(bridge, bob)
    with pytest.raises(RejectedError, match="make rooms"):
        await _call(bridge, "portal", chat="#other")
    with pytest.raises(RejectedError, match="private messages"):
        await _call(bridge, "chat", person="bob")
    bridge.alice.send(room, "by the relay")
    line = await bob.wait_text("by the relay")
    assert line.nick == "relay"
    network: Any = bridge.running.networks.get("irc")  # type: ignore[arg-type]
    assert network.logins() == []
