"""What was said before and meanwhile: the same on FakeHomeserver and on Synapse."""

import time
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId, RoomId
from bridge_core.api.network import History, LoginStatus
from tests.conformance.bridged import Bridged
from tests.conformance.homeservers import SERVER, Homeserver
from tests.scripted import Script

GHOST = f"@_net_bob:{SERVER}"


class Archive:
    """What the network keeps, by chat."""

    def __init__(self) -> None:
        self.chats: dict[str, list[RemoteMessage]] = {}
        self.public = True

    def say(self, chat: str, text: str, ago: float = 0) -> RemoteMessage:
        """Bob says something; it is only kept."""
        sender, at = RemoteSender(RemoteUserId("bob"), "Bob"), int((time.time() - ago) * 1000)
        message = RemoteMessage(ChatId(chat), sender, Content((Plain(text),)), MessageId(f"{chat} {text}"), at)
        self.chats.setdefault(chat, []).append(message)
        return message

    def __call__(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        there = self.chats.get(chat, [])
        ids = [message.id for message in there]
        start = ids.index(MessageId(after.decode())) + 1 if after is not None else max(0, len(there) - limit)
        told = there[start : start + limit]
        cursor = str(ids[start + len(told) - 1]).encode() if start + len(told) else None
        return History(tuple(told), cursor, more=start + len(told) < len(there), public=self.public)


@pytest.fixture(scope="module")
def options(homeserver: Homeserver) -> dict[str, Any]:
    """A network that keeps what was said."""
    script = Script()
    script.tell = Archive()
    return {"script": script, "backfill": {"initial": 2, "rate": 1000}}


pytestmark = pytest.mark.asyncio(loop_scope="module")


def archive(at: Bridged) -> Archive:
    """The network's archive."""
    assert isinstance(at.script.tell, Archive)
    at.script.tell.public = True
    return at.script.tell


async def filled(at: Bridged, room: str) -> None:
    """Waits until the bridge has heard that somebody entered, and has looked for the past of the room's chat."""
    engine = at.bridge.running.engine
    (portal,) = engine.portals.in_room(RoomId(room))
    await at.bridge.until(lambda: (mark := engine.backfill._marks.get(portal, None)) and not mark.todo)


async def test_who_enters_first_sees_the_latest_with_its_time(at: Bridged) -> None:
    """The latest messages of a chat are there for whoever enters its room first, as old as they are."""
    chat = at.chat()
    for number in range(3):
        archive(at).say(chat, f"m{number}", ago=3600 - number)
    room = await at.enter("net", chat)
    event = await at.human.sees(room, lambda e: e["content"].get("body") == "m2")
    assert event["origin_server_ts"] == archive(at).chats[chat][2].timestamp
    assert [body for sender, body in await at.human.bodies(room) if sender == GHOST] == ["m1", "m2"]


async def test_what_was_missed_comes_before_what_is_said_now(at: Bridged) -> None:
    """After an outage: what was missed, then what came since, each once."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await filled(at, room)
    assert at.script.inbox is not None
    await at.script.inbox.receive([archive(at).say(chat, "one")])
    await at.human.sees(room, lambda e: e["content"].get("body") == "one")
    at.script.status(LoginStatus.DISCONNECTED)
    archive(at).say(chat, "missed")
    live = archive(at).say(chat, "live")
    at.script.status(LoginStatus.CONNECTED)
    await at.script.inbox.receive([live])
    await at.human.sees(room, lambda e: e["content"].get("body") == "live")
    await at.bridge.until(lambda: not at.bridge.running.engine.backfill.busy())
    await at.bridge.settled()
    assert [body for sender, body in await at.human.bodies(room) if sender == GHOST] == ["one", "missed", "live"]


async def test_a_newcomer_is_not_shown_the_past(at: Bridged) -> None:
    """Where the past is not everybody's, nothing of before the last member's join is shown, and a notice says so."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await filled(at, room)
    at.script.status(LoginStatus.DISCONNECTED)
    archive(at).say(chat, "secret")
    newcomer = await at.homeserver.human()
    await newcomer.join(room)
    await at.human.sees(room, lambda e: e.get("state_key") == newcomer.id)
    await at.bridge.settled()
    archive(at).public = False
    at.script.status(LoginStatus.CONNECTED)
    await at.told(room, "somebody came since")
    assert "secret" not in [body for _, body in await at.human.bodies(room)]
