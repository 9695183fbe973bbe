"""A chat with another key goes there only where one could be bridged that asked for it itself."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteChatMoved, RemoteEvent, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RemoteUserId, RoomId
from bridge_core.engine.consents import CONSENT
from bridge_core.engine.filters import Filter, Verdict
from tests.harness import Harness
from tests.scripted import Script

NET = NetworkId("net")
BOB = RemoteSender(RemoteUserId("bob"), "Bob")
OLD, NEW = ChatId("lobby"), ChatId("denied")


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


async def _receive(bridge: Harness, script: Script, *events: RemoteEvent) -> None:
    assert script.inbox is not None
    await script.inbox.receive(events)
    await bridge.settled()


def _said(chat: ChatId, text: str) -> RemoteMessage:
    return RemoteMessage(chat, BOB, Content((Plain(text),)))


def _texts(bridge: Harness, room: str) -> list[str]:
    return [str(text) for _, text in bridge.homeserver.messages(room)]


async def _moves_nowhere(bridge: Harness, script: Script, room: str, why: str) -> None:
    await _receive(bridge, script, RemoteChatMoved(OLD, NEW), _said(NEW, "from the other chat"))
    engine = bridge.running.engine
    assert engine.portals.in_room(RoomId(room)) == ()
    assert _texts(bridge, room) == [
        f"This chat goes on as denied, where the bridge does not follow: {why}. The room is bridged no more."
    ]
    assert (await bridge.running.journal.audit()).holds


async def test_a_filter_holds_for_where_a_chat_moves(bridge: Harness, script: Script) -> None:
    """A chat that forwards to a denied one is bridged no more, and its room is told why."""
    room = await bridge.portal_room("net", OLD)
    bridge.running.whomay.filters.configure([Filter(NET, Verdict.DENY, "denied")])
    await _moves_nowhere(bridge, script, room, "this chat may not be bridged here")
    assert bridge.running.engine.portals.get(PortalKey(NET, NEW)) is None


@pytest.mark.parametrize("word", ["asked", "refused"])
async def test_rooms_do_not_come_to_a_chat_that_has_not_agreed(bridge: Harness, script: Script, word: str) -> None:
    """A chat whose own side was asked and has not agreed gets no rooms from one that moves there."""
    room = await bridge.portal_room("net", OLD)
    portals = bridge.running.engine.portals
    there = await portals.ensure(NET, NEW, options={CONSENT: word})
    why = {
        "asked": "the other side has been asked and has not agreed yet",
        "refused": "the other side does not want this chat to be bridged",
    }[word]
    await _moves_nowhere(bridge, script, room, why)
    kept = portals.get(PortalKey(NET, NEW))
    assert kept is not None and kept.id == there.id and kept.options[CONSENT] == word


async def test_two_chats_become_one_where_both_may(bridge: Harness, script: Script) -> None:
    """Rooms of a chat that moves to one that is bridged are further rooms of that."""
    first = await bridge.portal_room("net", OLD)
    second = await bridge.portal_room("net", NEW)
    await _receive(bridge, script, RemoteChatMoved(OLD, NEW), _said(NEW, "hello"))
    assert "hello" in _texts(bridge, first) and "hello" in _texts(bridge, second)


async def test_a_chat_gets_no_more_rooms_by_moving_than_it_may_have(
    bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rooms come together up to the number that a chat may have."""
    monkeypatch.setattr("bridge_core.engine.moves.MOST_TOGETHER", 1)
    room = await bridge.portal_room("net", OLD)
    await bridge.portal_room("net", NEW)
    await _moves_nowhere(bridge, script, room, "it would be bridged to more than 1 rooms")
