"""Rooms of portals: what was begun is finished, and nobody waits for a room that will never be."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.ids import ChatId, NetworkId, UserId
from tests.harness import Harness
from tests.scripted import Script, ScriptedClient

NET = NetworkId("net")
NETWORKS = {"net": {"type": "scripted", "portals": ["lobby"]}}


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    async with Harness(tmp_path, NETWORKS, {"scripted": script}) as harness:
        yield harness


async def _query(bridge: Harness, alias: str) -> int:
    url = f"http://127.0.0.1:{bridge.port}/_matrix/app/v1/rooms/%23{alias}:hs.test"
    headers = {"Authorization": f"Bearer {bridge.appservice.hs_token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status


async def _helped(bridge: Harness) -> None:
    """Ask for help in a room of the user and the bot, and wait for the answer."""
    room = bridge.alice.create_room()
    bridge.alice.invite(room, bridge.homeserver.bot)
    await bridge.until(lambda: bridge.homeserver.room(room).membership(bridge.homeserver.bot) == "join")
    bridge.alice.send(room, "help")
    await bridge.until(lambda: any("end all bridging" in body for _, body in bridge.homeserver.messages(room)))


async def _marked(bridge: Harness, network: str, *chats: str) -> None:
    """Leave the marks of rooms that a process which crashed was making."""
    portals = bridge.running.engine.portals
    for chat in chats:
        await portals.making(await portals.ensure(NetworkId(network), ChatId(chat)))


async def test_a_room_whose_making_failed_is_made_later(bridge: Harness) -> None:
    """The query is answered with an error, the room is made in the background, and other rooms are heard again."""
    bridge.homeserver.faults.answer(500, times=2, match="createRoom")
    assert await _query(bridge, "_net_lobby") == 503
    await _helped(bridge)
    assert bridge.running.engine.portals.unfinished() == []
    assert bridge.homeserver.room("#_net_lobby:hs.test").content("m.room.name") == {"name": "The lobby"}


async def test_a_refused_room_keeps_nobody_waiting(bridge: Harness) -> None:
    """When the homeserver refuses the room after an error, the mark goes too."""
    bridge.homeserver.faults.answer(500, times=1, match="createRoom")
    bridge.homeserver.faults.answer(403, times=1, match="createRoom", errcode="M_FORBIDDEN")
    assert await _query(bridge, "_net_lobby") == 503
    await bridge.until(lambda: not bridge.running.engine.portals.unfinished())
    await _helped(bridge)
    assert len(bridge.homeserver.rooms()) == 1


async def test_a_network_that_is_gone_blocks_nothing(bridge: Harness) -> None:
    """A room that was begun for a network which left the configuration is given up; others are finished."""
    await _marked(bridge, "other", "z")
    await _marked(bridge, "net", "lobby", "second")
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await bridge.until(lambda: not bridge.running.engine.portals.unfinished())
    assert bridge.homeserver.room("#_net_second:hs.test").id
    await _helped(bridge)


@pytest.mark.parametrize("error", [RejectedError("no"), NotConnectedError("away"), ValueError("a bug")])
async def test_a_chat_that_cannot_be_described_has_a_room(
    bridge: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What a network knows of a chat is for show: without it the room that was begun is finished, and later ones."""

    async def fails(client: Any, chat: str) -> None:
        if chat == "lobby":
            raise error

    await _marked(bridge, "net", "lobby", "second")
    await bridge.stop_bridge()
    monkeypatch.setattr(ScriptedClient, "chat_info", fails)
    await bridge.start_bridge()
    await bridge.until(lambda: not bridge.running.engine.portals.unfinished())
    assert bridge.homeserver.room("#_net_lobby:hs.test").content("m.room.name") == {"name": "lobby"}
    assert bridge.homeserver.room("#_net_second:hs.test").id


@pytest.mark.parametrize(("rule", "effect"), [(None, "public"), ("public", "public"), ("invite", "invite")])
async def test_a_network_chooses_who_may_join(tmp_path: Path, rule: str | None, effect: str) -> None:
    """Rooms are public, or for the invited alone; what was said before is read by nobody who joins later."""
    more = {"portal_join_rule": rule} if rule else {}
    networks = {"net": {**NETWORKS["net"], **more}}
    async with Harness(tmp_path, networks, {"scripted": Script()}) as bridge:
        engine = bridge.running.engine
        room = bridge.homeserver.room(await engine.rooms.ensure(await engine.portals.ensure(NET, ChatId("lobby"))))
        assert room.content("m.room.join_rules") == {"join_rule": effect}
        assert room.content("m.room.history_visibility") == {"history_visibility": "joined"}


async def test_who_is_named_sees_what_the_room_began_with(tmp_path: Path) -> None:
    """Named members see what was said between their invitation and their coming; nobody else does."""
    script = Script()
    async with Harness(tmp_path, NETWORKS, {"scripted": script}) as bridge:
        assert script.host is not None
        await script.host.rooms.open(ChatId("den"), (UserId("@alice:hs.test"),))
        engine = bridge.running.engine
        room = bridge.homeserver.room(await engine.rooms.ensure(await engine.portals.ensure(NET, ChatId("den"))))
        assert room.content("m.room.history_visibility") == {"history_visibility": "invited"}


@pytest.mark.parametrize("on", [False, True])
async def test_an_alias_makes_a_portal_where_that_is_configured(tmp_path: Path, on: bool) -> None:
    """Asking for the alias of a valid chat makes its portal, within the filters and an hourly bound, and only if on."""
    chats = {"allow": ["#*"], "deny": ["#secret*"]}
    networks = {"net": {"type": "scripted", "create_by_alias": on, "portal_filter": chats}}
    async with Harness(tmp_path, networks, {"scripted": Script()}) as bridge:
        assert await _query(bridge, "_net_=23new") == (200 if on else 404)
        for refused in ("_net_new", "_net_=23secrets", "_net_=23a=20b", "_other_=23new"):
            assert await _query(bridge, refused) == 404
        assert len(bridge.running.engine.portals) == int(on)
        answers = [await _query(bridge, f"_net_=23c{number}") for number in range(70)]
        assert answers.count(200) == (59 if on else 0)
        assert len(bridge.running.engine.portals) == (60 if on else 0)
