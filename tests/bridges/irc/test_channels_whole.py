"""Channels and the rooms that the bridge made for them, whole: both are as open, and lose nobody's words over it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge_core.api.ids import ChatId, NetworkId
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import Bridged
from tests.harness import Harness

GHOST = "@_irc_bob:hs.test"
OTHER = "@_irc_eve:hs.test"


@pytest.fixture(name="people")
async def _people(server: DemoIrcServer) -> AsyncIterator[tuple[Witness, Witness]]:
    """The channel's operator, and somebody else there."""
    bob, eve = [await Witness.connect("127.0.0.1", int(server.port or 0), nick) for nick in ("bob", "eve")]
    for person in (bob, eve):
        await person.join("#den")
    yield bob, eve
    for person in (bob, eve):
        await person.close()


@pytest.fixture(name="bridge")
async def _bridge(bridged: Bridged, server: DemoIrcServer, people: tuple[Witness, Witness]) -> AsyncIterator[Harness]:
    async with bridged(
        portals=["#den"],
        grants=["portals", "puppets"],
        members="eager",
        leave_grace=0,
        channels={"staff_messages": "show"},
    ) as bridge:
        yield bridge


async def _room(bridge: Harness) -> str:
    """The channel's room, alice in it."""
    engine = bridge.running.engine
    room = await engine.rooms.ensure(await engine.portals.ensure(NetworkId("irc"), ChatId("#den")))
    bridge.alice.join(room)
    return room


def _state(bridge: Harness, room: str, kind: str) -> dict[str, Any]:
    return bridge.homeserver.room(room).content(kind) or {}


def _bodies(bridge: Harness, room: str, sender: str) -> list[str]:
    return [str(body) for who, body in bridge.homeserver.messages(room) if who == sender]


async def test_a_moderated_channel_silences_its_room_and_loses_nothing(
    bridge: Harness, people: tuple[Witness, Witness]
) -> None:
    """While +m is on, users without voice cannot speak, and IRC people who can are shown; -m frees the room."""
    bob, eve = people
    room = await _room(bridge)
    bob.raw("MODE #den +m")
    await bridge.until(lambda: _state(bridge, room, "m.room.power_levels").get("events_default") == 1)
    bob.raw("MODE #den +v eve")
    eve.privmsg("#den", "with a voice")
    await bridge.until(lambda: _bodies(bridge, room, OTHER) == ["with a voice"])
    bob.raw("MODE #den -m")
    bob.raw("MODE #den -v eve")
    eve.privmsg("#den", "without one")
    await bridge.until(lambda: _bodies(bridge, room, OTHER) == ["with a voice", "without one"])
    await bridge.until(lambda: _state(bridge, room, "m.room.power_levels").get("events_default") == 0)
    bridge.alice.send(room, "and I")
    await bob.wait_text("and I")


async def test_a_closed_channel_has_a_closed_room(bridge: Harness, people: tuple[Witness, Witness]) -> None:
    """Who may enter the room follows the channel, and a secret channel is in no list."""
    bob, _ = people
    room = await _room(bridge)
    await bridge.until(lambda: _state(bridge, room, "m.room.join_rules").get("join_rule") == "public")
    bob.raw("MODE #den +is")
    await bridge.until(lambda: _state(bridge, room, "m.room.join_rules").get("join_rule") == "invite")
    portal = bridge.running.engine.portals
    (row,) = [row for row in portal.all() if row.chat == ChatId("#den")]
    await bridge.until(lambda: bool((portal.by_id(row.id) or row).options.get("unlisted")))
    bob.raw("MODE #den -is")
    await bridge.until(lambda: _state(bridge, room, "m.room.join_rules").get("join_rule") == "public")


async def test_words_for_operators_are_not_shown_to_others(bridge: Harness, people: tuple[Witness, Witness]) -> None:
    """What is said to @#den is counted and not shown in a room where others read along, whatever is configured."""
    bob, eve = people
    room = await _room(bridge)
    bob.raw("MODE #den +o relay")
    await bob.wait_for(lambda line: line.command == "MODE" and "relay" in line.params)
    bob.privmsg("@#den", "between operators")
    bob.privmsg("#den", "for all")
    await bridge.until(lambda: _bodies(bridge, room, GHOST) == ["for all"])
    await bridge.settled()
    assert _bodies(bridge, room, GHOST) == ["for all"]
    await eve.sync()


async def test_a_split_empties_no_room(bridge: Harness, server: DemoIrcServer, people: tuple[Witness, Witness]) -> None:
    """People who are split away stay in the room, and speak there again when they are back."""
    bob, eve = people
    room = await _room(bridge)
    there = bridge.homeserver.room(room)
    await bridge.until(lambda: there.membership(OTHER) == "join")
    server.split("eve")
    await bob.wait_for(lambda line: line.command == "QUIT" and line.nick == "eve")
    bob.privmsg("#den", "are you there?")
    await bridge.until(lambda: "are you there?" in _bodies(bridge, room, GHOST))
    server.heal()
    await bob.wait_for(lambda line: line.command == "JOIN" and line.nick == "eve")
    eve.privmsg("#den", "I am back")
    await bridge.until(lambda: _bodies(bridge, room, OTHER) == ["I am back"])
    await bridge.settled()
    states = [event for event in there.timeline if event["type"] == "m.room.member" and event["state_key"] == OTHER]
    assert [event["content"]["membership"] for event in states][-1] == "join"
    assert "leave" not in [event["content"]["membership"] for event in states]
    assert bridge.running.networks.get(NetworkId("irc")) is not None
