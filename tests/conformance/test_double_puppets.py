"""What users do elsewhere appears as done by themselves, and is no message to the network; on Synapse and the fake."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import (
    Membership,
    RemoteEdit,
    RemoteEvent,
    RemoteMember,
    RemoteMessage,
    RemoteReaction,
    RemoteReceipt,
    RemoteRedaction,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, LoginId, MessageId, NetworkId, RemoteUserId, UserId
from bridge_core.api.network import Login, Sent
from bridge_core.engine.puppets import PUPPET_KEY
from tests.conformance.bridged import Bridged
from tests.conformance.homeservers import SERVER, Event, Homeserver, Human
from tests.scripted import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

NET = NetworkId("net")
GHOST = f"@_net_me:{SERVER}"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["appservice", "token"])
async def at(
    request: pytest.FixtureRequest, homeserver: Homeserver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bridged]:
    """A bridge that acts as users by a second appservice, and one where they gave their own tokens."""
    by_server = request.param == "appservice"
    servers = {SERVER: {"as_token": homeserver.puppet_token}} if by_server else {}
    sections = {"double_puppet": {"servers": servers}}
    script = Script()
    script.moderates = True
    bridged = await Bridged.start(homeserver, tmp_path_factory.mktemp("bridge"), script=script, sections=sections)
    network = bridged.bridge.running.networks.get(NET)
    assert network is not None
    await network.add(Login(LoginId("me"), UserId(bridged.human.id), "Me"))
    if not by_server:
        for _ in range(10):  # its chats have no rooms yet: the homeserver is the same
            bridged.chat()
        await bridged.bridge.running.engine.puppets.log_in(UserId(bridged.human.id), bridged.human.token)
    yield bridged
    await bridged.bridge.stop_bridge()


class _Elsewhere:
    """The human's own doing on the network, from another device."""

    def __init__(self, at: Bridged, chat: str) -> None:
        self._at = at
        self.chat = ChatId(chat)
        self.me = RemoteSender(RemoteUserId("me"), "Me", LoginId("me"))

    def says(self, text: str, number: str) -> RemoteMessage:
        return RemoteMessage(
            self.chat, self.me, Content((Plain(text),)), MessageId(number), timestamp=1_700_000_000_000
        )

    async def does(self, event: RemoteEvent) -> None:
        assert self._at.script.inbox is not None
        await self._at.script.inbox.receive([event])


async def _seen(who: Human, room: str, body: str) -> Event:
    return await who.sees(room, lambda e: e["content"].get("body") == body)


async def test_everything_is_done_as_the_user(at: Bridged) -> None:
    """Messages, edits, reactions and redactions from elsewhere are the Matrix user's own, and do not go back."""
    chat = at.chat()
    room = await at.enter("net", chat)
    elsewhere = _Elsewhere(at, chat)
    before = len(at.script.sent)
    await elsewhere.does(elsewhere.says("from my phone", "m1"))
    said = await _seen(at.human, room, "from my phone")
    assert said["sender"] == at.human.id and PUPPET_KEY in said["content"]
    await elsewhere.does(
        RemoteEdit(elsewhere.chat, elsewhere.me, MessageId("m1"), Content((Plain("changed"),)), MessageId("e1"))
    )
    edit = await at.human.sees(room, lambda e: e["content"].get("m.new_content", {}).get("body") == "changed")
    await elsewhere.does(RemoteReaction(elsewhere.chat, elsewhere.me, MessageId("m1"), "👍", id=MessageId("r1")))
    reaction = await at.human.sees(room, lambda e: e["type"] == "m.reaction")
    await elsewhere.does(RemoteRedaction(elsewhere.chat, elsewhere.me, MessageId("m1"), id=MessageId("d1")))
    redaction = await at.human.sees(room, lambda e: e["type"] == "m.room.redaction")
    assert {event["sender"] for event in (edit, reaction, redaction)} == {at.human.id}
    # What the human says afterwards does cross, so the echoes of all that are past.
    await at.human.send(room, "from Matrix")
    await at.bridge.until(lambda: "from Matrix" in at.script.texts())
    assert at.script.texts()[before:] == ["from Matrix"]
    assert at.script.sent[-1][0] == "me"


async def test_a_copied_mark_hides_nothing(at: Bridged) -> None:
    """A message with the mark of another one, forged or forwarded with all its content, crosses like any other."""
    chat = at.chat()
    room = await at.enter("net", chat)
    elsewhere = _Elsewhere(at, chat)
    await elsewhere.does(elsewhere.says("original", "m1"))
    content = (await _seen(at.human, room, "original"))["content"]
    await at.human.send(room, "first after it")
    await at.bridge.until(lambda: "first after it" in at.script.texts())
    await at.human.send_event(room, {**content, "body": "forwarded"})
    await at.bridge.until(lambda: "forwarded" in at.script.texts())
    other = await at.homeserver.human()
    await other.join(room)
    await other.send_event(room, {**content, "body": "stolen"})
    await at.human.send_event(room, {**content, "body": "made up", PUPPET_KEY: "0" * 30})
    await at.bridge.until(lambda: {"stolen", "made up"} <= set(at.script.texts()))
    assert "original" not in at.script.texts()


