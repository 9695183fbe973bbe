"""The command `relay`: who may turn the relay on and off in a room, and how long that holds."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.invariants.scenes import notices
from tests.scripted import Script


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks: dict[str, dict[str, Any]] = {
        "net": {"type": "scripted", "portals": ["lobby"]},
        "quiet": {"type": "scripted", "portals": ["lobby"], "relay": {"enabled": False}},
    }
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _told(bridge: Harness, user: FakeUser, room: str, text: str) -> str:
    """What the bot says to something that a user says."""
    before = len(notices(bridge, room))
    user.send(room, text)
    await bridge.until(lambda: len(notices(bridge, room)) > before)
    await bridge.settled()
    return "\n".join(notices(bridge, room)[before:])


async def _plumbed(bridge: Harness, network: str) -> str:
    """A room of alice's that is bridged to the lobby."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    await bridge.settled()
    assert "bridged to lobby" in await _told(bridge, bridge.alice, room, f"!bridge bridge {network} lobby")
    return room


async def test_whoever_may_change_the_room_turns_it_off(bridge: Harness, script: Script) -> None:
    """A moderator turns the relay off, also over a restart, and on again; another member may look only."""
    room = await _plumbed(bridge, "net")
    mallory = bridge.homeserver.user("mallory")
    bridge.alice.invite(room, mallory.id)
    mallory.join(room)
    assert "the relay speaks" in await _told(bridge, mallory, room, "!bridge relay")
    assert "you may not change the settings" in await _told(bridge, mallory, room, "!bridge relay off")
    assert "say relay on or relay off" in (await _told(bridge, bridge.alice, room, "!bridge relay away")).lower()
    assert "only people with a login" in await _told(bridge, bridge.alice, room, "!bridge relay off")
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert "there is no relay" in await _told(bridge, bridge.alice, room, "unheard")
    assert "the relay speaks" in await _told(bridge, bridge.alice, room, "!bridge relay on")
    bridge.alice.send(room, "heard")
    await bridge.settled()
    assert script.texts() == ["heard"]


async def test_only_an_admin_gives_more_than_the_configuration(bridge: Harness, script: Script) -> None:
    """Where a network has no relay, a moderator cannot have one; an admin can."""
    room = await _plumbed(bridge, "quiet")
    assert "ask the admin" in await _told(bridge, bridge.alice, room, "!bridge relay on")
    admin = bridge.homeserver.user("admin")
    bridge.alice.invite(room, admin.id)
    admin.join(room)
    assert "the relay speaks" in await _told(bridge, admin, room, "!bridge relay on")
    bridge.alice.send(room, "heard")
    await bridge.settled()
    assert script.texts() == ["heard"]


async def test_every_room_of_the_chat_is_asked(bridge: Harness) -> None:
    """Who may change one of a chat's rooms does not decide for its others."""
    await bridge.portal_room("net", "lobby")
    room = await _plumbed(bridge, "net")
    assert "you may not change the settings of all" in await _told(bridge, bridge.alice, room, "!bridge relay off")
