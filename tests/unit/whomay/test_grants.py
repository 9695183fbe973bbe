"""What a network has not granted is refused, by whatever way it is asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Grant
from bridge_core.app.queries import EngineQueries
from bridge_core.engine.portals import MADE_BY
from tests.harness import Harness
from tests.invariants.scenes import BOB, balances, notices, receive, said, say
from tests.scripted import Script

NET = NetworkId("net")
ADMIN = UserId("@admin:hs.test")


@asynccontextmanager
async def _withholding(folder: Path, *grants: str, **options: Any) -> AsyncIterator[tuple[Harness, Script]]:
    script = Script()
    script.withheld = frozenset(Grant)
    script.provided = True
    net = {"type": "scripted", "portals": ["lobby"], "grants": list(grants), **options}
    async with Harness(folder, {"net": net}, {"scripted": script}) as bridge:
        yield bridge, script


async def _call(bridge: Harness, key: str, room: str | None = None, **arguments: str) -> str:
    """A command by the API."""
    answer = await bridge.running.engine.commands.call(ADMIN, key, arguments, RoomId(room) if room else None)
    return answer.text


async def test_no_room_is_made_on_demand(tmp_path: Path) -> None:
    """By command, API, alias, and for what is said in a chat whose own room was lost: without a grant there is none."""
    async with _withholding(tmp_path, create_by_alias=True) as (bridge, script):
        before = len(bridge.homeserver.rooms())
        with pytest.raises(RejectedError, match="make rooms"):
            await _call(bridge, "portal", network="net", chat="attic")
        assert not await EngineQueries(bridge.running.engine).room("#_net_attic:hs.test")
        await bridge.running.engine.portals.ensure(NET, ChatId("attic"), options={MADE_BY: ADMIN})
        await receive(bridge, script, say("hello", BOB, "attic"))
        with pytest.raises(RejectedError, match="make rooms"):
            await EngineQueries(bridge.running.engine).room("#_net_attic:hs.test")
        assert len(bridge.homeserver.rooms()) == before
        assert (await balances(bridge))["net", 1].rejected == 1


async def test_a_room_that_is_there_and_a_configured_chat_need_no_grant(tmp_path: Path) -> None:
    """A plumbed room and a portal of the configuration are bridged, by the relay."""
    async with _withholding(tmp_path) as (bridge, script):
        room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
        await _call(bridge, "bridge", room, network="net", chat="attic")
        lobby = await bridge.portal_room("net", "lobby")
        await receive(bridge, script, say("one", BOB, "attic"), say("two"))
        assert said(bridge, room, "bob") == ["one"]
        assert said(bridge, lobby, "bob") == ["two"]
        bridge.alice.send(lobby, "three")
        bridge.alice.send(room, "four")
        await bridge.settled()
        assert [(login, message.relayed) for login, message in script.sent] == [(None, True)] * 2  # type: ignore[union-attr]


async def test_a_grant_that_ends_closes_what_it_opened(tmp_path: Path) -> None:
    """A portal made while the network allowed it carries nothing once it does not."""
    async with _withholding(tmp_path, "portals") as (bridge, script):
        await _call(bridge, "portal", network="net", chat="attic")
        room = await bridge.portal_room("net", "attic")
        await receive(bridge, script, say("one", BOB, "attic"))
        await bridge.stop_bridge()
        bridge.networks = {"net": {**bridge.networks["net"], "grants": []}}
        await bridge.start_bridge()
        await receive(bridge, script, say("two", BOB, "attic"))
        bridge.alice.send(room, "anybody?")
        await bridge.settled()
        assert said(bridge, room, "bob") == ["one"] and script.sent == []
        assert any("make rooms" in text for text in notices(bridge, room))


async def test_nobody_is_written_to_in_private(tmp_path: Path) -> None:
    """By command, by an invitation of a ghost, or as an answer: without a grant nothing leaves, which is said."""
    async with _withholding(tmp_path, "puppets") as (bridge, script):
        with pytest.raises(RejectedError, match="private messages"):
            await _call(bridge, "chat", network="net", person="bob")
        await bridge.running.networks.get(NET)._provide(_sender(bridge))  # type: ignore[union-attr]
        await receive(bridge, script, say("psst", BOB, "dm-bob", receiver=bridge.alice.id))
        room = _private(bridge)
        bridge.alice.join(room)
        bridge.alice.send(room, "yes?")
        bridge.alice.send(room, "hello?")
        await bridge.settled()
        assert said(bridge, room, "bob") == ["psst"] and script.sent == []
        assert len([text for text in notices(bridge, room) if "private messages" in text]) == 1
        other = bridge.alice.create_room(preset="private_chat")
        bridge.alice.invite(other, "@_net_bob:hs.test")
        await bridge.settled()
        assert not bridge.running.engine.portals.in_room(RoomId(other))


async def test_replies_may_be_granted_alone(tmp_path: Path) -> None:
    """Who wrote first is answered; nobody else is written to."""
    async with _withholding(tmp_path, "puppets", "private_replies") as (bridge, script):
        await bridge.running.networks.get(NET)._provide(_sender(bridge))  # type: ignore[union-attr]
        await receive(bridge, script, say("psst", BOB, "dm-bob", receiver=bridge.alice.id))
        room = _private(bridge)
        bridge.alice.join(room)
        bridge.alice.send(room, "yes?")
        await bridge.settled()
        assert script.texts() == ["yes?"]
        with pytest.raises(RejectedError, match="private messages"):
            await _call(bridge, "chat", network="net", person="carol")


async def test_without_a_grant_nobody_has_a_connection(tmp_path: Path) -> None:
    """No login is provided, none can be made, and one that was made while it was allowed is not used."""
    async with _withholding(tmp_path, "puppets") as (bridge, script):
        room = await bridge.portal_room("net", "lobby")
        bridge.alice.send(room, "one")
        await bridge.settled()
        await bridge.stop_bridge()
        bridge.networks = {"net": {**bridge.networks["net"], "grants": []}}
        await bridge.start_bridge()
        bridge.alice.send(room, "two")
        await bridge.settled()
        assert [login for login, _ in script.sent] == [bridge.alice.id, None]
        with pytest.raises(RejectedError, match="connections of its users"):
            await bridge.running.engine.logins.begin(UserId(bridge.alice.id), NET, "password")


def _sender(bridge: Harness) -> MatrixSender:
    return MatrixSender(UserId(bridge.alice.id), "Alice")


def _private(bridge: Harness) -> str:
    portals = bridge.running.engine.portals
    row = portals.get(PortalKey(NET, ChatId("dm-bob"), bridge.alice.id))  # type: ignore[arg-type]
    assert row is not None and row.rooms
    return str(row.rooms[0])