async def test_where_the_user_is_not_the_ghost_speaks(at: Bridged) -> None:
    """In a room that the user is not in, what they say elsewhere appears under their ghost."""
    chat = at.chat()
    other = await at.homeserver.human()
    room = await other.join(f"#_net_{chat}:{SERVER}")
    elsewhere = _Elsewhere(at, chat)
    await elsewhere.does(elsewhere.says("from outside", "m1"))
    assert (await _seen(other, room, "from outside"))["sender"] == GHOST


async def test_what_was_read_elsewhere_is_read(at: Bridged) -> None:
    """What the user has read on the network elsewhere is read by themselves on Matrix."""
    chat = at.chat()
    room = await at.enter("net", chat)
    elsewhere = _Elsewhere(at, chat)
    dora = RemoteSender(RemoteUserId("dora"), "Dora")
    await elsewhere.does(RemoteMessage(elsewhere.chat, dora, Content((Plain("read me"),)), MessageId("m1")))
    said = await _seen(at.human, room, "read me")
    await elsewhere.does(RemoteReceipt(elsewhere.chat, elsewhere.me, MessageId("m1")))
    async with asyncio.timeout(60):
        while (await at.homeserver.readers(at.human, room)).get(at.human.id) != said["event_id"]:
            await asyncio.sleep(0.05)
    path = f"user/{at.human.id}/rooms/{room}/account_data/m.fully_read"
    async with asyncio.timeout(60):  # Synapse stores the two one after the other
        while (await at.human.call("GET", path)).get("event_id") != said["event_id"]:
            await asyncio.sleep(0.05)


async def test_a_late_receipt_moves_nothing_back(at: Bridged) -> None:
    """A receipt of the network for something older leaves what the user has read on Matrix since as it is."""
    chat = at.chat()
    room = await at.enter("net", chat)
    elsewhere = _Elsewhere(at, chat)
    dora = RemoteSender(RemoteUserId("dora"), "Dora")
    for number in ("m1", "m2"):
        await elsewhere.does(RemoteMessage(elsewhere.chat, dora, Content((Plain(number),)), MessageId(number)))
    newest = (await _seen(at.human, room, "m2"))["event_id"]
    await at.human.read(room, newest, "m.fully_read")
    await at.human.read(room, newest)
    await elsewhere.does(RemoteReceipt(elsewhere.chat, elsewhere.me, MessageId("m1")))
    await at.bridge.settled()
    marker = await at.human.call("GET", f"user/{at.human.id}/rooms/{room}/account_data/m.fully_read")
    assert marker["event_id"] == newest
    assert (await at.homeserver.readers(at.human, room))[at.human.id] == newest


async def test_a_private_chat_is_joined(at: Bridged) -> None:
    """Into the room of a private chat the user is brought by what they said there elsewhere."""
    chat = f"dm-{at.chat()}"
    elsewhere = _Elsewhere(at, chat)
    message = elsewhere.says("hello from my phone", "m1")
    await elsewhere.does(
        RemoteMessage(message.chat, message.sender, message.content, message.id, receiver=LoginId("me"))
    )
    portals = at.bridge.running.engine.portals
    rooms = await at.bridge.until(
        lambda: [row.rooms for row in portals.of_network(NET) if row.chat == chat and row.rooms]
    )
    await at.bridge.settled()
    said = await at.human.sees(rooms[0][0], lambda e: e["content"].get("body") == "hello from my phone")
    assert said["sender"] == at.human.id


async def test_what_was_said_from_here_is_not_said_again(at: Bridged) -> None:
    """A network that reports what was sent through the bridge, with its id, makes no second message."""
    chat = at.chat()
    room = await at.enter("net", chat)
    at.script.answer = lambda message, attempt: Sent((MessageId("sent-1"),))
    await at.human.send(room, "sent from here")
    await at.bridge.until(lambda: "sent from here" in at.script.texts())
    at.script.answer = lambda message, attempt: Sent()
    await at.bridge.settled()
    elsewhere = _Elsewhere(at, chat)
    await elsewhere.does(elsewhere.says("sent from here", "sent-1"))
    await elsewhere.does(elsewhere.says("something else", "m2"))
    await _seen(at.human, room, "something else")
    bodies = [body for _, body in await at.human.bodies(room)]
    assert bodies.count("sent from here") == 1


async def test_joins_and_leaves_elsewhere_are_the_users_own(at: Bridged) -> None:
    """Who joins or leaves a chat elsewhere joins or leaves its room by themselves; the network is not told of that, but
    of what they do on Matrix later."""
    chat = at.chat()
    other = await at.homeserver.human()
    room = await other.join(f"#_net_{chat}:{SERVER}")
    elsewhere = _Elsewhere(at, chat)
    at.script.moved.clear()

    async def becomes(membership: str) -> None:
        event = await other.sees(
            room,
            lambda e: e.get("state_key") == at.human.id and e["content"]["membership"] == membership,
        )
        assert event["sender"] == at.human.id
        await at.bridge.settled()

    await elsewhere.does(RemoteMember(elsewhere.chat, elsewhere.me, Membership.JOIN))
    await becomes("join")
    await elsewhere.does(RemoteMember(elsewhere.chat, elsewhere.me, Membership.LEAVE, reason="enough"))
    await becomes("leave")
    assert at.script.moved == []
    await at.human.join(room)
    await at.bridge.until(lambda: at.script.moved)
    assert at.script.moved == [("me", "enter", chat)]
