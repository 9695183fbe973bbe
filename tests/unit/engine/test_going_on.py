"""What a room refuses since the chat goes on in another one is looked at again for that one."""

import re
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import TransientError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.engine.store_ports import PortalRow
from tests.harness import Harness
from tests.scripted import Script

CHAT = ChatId("lobby")
BOB = RemoteSender(RemoteUserId("bob"), "Bob")


@pytest.mark.parametrize("least", [None, 50])
async def test_words_for_some_are_for_some_in_the_new_room_too(tmp_path: Path, least: int | None) -> None:
    """What all who read the old room may read is not shown in a new one that others can read."""
    script = Script()
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        old = await bridge.portal_room("net", "lobby")
        state = bridge.homeserver.room(old).current["m.room.power_levels", ""]
        levels = state["content"]
        state["content"] = {**levels, "users": {**levels["users"], bridge.alice.id: 50}}
        new = bridge.alice.create_room(
            invite=[bridge.homeserver.bot], preset="public_chat", power_level_content_override={"events_default": 0}
        )
        engine = bridge.running.engine
        await bridge.running.matrix.join(RoomId(new), engine.names.bot)

        async def elsewhere(room: RoomId) -> RoomId | None:
            portal = engine.portals.get(PortalKey(NetworkId("net"), CHAT))
            assert portal is not None
            if room in portal.rooms and room == old:
                await engine.portals.replace_room(portal, room, RoomId(new))
            return RoomId(new) if room == old else None

        engine.incoming.look(elsewhere)
        refused = f"{re.escape(old)}/send/"
        bridge.homeserver.faults.answer(403, times=1_000, match=refused, errcode="M_FORBIDDEN")
        assert script.inbox is not None
        await script.inbox.receive([RemoteMessage(CHAT, BOB, Content((Plain("hush"),)), least_power=least)])
        await bridge.settled()
        shown = [text for who, text in bridge.homeserver.messages(new) if who.startswith("@_net_bob")]
        assert shown == ([] if least else ["hush"])


@pytest.mark.parametrize("late", ["said", "joined", "planned"])
async def test_a_ghost_does_not_stay_in_a_room_that_the_chat_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """What is said, or a ghost that comes back, at the very moment of the move: nobody is left behind."""
    script = Script()
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        old = RoomId(await bridge.portal_room("net", "lobby"))
        await _say(bridge, script, "before")
        new = RoomId(bridge.alice.create_room(invite=[bridge.homeserver.bot], preset="public_chat"))
        engine, matrix = bridge.running.engine, bridge.running.matrix
        departures = engine.room_features.departures
        await matrix.join(new, engine.names.bot)
        ghost = engine.names.ghost(NetworkId("net"), BOB.id)
        joined: list[RoomId] = []

        async def move() -> None:
            (portal,) = engine.portals.in_room(old)
            await departures.note(old, bot=False)
            await engine.portals.replace_room(portal, old, new)
            departures.go(old)
            await bridge.until(lambda: ghost not in bridge.homeserver.room(old).members())

        async def elsewhere(room: RoomId) -> RoomId | None:
            return new if room == old else None

        send, join, ensure = matrix.send, matrix.join, engine.ghosts.ensure

        async def sending(request: Any, *more: Any) -> Any:
            if request.room == old and late == "said" and engine.portals.in_room(old):
                await move()
            return await send(request, *more)

        async def joining(room: RoomId, user: UserId) -> None:
            joined.append(room)
            if room == old and late == "joined" and engine.portals.in_room(old):
                await move()
            await join(room, user)

        async def ensuring(network: NetworkId, sender: RemoteSender) -> Any:
            if late == "planned" and engine.portals.in_room(old):
                await move()
            return await ensure(network, sender)

        monkeypatch.setattr(engine.ghosts, "ensure", ensuring)
        monkeypatch.setattr(matrix, "send", sending)
        monkeypatch.setattr(matrix, "join", joining)
        engine.incoming.look(elsewhere)
        engine.conversion.look(elsewhere)
        if late == "planned":
            monkeypatch.setattr(engine.ghosts, "ready", lambda network, sender: None)
            monkeypatch.setattr(engine.ghosts, "in_room", lambda room, user: False)
        if late == "joined":
            bridge.homeserver.faults.answer(403, times=2, match=f"{re.escape(old)}/send/", errcode="M_FORBIDDEN")
        await _say(bridge, script, "after")
        await bridge.until(lambda: (ghost, "after") in bridge.homeserver.messages(new))
        assert (old in joined) == (late == "joined")
        await bridge.until(lambda: ghost not in bridge.homeserver.room(old).members())
        assert ghost not in await engine.ghosts.known(old)


