"""What keeps rooms right: the same tests on a real Synapse and on FakeHomeserver, which they verify."""

import secrets
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import (
    RemoteChatGone,
    RemoteChatMoved,
    RemoteConsent,
    RemoteEvent,
    RemoteInfo,
    RemoteMessage,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, MessageId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.info import ChatInfo
from bridge_core.api.matrix import MatrixInfo
from bridge_core.api.network import Consent, Sent
from tests.able import AbleScript
from tests.conformance.bridged import BOT, Bridged
from tests.conformance.homeservers import SERVER, Homeserver

pytestmark = pytest.mark.asyncio(loop_scope="module")

DORA = RemoteSender(RemoteUserId("dora"), "Dora")


@pytest.fixture(scope="module")
def options(homeserver: Homeserver) -> dict[str, Any]:
    """A network that can do everything."""
    return {"script": AbleScript()}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def fresh(at: Bridged) -> None:
    """Every test finds a network that takes everything, and has been told nothing."""
    at.script.answer = lambda message, attempt: Sent()
    at.script.sent.clear()


async def hears(at: Bridged, *events: RemoteEvent) -> None:
    """The network says something, and the bridge is done with it."""
    assert at.script.inbox is not None
    await at.script.inbox.receive(list(events))
    await at.bridge.settled()


async def state(at: Bridged, room: str, event_type: str, key: str = "") -> Any:
    """A state event's content."""
    return await at.human.call("GET", f"rooms/{room}/state/{event_type}" + (f"/{key}" if key else ""))


async def empower(at: Bridged, room: str, level: int = 100) -> None:
    """Let the human change the room's settings."""
    levels = await at.bridge.running.matrix.state(room, "m.room.power_levels")
    levels["users"] = {**levels.get("users", {}), at.human.id: level}
    await at.bridge.running.matrix.set_state(room, "m.room.power_levels", "", levels, BOT)


def infos(at: Bridged) -> list[MatrixInfo]:
    """What the network was told of its chats' descriptions."""
    return [one for _, one in at.script.sent if isinstance(one, MatrixInfo)]


async def test_the_networks_description_reaches_the_room(at: Bridged) -> None:
    """Name, topic and picture of a chat become the room's; clients are told the new name in `m.bridge` as well."""
    chat = at.chat()
    room = await at.enter("net", chat)
    mxc = await at.human.upload(b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png", "a.png")
    await hears(at, RemoteInfo(ChatId(chat), DORA, "New\u202e name\n", "What it is\nabout", mxc))
    assert (await state(at, room, "m.room.name"))["name"] == "New name"
    assert (await state(at, room, "m.room.topic"))["topic"] == "What it is\nabout"
    assert (await state(at, room, "m.room.avatar"))["url"] == mxc
    bridge = await state(at, room, "m.bridge", f"dev.matrix_bridge:%2F%2Fnet%2F{chat}")
    assert bridge["channel"] == {"id": chat, "displayname": "New name"}
    await hears(at, RemoteInfo(ChatId(chat), DORA, "", "", ""))
    assert (await state(at, room, "m.room.name"))["name"] == chat
    assert (await state(at, room, "m.room.topic"))["topic"] == ""
    assert "url" not in await state(at, room, "m.room.avatar")
    assert infos(at) == []


async def test_people_describe_the_chat(at: Bridged) -> None:
    """What somebody with power makes of the room's name, topic and picture goes to the network, once each."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await empower(at, room, 50)
    await at.human.call("PUT", f"rooms/{room}/state/m.room.topic", {"topic": "Birds"})
    await at.human.call("PUT", f"rooms/{room}/state/m.room.name", {"name": "Aviary"})
    await at.human.call("PUT", f"rooms/{room}/state/m.room.avatar", {"url": "mxc://hs.test/bird"})
    await at.bridge.until(lambda: len(infos(at)) == 3)
    await at.bridge.settled()
    topic, name, avatar = infos(at)
    assert (topic.chat, topic.sender.id, topic.topic, topic.name) == (chat, at.human.id, "Birds", None)
    assert (name.name, name.topic) == ("Aviary", None)
    assert avatar.avatar is not None and avatar.avatar.source == "mxc://hs.test/bird"
    await hears(at, RemoteInfo(ChatId(chat), DORA, "Aviary", "Birds"))
    assert len(infos(at)) == 3
    changes = [e for e in await at.human.timeline(room) if e["type"] == "m.room.topic"]
    assert [e["sender"] for e in changes] == [at.human.id]
    bridge = await state(at, room, "m.bridge", f"dev.matrix_bridge:%2F%2Fnet%2F{chat}")
    assert bridge["channel"]["displayname"] == "Aviary"


async def test_what_the_network_refuses_is_put_back(at: Bridged) -> None:
    """A topic that the network will not have is told to its author, and the room shows the network's again."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await empower(at, room, 50)
    await hears(at, RemoteInfo(ChatId(chat), DORA, topic="Theirs"))

    def refuse(message: Any, attempt: Any) -> Sent:
        raise RejectedError("only operators may do that")

    at.script.answer = refuse
    await at.human.call("PUT", f"rooms/{room}/state/m.room.topic", {"topic": "Ours"})
    await at.told(room, "only operators may do that")
    await at.human.sees(room, lambda e: e["type"] == "m.room.topic" and e["sender"] == BOT and len(e["content"]) > 0)
    await at.bridge.settled()
    assert (await state(at, room, "m.room.topic"))["topic"] == "Theirs"
    assert (await at.bridge.running.journal.audit()).holds


async def test_a_plumbed_room_keeps_its_own_description(at: Bridged) -> None:
    """What a room that was there before is called stays with its admins, and does not change the chat."""
    chat = at.chat()
    room = await at.private_room(BOT)
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    await at.human.send(room, f"!bridge bridge net {chat}")
    await at.told(room, f"now bridged to {chat} on net")
    await hears(at, RemoteInfo(ChatId(chat), DORA, "Theirs", "Theirs"))
    await at.human.call("PUT", f"rooms/{room}/state/m.room.name", {"name": "Ours"})
    await at.human.send(room, "and?")
    await at.bridge.until(lambda: "and?" in at.script.texts())
    assert infos(at) == []
    assert (await state(at, room, "m.room.name"))["name"] == "Ours"


def said(at: Bridged, text: str, chat: str, **more: Any) -> RemoteMessage:
    """A remote message."""
    return RemoteMessage(ChatId(chat), DORA, Content((Plain(text),)), **more)


async def plumbed(at: Bridged, chat: str) -> str:
    """A room of the human that is bridged to a chat."""
    guest = await at.homeserver.human()
    room = await at.private_room(guest.id)
    await guest.join(room)
    await at.human.call("POST", f"rooms/{room}/invite", {"user_id": BOT})
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    levels = await state(at, room, "m.room.power_levels")
    levels["users"] = {**levels.get("users", {}), BOT: 50}
    await at.human.call("PUT", f"rooms/{room}/state/m.room.power_levels", levels)
    await at.human.send(room, f"!bridge bridge net {chat}")
    await at.told(room, f"now bridged to {chat} on net")
    return room


async def test_a_room_upgrade_is_followed(at: Bridged) -> None:
    """The bot goes with the people: both ways cross in the new room, which has the alias, and nothing is lost."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await hears(at, said(at, "in the old room", chat))
    await empower(at, room, 100)
    new = (await at.human.call("POST", f"rooms/{room}/upgrade", {"new_version": "11"}))["replacement_room"]
    await hears(at, said(at, "while it moves", chat))
    engine = at.bridge.running.engine
    await at.bridge.until(lambda: engine.portals.in_room(new))
    await at.human.sees(new, lambda e: e["content"].get("body") == "while it moves")
    await at.human.send(new, "in the new room")
    await at.bridge.until(lambda: "in the new room" in at.script.texts())
    assert await at.human.join(f"#_net_{chat}:{SERVER}") == new
    # Creators of version 12 are in no list of powers that an upgrade could copy.
    levels = await state(at, new, "m.room.power_levels")
    levels["users"] = {**levels.get("users", {}), BOT: 50}
    await at.human.call("PUT", f"rooms/{new}/state/m.room.power_levels", levels)
    key = f"dev.matrix_bridge:%2F%2Fnet%2F{chat}"
    await at.human.sees(new, lambda e: e["type"] == "m.bridge")
    assert (await state(at, new, "m.bridge", key))["channel"]["id"] == chat
    assert await state(at, room, "m.bridge", f"dev.matrix_bridge:%2F%2Fnet%2F{chat}") == {}
    assert not engine.portals.in_room(room)
    audit = await at.bridge.running.journal.audit()
    assert audit.holds and audit.balances["net", 1].rejected == 0


async def test_an_upgrade_is_followed_once_the_bot_is_invited(at: Bridged) -> None:
    """Where the new room lets in the invited only, the bot says so in the old one, and follows its invitation."""
    chat = at.chat()
    room = await plumbed(at, chat)
    new = (await at.human.call("POST", f"rooms/{room}/upgrade", {"new_version": "11"}))["replacement_room"]
    portals = at.bridge.running.engine.portals
    if not portals.in_room(new):
        await at.told(room, "invite me")
        assert not portals.in_room(new)
        await at.human.call("POST", f"rooms/{new}/invite", {"user_id": BOT})
    await at.bridge.until(lambda: portals.in_room(new))
    await at.human.send(new, "moved")
    await at.bridge.until(lambda: "moved" in at.script.texts())


async def test_a_hijacked_upgrade_is_not_followed(at: Bridged) -> None:
    """A tombstone that leads to a room which does not say that it replaces this one moves nothing."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await empower(at, room, 100)
    elsewhere = {"preset": "public_chat", "creation_content": {"predecessor": {"room_id": "!other:hs.test"}}}
    evil = (await at.human.call("POST", "createRoom", elsewhere))["room_id"]
    await at.human.call("PUT", f"rooms/{room}/state/m.room.tombstone", {"body": "", "replacement_room": evil})
    await at.human.send(room, "still here")
    await at.bridge.until(lambda: "still here" in at.script.texts())
    await at.bridge.settled()
    portals = at.bridge.running.engine.portals
    assert portals.in_room(room) and not portals.in_room(evil)  # type: ignore[arg-type]
    members = (await at.human.call("GET", f"rooms/{evil}/joined_members"))["joined"]
    assert BOT not in members


async def test_who_cannot_change_a_room_does_not_move_it(at: Bridged) -> None:
    """Where everybody may send a tombstone, one by somebody without power over the room is not followed."""
    chat = at.chat()
    room = await at.enter("net", chat)
    levels = await at.bridge.running.matrix.state(room, "m.room.power_levels")  # type: ignore[arg-type]
    assert levels is not None
    levels["events"] = {**levels["events"], "m.room.tombstone": 0}
    await at.bridge.running.matrix.set_state(room, "m.room.power_levels", "", levels, BOT)  # type: ignore[arg-type]
    theirs = {"preset": "public_chat", "creation_content": {"predecessor": {"room_id": room}}}
    evil = (await at.human.call("POST", "createRoom", theirs))["room_id"]
    await at.human.call("PUT", f"rooms/{room}/state/m.room.tombstone", {"body": "", "replacement_room": evil})
    await at.human.send(room, "still here")
    await at.bridge.until(lambda: "still here" in at.script.texts())
    await at.bridge.settled()
    assert not at.bridge.running.engine.portals.in_room(evil)


async def test_an_unbridged_room_is_left(at: Bridged) -> None:
    """After `unbridge` the room tells nothing of a bridge, and ghosts and bot leave it when that has been said."""
    chat = at.chat()
    room = await plumbed(at, chat)
    await hears(at, said(at, "hello", chat))
    key = f"dev.matrix_bridge:%2F%2Fnet%2F{chat}"
    assert (await state(at, room, "m.bridge", key))["channel"]["id"] == chat
    await at.human.send(room, "!bridge unbridge")
    await at.told(room, "bridged no more")
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"].get("membership") == "leave")
    members = (await at.human.call("GET", f"rooms/{room}/joined_members"))["joined"]
    assert at.human.id in members and not [user for user in members if user.startswith("@_") or user == BOT]
    assert await state(at, room, "m.bridge", key) == {}


async def test_a_chat_that_is_gone_ends_its_room(at: Bridged) -> None:
    """When the network says that a chat is gone, its rooms are told and left; the alias is free."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await hears(at, said(at, "the last words", chat), RemoteChatGone(ChatId(chat), "closed by its owner"))
    await at.told(room, "closed by its owner")
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"].get("membership") == "leave")
    members = (await at.human.call("GET", f"rooms/{room}/joined_members"))["joined"]
    assert set(members) == {at.human.id}
    engine = at.bridge.running.engine
    assert engine.portals.get(PortalKey(NetworkId("net"), ChatId(chat))) is None
    refused = await at.human.call("POST", f"join/%23_net_{chat}:{SERVER}")
    assert (refused["status"], refused["errcode"]) == (404, "M_NOT_FOUND")


async def test_a_room_that_throws_the_bot_out_is_unbridged(at: Bridged) -> None:
    """Who bridged the room is told in their management room; another room can be bridged to the chat."""
    management = await at.private_room(BOT)
    await at.told(management, "This is your management room")
    chat = at.chat()
    room = await plumbed(at, chat)
    await at.human.call("POST", f"rooms/{room}/kick", {"user_id": BOT})
    await at.told(management, f"{chat} on net is not bridged to {room} any more")
    assert not at.bridge.running.engine.portals.in_room(room)  # type: ignore[arg-type]
    again = await plumbed(at, chat)
    await at.human.send(again, "second try")
    await at.bridge.until(lambda: "second try" in at.script.texts())


async def test_a_portals_room_that_is_gone_is_made_again(at: Bridged) -> None:
    """A room that the bot is not in any more, without having been told, is found out when something is said."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await hears(at, said(at, "hello", chat))
    matrix, engine = at.bridge.running.matrix, at.bridge.running.engine
    # As when an admin deletes a room: everybody of ours leaves it in their own name.
    ghost = engine.names.ghost(NetworkId("net"), DORA.id)
    await matrix.set_state(RoomId(room), "m.room.join_rules", "", {"join_rule": "invite"}, matrix.bot)
    await matrix.leave(RoomId(room), ghost)
    await matrix.leave(RoomId(room), matrix.bot)
    await hears(at, said(at, "is anybody there?", chat))
    assert not engine.portals.in_room(RoomId(room))
    await hears(at, said(at, "a new room", chat))
    new = await at.enter("net", chat)
    assert new != room
    await at.human.send(new, "back")
    await at.bridge.until(lambda: "back" in at.script.texts())
    assert (await at.bridge.running.journal.audit()).holds


async def test_a_chat_that_moves_takes_its_room_along(at: Bridged) -> None:
    """Under its new key a chat has the same room, messages and a new alias; the old key is another chat's now."""
    chat, new = at.chat(), f"moved{secrets.token_hex(4)}"
    room = await at.enter("net", chat)
    first = said(at, "before", chat, id=MessageId("b"))
    reply = RemoteMessage(ChatId(new), DORA, Content((Plain("after"),)), MessageId("a"), reply_to=MessageId("b"))
    await hears(at, first)
    await hears(at, RemoteChatMoved(ChatId(chat), ChatId(new)), reply)
    event = await at.human.sees(room, lambda e: e["content"].get("body") == "after")
    before = await at.human.sees(room, lambda e: e["content"].get("body") == "before")
    assert event["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == before["event_id"]
    assert await at.human.join(f"#_net_{new}:{SERVER}") == room
    assert await state(at, room, "m.bridge", f"dev.matrix_bridge:%2F%2Fnet%2F{chat}") == {}
    bridge = await state(at, room, "m.bridge", f"dev.matrix_bridge:%2F%2Fnet%2F{new}")
    assert bridge["channel"]["id"] == new
    await at.human.send(room, "where to?")
    await at.bridge.until(lambda: "where to?" in at.script.texts())
    assert at.script.sent[-1][1].chat == new
    engine = at.bridge.running.engine
    assert engine.portals.get(PortalKey(NetworkId("net"), ChatId(chat))) is None
    await engine.portals.ensure(NetworkId("net"), ChatId(chat))
    other = await at.enter("net", chat)
    assert other != room
    await hears(at, said(at, "in the other chat", chat))
    await at.human.sees(other, lambda e: e["content"].get("body") == "in the other chat")


async def test_nothing_crosses_before_the_other_side_agrees(at: Bridged) -> None:
    """A room that is plumbed to a chat waits for the chat's own side; refused, it is not bridged at all."""
    assert isinstance(at.script, AbleScript)
    chat, never = at.chat(), f"never{secrets.token_hex(4)}"
    guest = await at.homeserver.human()
    room = await at.private_room(guest.id)
    await guest.join(room)
    await at.human.call("POST", f"rooms/{room}/invite", {"user_id": BOT})
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    at.script.consent = Consent.REFUSED
    await at.human.send(room, f"!bridge bridge net {never}")
    await at.told(room, "the other side does not want this chat to be bridged")
    assert not at.bridge.running.engine.portals.in_room(RoomId(room))
    at.script.consent = Consent.ASKED
    await at.human.send(room, f"!bridge bridge net {chat}")
    await at.told(room, "Nothing crosses until they agree")
    await at.human.send(room, "too early")
    await at.told(room, "has not agreed yet")
    await hears(at, said(at, "unheard", chat))
    at.script.consent = Consent.GRANTED
    await hears(at, RemoteConsent(ChatId(chat), DORA, True), said(at, "welcome", chat))
    await at.human.sees(room, lambda e: e["content"].get("body") == "welcome")
    await at.human.send(room, "thanks")
    await at.bridge.until(lambda: "thanks" in at.script.texts())
    assert "too early" not in at.script.texts()
    assert "unheard" not in [body for _, body in await at.human.bodies(room)]


async def test_one_room_has_several_chats_and_one_chat_several_rooms(at: Bridged) -> None:
    """What is said in a room goes to all its chats, and what is said in a chat into all its rooms."""
    chats = at.chat(), at.chat()
    rooms = [await plumbed(at, chats[0]), await plumbed(at, chats[0])]
    await at.human.send(rooms[0], f"!bridge bridge net {chats[1]}")
    await at.told(rooms[0], f"now bridged to {chats[1]} on net")
    await at.human.send(rooms[0], "to both")
    await at.bridge.until(lambda: at.script.texts().count("to both") == 2)
    assert {message.chat for _, message in at.script.sent} == set(chats)
    await hears(at, said(at, "into both", chats[0]))
    for room in rooms:
        await at.human.sees(room, lambda e: e["content"].get("body") == "into both")
    await hears(at, said(at, "into one", chats[1]))
    await at.human.sees(rooms[0], lambda e: e["content"].get("body") == "into one")
    assert "into one" not in [body for _, body in await at.human.bodies(rooms[1])]


async def test_spaces_gather_the_rooms(at: Bridged) -> None:
    """A network's space holds its shared chats, a user's space their private ones, and a chat that ends leaves."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await at.bridge.stop_bridge()
    at.bridge.networks["net"]["space"] = "both"  # type: ignore[index]
    at.script.provided = True
    await at.bridge.start_bridge()
    try:
        spaces = at.bridge.running.engine.room_features.spaces
        alias = spaces.alias((NetworkId("net"), None))
        await at.bridge.until(lambda: ((NetworkId("net"), None), room) in spaces.done, 20)
        space = await at.human.join(f"#{alias}:{SERVER}")
        assert (await state(at, space, "m.room.create"))["type"] == "m.space"
        assert (await state(at, space, "m.space.child", quote(room, safe="")))["via"] == [SERVER]
        parent = await state(at, room, "m.space.parent", quote(space, safe=""))
        assert (parent["via"], parent["canonical"]) == ([SERVER], True)
        private = await at.private_room(BOT)
        await at.told(private, "management room")
        await at.human.send(private, "chat net dora")
        await at.told(private, "You are invited to")
        own = UserId(at.human.id)
        key = (NetworkId("net"), own)
        await at.bridge.until(lambda: any(one == key for one, _ in spaces.done), 20)
        mine = await at.human.join(f"#{spaces.alias(key)}:{SERVER}")
        (inside,) = [there for one, there in spaces.done if one == key]
        assert (await state(at, mine, "m.space.child", quote(inside, safe="")))["via"] == [SERVER]
        await hears(at, RemoteChatGone(ChatId(chat)))
        await at.bridge.until(lambda: ((NetworkId("net"), None), room) not in spaces.done, 20)
        assert await state(at, space, "m.space.child", quote(room, safe="")) == {}
    finally:
        at.script.provided = False
        await at.bridge.stop_bridge()
        at.bridge.networks["net"]["space"] = "none"  # type: ignore[index]
        await at.bridge.start_bridge()


HUGE = ("\U0001f42c" * 9_000 + '"\\\n') * 11
"""A hundred thousand characters, which are more as JSON in UTF-8."""


async def test_names_without_end_are_cut(at: Bridged) -> None:
    """A chat and a person with names and topics of 100 KB have rooms and ghosts like all others, also anew."""
    chat = at.chat()
    at.script.described[ChatId(chat)] = ChatInfo(name=HUGE, topic=HUGE)
    room = await at.enter("net", chat)
    whale = RemoteSender(RemoteUserId(f"whale-{chat}"), HUGE)
    for text in ("first", "second"):
        await hears(at, RemoteMessage(ChatId(chat), whale, Content((Plain(text),))))
    spoken = await at.human.sees(room, lambda e: e["content"].get("body") == "second")
    profile = await at.human.call("GET", f"profile/{spoken['sender']}")
    assert 200 < len(profile["displayname"]) <= 255
    for sign in ("", "changed "):
        if sign:
            await hears(at, RemoteInfo(ChatId(chat), DORA, sign + HUGE, sign + HUGE))
        name, topic = [(await state(at, room, f"m.room.{kind}"))[kind] for kind in ("name", "topic")]
        assert name.startswith(sign) and 200 < len(name) <= 255
        assert topic.startswith(sign) and 2_000 < len(topic.encode()) <= 16_384


async def test_forged_bridge_state_changes_nothing(at: Bridged) -> None:
    """A room that says it is the bridge's, in whatever state, is not: nothing crosses, and the chat has its own."""
    chat = at.chat()
    guest = await at.homeserver.human()
    room = await at.private_room(BOT, guest.id)
    await guest.join(room)  # so that it is no management room
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    key = f"dev.matrix_bridge:%2F%2Fnet%2F{chat}"
    channel = {"id": chat, "displayname": "Forged"}
    forged = {"bridgebot": BOT, "protocol": {"id": "scripted"}, "network": {"id": "net"}, "channel": channel}
    for kind in ("m.bridge", "uk.half-shot.bridge"):
        answer = await at.human.call("PUT", f"rooms/{room}/state/{kind}/{key}", forged)
        assert "event_id" in answer
    await at.human.send(room, "to nobody")
    await at.bridge.settled()
    assert at.bridge.running.engine.portals.in_room(RoomId(room)) == ()
    real = await at.enter("net", chat)
    assert real != room
    await hears(at, said(at, "to the real one", chat))
    await at.human.sees(real, lambda e: e["content"].get("body") == "to the real one")
    await at.human.send(real, "an answer")
    await at.bridge.until(lambda: "an answer" in at.script.texts())
    assert "to nobody" not in at.script.texts()
    assert "to the real one" not in [body for _, body in await at.human.bodies(room)]
    # In a portal too it is only read by clients.
    await empower(at, real)
    other = at.chat()
    forged["channel"] = {"id": other, "displayname": "Forged"}
    await at.human.call("PUT", f"rooms/{real}/state/m.bridge/{key}", forged)
    await at.human.send(real, "still here")
    await at.bridge.until(lambda: "still here" in at.script.texts())
    assert [row.chat for row in at.bridge.running.engine.portals.in_room(RoomId(real))] == [chat]
    assert {message.chat for _, message in at.script.sent} == {chat}
