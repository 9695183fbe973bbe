"""Rooms whose members an adapter names, and users whom it asks for, on a real Synapse."""

from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, RemoteUserId, UserId
from bridge_core.demo.matrix_client import MatrixError
from bridge_core.engine import named
from tests.real import Ground
from tests.scripted import Script

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="session")]

DEAD = UserId("@eve:dead.invalid")


async def test_who_is_named_is_in_the_rooms(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead server keeps nobody else out and no room from being made; who comes sees its first words; who is taken out
    is out; who was banned comes when the ban is over. The homeserver tells which users it has."""
    monkeypatch.setattr(named, "_RETRY", (0, 0))
    script = Script()
    adapters: dict[str, Any] = {"scripted": script}
    networks = {"insp": {"type": "scripted", "portal_join_rule": "invite"}}
    bridge = ground.bridge(tmp_path, networks, adapters=adapters)
    chat = ChatId(f"den{next(ground.numbers)}")
    async with await ground.client("alice") as alice, await ground.client("bob") as bob:
        await bridge.start_bridge()
        try:
            host, engine = script.host, bridge.running.engine
            assert host is not None
            people = UserId(alice.user_id), UserId(bob.user_id)
            await host.rooms.open(chat, (DEAD, people[0]))
            row = await engine.portals.ensure(NetworkId("insp"), chat)
            assert script.inbox is not None
            first = Content((Plain("the first words"),))
            await script.inbox.receive([RemoteMessage(chat, RemoteSender(RemoteUserId("bob"), "Bob"), first)])
            room = await engine.rooms.ensure(row)
            await bridge.settled()
            await alice.join(room)
            await alice.wait_for_message(room, "the first words")
            await bridge.running.matrix.ban(room, people[1])
            await host.rooms.open(chat, (DEAD, *people))
            await bridge.running.matrix.unban(room, people[1])
            await host.rooms.open(chat, (DEAD, *people))
            await bob.join(room)
            await host.rooms.open(chat, (people[1],))
            ghost = UserId("@_insp_bob:hs.test")
            assert set(await bridge.running.matrix.members(room)) == {bridge.running.matrix.bot, ghost, people[1]}
            with pytest.raises(MatrixError):
                await alice.join(room)
            assert await host.local_user("alice") == people[0]
            assert await host.local_user("nobody.at.all") is None
        finally:
            await bridge.stop_bridge()
