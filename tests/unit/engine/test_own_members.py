"""An invitation on a network lets a user into the rooms that the bridge made for the chat, and into no others."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.events import Membership, RemoteMember, RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.engine.permissions import Permission
from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script

CHAT = ChatId("lobby")
ANYBODY = RemoteSender(RemoteUserId("anybody"), "Anybody")


@pytest.fixture(name="script")
def _script() -> Script:
    made = Script()
    made.provided = True
    return made


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _eve(bridge: Harness, script: Script) -> tuple[FakeUser, RemoteSender, str]:
    """A user with a connection of her own, who left the room that the bridge made; that room."""
    eve = bridge.homeserver.user("eve")
    room = await bridge.portal_room("net", "lobby")
    eve.join(room)
    eve.send(room, "hello")
    await bridge.until(lambda: script.sent)
    eve.leave(room)
    await bridge.settled()
    network = bridge.running.networks.get(script.network)
    assert network is not None
    return eve, RemoteSender(RemoteUserId("eve"), "Eve", network.logins(UserId(eve.id))[0].id), room


async def _invited(bridge: Harness, script: Script, who: RemoteSender) -> None:
    assert script.inbox is not None
    await script.inbox.receive([RemoteMember(CHAT, who, Membership.INVITE, ANYBODY)])
    await bridge.settled()


@pytest.mark.parametrize("membership", [Membership.INVITE, Membership.JOIN])
async def test_nobody_is_invited_to_a_room_that_was_there_before(
    bridge: Harness, script: Script, membership: Membership
) -> None:
    """Anybody on the network can invite: a plumbed private room is told of it, and lets nobody in."""
    eve, me, room = await _eve(bridge, script)
    secret = bridge.alice.create_room(invite=[bridge.homeserver.bot], preset="private_chat")
    engine = bridge.running.engine
    portal = engine.portals.get(PortalKey(NetworkId("net"), CHAT))
    assert portal is not None
    await engine.rooms.adopt(portal, RoomId(secret), by=bridge.alice.id)
    assert script.inbox is not None
    await script.inbox.receive([RemoteMember(CHAT, me, membership, ANYBODY)])
    await bridge.settled()
    assert bridge.homeserver.room(room).membership(eve.id) == "invite"
    assert bridge.homeserver.room(secret).membership(eve.id) is None
    told = [text for _, text in bridge.homeserver.messages(secret) if eve.id in str(text)]
    assert told == (
        []
        if membership is Membership.JOIN
        else [
            f"{eve.id} was invited by Anybody to lobby on Scripted, but not to this room: who may invite people "
            "here can do so."
        ]
    )


async def test_who_may_not_use_the_bridge_is_not_invited(bridge: Harness, script: Script) -> None:
    """A user whose permission was taken back is let in nowhere because somebody there invites them."""
    eve, me, room = await _eve(bridge, script)
    permissions = bridge.running.whomay.permissions
    permissions.configured = lambda user: Permission.RELAY if user == eve.id else Permission.USER
    permissions.changed()
    await _invited(bridge, script, me)
    assert bridge.homeserver.room(room).membership(eve.id) == "leave"


async def test_who_opted_out_is_not_invited(bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who opted out while their own connection is still there is not bothered with invitations."""
    eve, me, room = await _eve(bridge, script)
    optouts = bridge.running.whomay.optouts

    async def stays(network: NetworkId, user: UserId) -> None:
        pass

    monkeypatch.setattr(optouts, "_leave", stays)
    await optouts.opt_out(UserId(eve.id))
    await _invited(bridge, script, me)
    assert bridge.homeserver.room(room).membership(eve.id) == "leave"