async def test_a_private_room_that_ends_while_a_message_is_planned_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner leaves while the ghost is brought in: what was said to them comes in the next room."""
    script = Script()
    script.provided = True
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        lobby = await bridge.portal_room("net", "lobby")
        bridge.alice.send(lobby, "hello")
        await bridge.until(lambda: script.sent)
        await _whisper(bridge, script, "before")
        (old,) = [RoomId(room) for room in bridge.homeserver.rooms() if room != lobby]
        bridge.alice.join(old)
        await bridge.settled()
        engine = bridge.running.engine
        ensure = engine.ghosts.ensure

        async def ensuring(network: NetworkId, sender: RemoteSender) -> Any:
            if engine.portals.in_room(old):
                bridge.alice.leave(old)
                await bridge.until(lambda: not engine.portals.in_room(old))
                await bridge.until(lambda: not bridge.homeserver.room(old).members())
            return await ensure(network, sender)

        monkeypatch.setattr(engine.ghosts, "ready", lambda network, sender: None)
        monkeypatch.setattr(engine.ghosts, "ensure", ensuring)
        await _whisper(bridge, script, "after")
        await bridge.until(lambda: len(bridge.homeserver.rooms()) == 3)
        (new,) = [room for room in bridge.homeserver.rooms() if room not in (lobby, old)]
        await bridge.until(lambda: ("@_net_bob:hs.test", "after") in bridge.homeserver.messages(new))
        audit = await bridge.running.journal.audit()
        assert audit.holds and audit.balances["net", 1].rejected == 0


async def test_a_room_whose_end_was_cut_short_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database failed behind the removal of the room: nobody of ours stays there for it."""
    script = Script()
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        room = await bridge.portal_room("net", "lobby")
        await _say(bridge, script, "hello")
        engine = bridge.running.engine

        async def cut(portal: PortalRow, gone: RoomId, **how: Any) -> None:
            await engine.portals.remove_room(portal, gone)
            raise TransientError("the database is away")

        async def gone(room: RoomId, user: UserId | None = None) -> bool:
            return False

        monkeypatch.setattr(engine.room_features.unbridging, "end", cut)
        monkeypatch.setattr(engine.room_features.lost, "_is_there", gone)
        kick = {"membership": "leave"}
        event = {"room_id": room, "state_key": bridge.homeserver.bot, "sender": bridge.alice.id, "event_id": "$kick"}
        with pytest.raises(TransientError):
            await engine.room_features.lost.membership({**event, "content": kick})
        await engine.room_features.lost.membership({**event, "content": kick})
        await bridge.until(lambda: "@_net_bob:hs.test" not in bridge.homeserver.room(room).members())


async def _whisper(bridge: Harness, script: Script, text: str) -> None:
    assert script.inbox is not None
    receiver = LoginId("@alice:hs.test")
    await script.inbox.receive([RemoteMessage(ChatId("dm-bob"), BOB, Content((Plain(text),)), receiver=receiver)])
    await bridge.settled()


async def _say(bridge: Harness, script: Script, text: str) -> None:
    assert script.inbox is not None
    await script.inbox.receive([RemoteMessage(CHAT, BOB, Content((Plain(text),)))])
    await bridge.settled()
