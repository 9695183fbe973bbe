"""A private chat whose owner left its room: what was planned for that room is said in the next one, once."""

from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, MessageId, RemoteUserId, RoomId
from bridge_core.engine.gate import Gate
from tests.harness import Harness
from tests.scripted import Script

BOB = RemoteSender(RemoteUserId("bob"), "Bob")
GHOST = "@_net_bob:hs.test"


def _say(text: str) -> RemoteMessage:
    receiver = LoginId("@alice:hs.test")
    return RemoteMessage(ChatId("dm-bob"), BOB, Content((Plain(text),)), MessageId(text), receiver=receiver)


@pytest.mark.parametrize("case", ["answered", "answer lost", "nobody can look"])
async def test_a_batch_goes_on_in_the_next_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Its owner leaves in the middle of a batch: the rest comes in a new room; what was said is not said again.

    What may have been said, as far as anybody can see, ends rejected and counted.
    """
    script = Script()
    script.provided = True
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        lobby = await bridge.portal_room("net", "lobby")
        bridge.alice.send(lobby, "hello")
        await bridge.until(lambda: script.sent)
        assert script.inbox is not None
        await script.inbox.receive([_say("before")])
        await bridge.settled()
        (old,) = [RoomId(room) for room in bridge.homeserver.rooms() if room != lobby]
        bridge.alice.join(old)
        await bridge.settled()
        portals, matrix = bridge.running.engine.portals, bridge.running.matrix
        send, left = matrix.send, list[str]()
        if case == "answer lost":  # the others of ours do not follow the owner at once
            monkeypatch.setattr(bridge.running.engine.room_features.departures, "go", lambda: None)

        async def sending(request: Any, first_attempt_at: int) -> Any:
            event = await send(request, first_attempt_at)
            if request.room == old and not left:
                left.append(old)
                bridge.alice.leave(old)
                await bridge.until(lambda: not portals.in_room(old))
                if case == "nobody can look":
                    await bridge.until(lambda: not bridge.homeserver.room(old).members())
                if case != "answered":
                    raise TransientError("the answer was lost")
            return event

        monkeypatch.setattr(matrix, "send", sending)
        await script.inbox.receive([_say("one"), _say("two"), _say("three")])
        await bridge.settled()
        new = [room for room in bridge.homeserver.rooms() if room not in (lobby, old)]
        said = [[text for who, text in bridge.homeserver.messages(room) if who == GHOST] for room in (old, *new)]
        assert said == [["before", "one"], ["two", "three"] if case != "nobody can look" else []]
        assert bridge.homeserver.room(new[0]).membership("@alice:hs.test") == "invite"
        audit = await bridge.running.journal.audit()
        assert audit.holds and audit.balances["net", 1].rejected == (3 if case == "nobody can look" else 0)


async def test_no_room_is_made_where_none_may_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where new chats were stopped meanwhile there is no next room either: the rest ends rejected."""
    script = Script()
    script.provided = True
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        lobby = await bridge.portal_room("net", "lobby")
        bridge.alice.send(lobby, "hello")
        await bridge.until(lambda: script.sent)
        assert script.inbox is not None
        await script.inbox.receive([_say("before")])
        await bridge.settled()
        (old,) = [RoomId(room) for room in bridge.homeserver.rooms() if room != lobby]
        portals, matrix = bridge.running.engine.portals, bridge.running.matrix
        send = matrix.send

        def refuses(self: Gate, *about: Any) -> None:
            raise RejectedError("no new chats")

        async def sending(request: Any, first_attempt_at: int) -> Any:
            event = await send(request, first_attempt_at)
            for portal in portals.in_room(old):
                monkeypatch.setattr(Gate, "new_chat", refuses)
                await bridge.running.engine.room_features.unbridging.end(portal, old, keep=True)
            return event

        monkeypatch.setattr(matrix, "send", sending)
        await script.inbox.receive([_say("one"), _say("two")])
        await bridge.settled()
        assert set(bridge.homeserver.rooms()) == {lobby, old}
        audit = await bridge.running.journal.audit()
        assert audit.holds and audit.balances["net", 1].rejected == 1
