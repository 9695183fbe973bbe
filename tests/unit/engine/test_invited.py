"""Ghosts that people invite: who can be written to comes, who cannot says why they do not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import NetworkId, RemoteUserId, RoomId, UserId
from tests.harness import Harness
from tests.scripted import Script, ScriptedConnector

HAL = "@_net_hal:hs.test"
NO_LOGIN = "you need a login on that network for private chats"


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    async with Harness(tmp_path, {"net": {"type": "scripted"}}, {"scripted": script}) as harness:
        yield harness


def _member(bridge: Harness, room: str, user: str) -> dict[str, Any]:
    return bridge.homeserver.room(room).content("m.room.member", user) or {}


async def _answer(bridge: Harness, room: str, user: str) -> str:
    """Why they do not come."""
    await bridge.homeserver.wait_for(lambda: _member(bridge, room, user).get("membership") == "leave")
    return str(_member(bridge, room, user).get("reason"))


async def test_somebody_who_never_spoke_can_be_invited(bridge: Harness, script: Script) -> None:
    """Whoever can be named can be written to: their ghost is made, and what is said reaches them."""
    script.provided = True
    room = bridge.alice.create_room(preset="private_chat", invite=[HAL])
    await bridge.homeserver.wait_for(lambda: _member(bridge, room, HAL).get("membership") == "join")
    bridge.alice.send(room, "hello")
    await bridge.until(lambda: script.texts() == ["hello"])
    assert script.sent[0][1].chat == "dm-hal"


async def test_a_private_chat_that_was_cut_off_is_made_to_its_end(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails between the steps of making a private chat is done at the next try: the bot is there in the end."""
    script.provided = True
    matrix, tries = bridge.running.matrix, []
    invite = matrix.invite

    async def fails(room: RoomId, user: UserId, inviter: UserId | None = None) -> None:
        tries.append(user)
        if len(tries) == 1:
            raise TransientError("the homeserver answered 502")
        await invite(room, user, inviter)

    monkeypatch.setattr(matrix, "invite", fails)
    room = bridge.alice.create_room(preset="private_chat", invite=[HAL])
    await bridge.homeserver.wait_for(lambda: _member(bridge, room, bridge.homeserver.bot).get("membership") == "join")
    assert tries == [bridge.homeserver.bot] * 2
    bridge.alice.send(room, "hello")
    await bridge.until(lambda: script.texts() == ["hello"])


@pytest.mark.parametrize("known", [False, True])
async def test_who_cannot_be_written_to_says_why(bridge: Harness, script: Script, known: bool) -> None:
    """Their ghost declines with the reason, also where it had to join to look; a management room is told, too."""
    if known:
        await bridge.running.engine.ghosts.ensure(NetworkId("net"), RemoteSender(RemoteUserId("hal"), "Hal"))
    desk = bridge.alice.create_room(preset="private_chat", invite=[bridge.homeserver.bot])
    await bridge.homeserver.wait_message(desk, "Hello! This is your management room. Say help for what I can do.")
    room = bridge.alice.create_room(preset="private_chat", invite=[HAL])
    assert await _answer(bridge, room, HAL) == NO_LOGIN
    await bridge.homeserver.wait_message(desk, f"{HAL} does not come into {room}: {NO_LOGIN}")
    # They can be asked again.
    script.provided = True
    bridge.alice.invite(room, HAL)
    await bridge.homeserver.wait_for(lambda: _member(bridge, room, HAL).get("membership") == "join")
    bridge.alice.send(room, "hello")
    await bridge.until(lambda: script.texts() == ["hello"])


async def test_a_name_that_is_no_bodys(bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name that the network does not allow, or that is not the one somebody is known by, no ghost is made."""
    script.provided = True
    desk = bridge.alice.create_room(preset="private_chat", invite=[bridge.homeserver.bot])
    await bridge.homeserver.wait_message(desk, "Hello! This is your management room. Say help for what I can do.")
    monkeypatch.setattr(ScriptedConnector, "person", lambda self, text: RemoteUserId("henry"))
    room = bridge.alice.create_room(preset="private_chat", invite=[HAL])
    await bridge.homeserver.wait_message(desk, f"{HAL} does not come into {room}: they are @_net_henry:hs.test")

    def refuses(self: object, text: str) -> RemoteUserId:
        raise ValueError("that is no name")

    monkeypatch.setattr(ScriptedConnector, "person", refuses)
    bridge.alice.invite(room, "@_net_dave:hs.test")
    await bridge.homeserver.wait_message(desk, f"@_net_dave:hs.test does not come into {room}: that is no name")
    assert not {HAL, "@_net_dave:hs.test"} & set(bridge.homeserver._world.accounts)


async def test_nobody_makes_accounts_without_end(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was never seen is an account of the homeserver from then on: a user makes so many in an hour by inviting."""
    monkeypatch.setattr("bridge_core.engine.private._MOST_NEW", 2)
    matrix, tries = bridge.running.matrix, []
    register = matrix.ensure_registered

    async def fails(user: UserId) -> str | None:
        tries.append(user)
        if len(tries) < 4:
            raise TransientError("the homeserver answered 502")  # a try that made nobody does not count
        return await register(user)

    monkeypatch.setattr(matrix, "ensure_registered", fails)
    rooms = [bridge.alice.create_room(preset="private_chat", invite=[f"@_net_p{number}:hs.test"]) for number in (1, 2)]
    for number, room in enumerate(rooms, 1):
        assert await _answer(bridge, room, f"@_net_p{number}:hs.test") == NO_LOGIN
    desk = bridge.alice.create_room(preset="private_chat", invite=[bridge.homeserver.bot])
    await bridge.homeserver.wait_message(desk, "Hello! This is your management room. Say help for what I can do.")
    room = bridge.alice.create_room(preset="private_chat", invite=["@_net_p3:hs.test"])
    words = f"@_net_p3:hs.test does not come into {room}: you have invited many people whom I have never seen"
    await bridge.homeserver.wait_event(desk, lambda event: words in str(event["content"].get("body")))
    assert "@_net_p3:hs.test" not in bridge.homeserver._world.accounts


async def test_nobody_new_comes_into_a_bridged_room(bridge: Harness, script: Script) -> None:
    """A bridged chat has who is there: whoever invites somebody else is told in the room."""
    script.provided = True
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.invite(room, HAL)
    await bridge.homeserver.wait_message(room, "there is nobody of that name")
    assert _member(bridge, room, HAL).get("membership") == "invite"
