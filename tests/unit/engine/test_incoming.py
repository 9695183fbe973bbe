"""Network -> Matrix: rooms and ghosts are made when needed, and every event ends in a counted state."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge_core.api.content import Attachment, Content, MediaKind, Mention, Plain, Span, Style
from bridge_core.api.events import (
    RemoteEdit,
    RemoteEvent,
    RemoteGap,
    RemoteMessage,
    RemoteRedaction,
    RemoteRename,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, LoginId, MessageId, NetworkId, PortalKey, RemoteUserId, RoomId
from bridge_core.api.matrix import MatrixMessage
from tests.harness import Harness
from tests.scripted import Script

BOB = RemoteSender(RemoteUserId("bob"), "Bob")
CAROL = RemoteSender(RemoteUserId("carol"), "Carol")


def say(text: str, sender: RemoteSender = BOB, chat: str = "lobby", **more: Any) -> RemoteMessage:
    """A remote message."""
    return RemoteMessage(ChatId(chat), sender, Content((Plain(text),)), **more)


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


def _from(bridge: Harness, room: str, localpart: str) -> list[dict[str, Any]]:
    sender = f"@_net_{localpart}:hs.test"
    return [e for e in bridge.homeserver.room(room).timeline if e["sender"] == sender and "state_key" not in e]


async def _balance(bridge: Harness) -> Any:
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    return audit.balances["net", 1]


async def test_the_first_message_makes_room_and_ghost(bridge: Harness, script: Script) -> None:
    """A configured chat gets its room, and a person their ghost with name and device, when first needed."""
    await _receive(bridge, script, say("hello"))
    room = bridge.homeserver.room("#_net_lobby:hs.test")
    (event,) = _from(bridge, room.id, "bob")
    assert event["content"]["body"] == "hello"
    assert bridge.homeserver.displayname("@_net_bob:hs.test") == "Bob"
    assert room.content("m.room.name") == {"name": "The lobby"}
    bridge_state = room.content("m.bridge", "dev.matrix_bridge://net/lobby")
    assert bridge_state is not None
    assert bridge_state["dev.matrix_bridge.plaintext"] == "server"
    assert (await _balance(bridge)).delivered == 1


async def test_an_unknown_chat_is_ignored_and_counted(bridge: Harness, script: Script) -> None:
    """What is said in a chat without a portal goes nowhere, and the counters say so."""
    await _receive(bridge, script, say("hello", chat="elsewhere"))
    balance = await _balance(bridge)
    assert (balance.accepted, balance.ignored, balance.targets) == (1, 1, 0)


async def test_the_same_id_twice_is_one_event(bridge: Harness, script: Script) -> None:
    """A message that the network repeats is stored once; the same id from somebody else is another message."""
    one = say("one", id=MessageId("x"))
    await _receive(bridge, script, one, one)
    await _receive(bridge, script, one, say("another's", CAROL, id=MessageId("x")))
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    assert len(_from(bridge, room, "bob")) == 1
    assert len(_from(bridge, room, "carol")) == 1
    assert (await _balance(bridge)).duplicate == 2


async def test_replies_edits_and_redactions_find_their_message(bridge: Harness, script: Script) -> None:
    """References to remote ids become references to events."""
    first = say("first", id=MessageId("1"))
    reply = say("reply", CAROL, id=MessageId("2"), reply_to=MessageId("1"))
    edit = RemoteEdit(ChatId("lobby"), BOB, MessageId("1"), Content((Plain("edited"),)), MessageId("3"))
    await _receive(bridge, script, first, reply, edit)
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    original, edited = _from(bridge, room, "bob")
    (answer,) = _from(bridge, room, "carol")
    assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == original["event_id"]
    assert edited["content"]["m.new_content"]["body"] == "edited"
    assert edited["content"]["m.relates_to"]["event_id"] == original["event_id"]
    await _receive(bridge, script, RemoteRedaction(ChatId("lobby"), BOB, MessageId("1"), id=MessageId("4")))
    assert bridge.homeserver.room(room).by_id[original["event_id"]]["content"] == {}


async def test_a_message_is_found_by_each_of_its_ids(bridge: Harness, script: Script) -> None:
    """Of lines that are shown as one, each id leads to the event; Matrix answers the first."""
    await _receive(bridge, script, say("one\ntwo", id=MessageId("1"), also=(MessageId("2"), MessageId("3"))))
    await _receive(bridge, script, say("yes", CAROL, id=MessageId("4"), reply_to=MessageId("3")))
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    (first,) = _from(bridge, room, "bob")
    (answer,) = _from(bridge, room, "carol")
    assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == first["event_id"]
    await bridge.portal_room("net", "lobby")
    bridge.alice.reply(room, first["event_id"], "so do I")
    await bridge.until(lambda: bool(script.sent))
    sent = script.sent[0][1]
    assert isinstance(sent, MatrixMessage) and sent.reply_to is not None and sent.reply_to.id == "1"


async def test_a_message_is_known_by_each_of_its_ids_before_it_is_shown(bridge: Harness, script: Script) -> None:
    """Told again one by one, as a history does, its parts are no news, whatever became of it so far; and none of
    several parts is hidden by one that came alone."""
    assert script.inbox is not None
    paste = say("one\ntwo", id=MessageId("1"), also=(MessageId("2"),))
    stored, part = await script.inbox.receive([paste, say("two", id=MessageId("2"))])
    assert (part.entry, part.duplicate) == (stored.entry, True)
    await script.inbox.receive([say("four", id=MessageId("4"))])
    (whole,) = await script.inbox.receive([say("three\nfour", id=MessageId("3"), also=(MessageId("4"),))])
    three, four = await script.inbox.receive([say("three", id=MessageId("3")), say("four", id=MessageId("4"))])
    assert whole.duplicate and four.duplicate and not three.duplicate
    forged = say("one", CAROL, id=MessageId("5"), also=(MessageId("1"),))
    (other,) = await script.inbox.receive([forged])
    assert not other.duplicate, "ids chosen by others suppress nobody"


async def test_of_several_lines_only_the_one_meant_is_taken_back(bridge: Harness, script: Script) -> None:
    """The event is taken back and its other lines are said anew, in their styles, without a second ping; they are found
    by their ids there, until nothing is left."""
    lines = (Plain("one "), Span(Style.BOLD, (Plain("bold"),)), Plain("\ntwo\nthree"))
    event = RemoteMessage(ChatId("lobby"), BOB, Content(lines), MessageId("1"), also=(MessageId("2"), MessageId("3")))
    await _receive(bridge, script, event)
    room = bridge.homeserver.room("#_net_lobby:hs.test").id

    async def redact(target: str, by: RemoteSender = BOB) -> list[dict[str, Any]]:
        await _receive(
            bridge, script, RemoteRedaction(ChatId("lobby"), by, MessageId(target), id=MessageId(f"r{target}"))
        )
        return [event["content"] for event in _from(bridge, room, "bob") if event["type"] == "m.room.message"]

    first, rest = await redact("2", CAROL)
    assert first == {}
    assert (rest["body"], rest["formatted_body"]) == ("one bold\nthree", "one <strong>bold</strong><br>three")
    await _receive(bridge, script, say("yes", CAROL, id=MessageId("4"), reply_to=MessageId("3")))
    (answer,) = [event for event in _from(bridge, room, "carol") if event["type"] == "m.room.message"]
    anew = _from(bridge, room, "bob")[-1]["event_id"]
    assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == anew
    assert [content.get("body") for content in await redact("1")] == [None, None, "three"]
    assert [content.get("body") for content in await redact("3")] == [None, None, None]


async def test_lines_that_cannot_be_told_apart_are_taken_back_together(bridge: Harness, script: Script) -> None:
    """What was to go is gone in any case, and so is what may belong to it."""
    await _receive(bridge, script, say("one\nof one\ntwo", id=MessageId("1"), also=(MessageId("2"),)))
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    await _receive(bridge, script, RemoteRedaction(ChatId("lobby"), BOB, MessageId("2"), id=MessageId("3")))
    said = [event["content"] for event in _from(bridge, room, "bob") if event["type"] == "m.room.message"]
    assert said == [{}]


async def test_an_edit_by_somebody_else_changes_nothing(bridge: Harness, script: Script) -> None:
    """Only who said it can edit it."""
    forged = RemoteEdit(ChatId("lobby"), CAROL, MessageId("1"), Content((Plain("forged"),)), MessageId("2"))
    await _receive(bridge, script, say("mine", id=MessageId("1")), forged)
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    assert [e["content"]["body"] for e in _from(bridge, room, "bob")] == ["mine"]
    assert _from(bridge, room, "carol") == []
    assert (await _balance(bridge)).ignored == 1


async def test_a_kicked_ghost_comes_back(bridge: Harness, script: Script) -> None:
    """A ghost that was kicked joins again when its person speaks."""
    room = await bridge.portal_room("net", "lobby")
    await _receive(bridge, script, say("one"))
    await bridge.running.matrix.kick(room, "@_net_bob:hs.test", "out")  # type: ignore[arg-type]
    await _receive(bridge, script, say("two"))
    assert [e["content"]["body"] for e in _from(bridge, room, "bob")] == ["one", "two"]


async def test_a_gap_is_shown(bridge: Harness, script: Script) -> None:
    """Time without history appears in the room, once."""
    room = await bridge.portal_room("net", "lobby")
    await _receive(bridge, script, RemoteGap(ChatId("lobby"), 0, 60_000, "the server was restarted"))
    notices = [body for sender, body in bridge.homeserver.messages(room) if sender == bridge.homeserver.bot]
    assert notices == [
        "Messages between 1970-01-01 00:00:00 and 1970-01-01 00:01:00 UTC may be missing here: the server was restarted"
    ]


async def test_a_file_is_uploaded_with_its_caption(bridge: Harness, script: Script) -> None:
    """A file from the network's spool becomes a file on Matrix, typed by its bytes, its text its caption."""
    assert script.host is not None

    async def chunks() -> AsyncIterator[bytes]:
        yield b"\x89PNG\r\n\x1a\n" + b"x" * 100_000

    source = await script.host.blobs.put(chunks(), 1_000_000)
    attachment = Attachment(MediaKind.IMAGE, "cat.png", source, "text/html", 100_008)
    content = Content((Plain("my cat"),), attachments=(attachment,))
    await _receive(bridge, script, RemoteMessage(ChatId("lobby"), BOB, content))
    (event,) = _from(bridge, bridge.homeserver.room("#_net_lobby:hs.test").id, "bob")
    said = event["content"]
    assert (said["msgtype"], said["filename"], said["body"]) == ("m.image", "cat.png", "my cat")
    assert said["info"]["mimetype"] == "image/png"
    assert bridge.homeserver.file(said["url"]) == b"\x89PNG\r\n\x1a\n" + b"x" * 100_000


async def test_long_text_becomes_several_events(bridge: Harness, script: Script) -> None:
    """What does not fit into one event comes in parts, in order, with nothing lost."""
    words = [f"word{number}" for number in range(30_000)]
    await _receive(bridge, script, say(" ".join(words)))
    events = _from(bridge, bridge.homeserver.room("#_net_lobby:hs.test").id, "bob")
    assert len(events) > 1
    assert " ".join(e["content"]["body"] for e in events).split() == words
    assert (await _balance(bridge)).delivered == len(events)


async def test_names_are_mentioned_as_pills(bridge: Harness, script: Script) -> None:
    """A person named in the text is a pill of their ghost and among the mentions."""
    content = Content((Plain("ask "), Mention("Carol", RemoteUserId("carol"))))
    await _receive(bridge, script, RemoteMessage(ChatId("lobby"), BOB, content))
    (event,) = _from(bridge, bridge.homeserver.room("#_net_lobby:hs.test").id, "bob")
    assert event["content"]["m.mentions"] == {"user_ids": ["@_net_carol:hs.test"]}
    assert "https://matrix.to/#/@_net_carol:hs.test" in event["content"]["formatted_body"]


async def test_a_new_name_is_set(bridge: Harness, script: Script) -> None:
    """A person who is called otherwise now is so on Matrix too."""
    await _receive(bridge, script, say("hello"))
    await _receive(bridge, script, RemoteRename(BOB.id, RemoteSender(BOB.id, "Robert")))
    assert bridge.homeserver.displayname("@_net_bob:hs.test") == "Robert"


async def test_a_private_message_opens_a_room_for_the_login(bridge: Harness, script: Script) -> None:
    """The first private message makes a room of the two and invites the Matrix user."""
    script.provided = True
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "hello")
    await bridge.until(lambda: script.sent)
    await _receive(bridge, script, say("psst", chat="dm-bob", receiver=LoginId("@alice:hs.test")))
    (private,) = [one for one in bridge.homeserver.rooms() if one != room]
    assert bridge.homeserver.room(private).membership("@alice:hs.test") == "invite"
    bridge.alice.join(private)
    bridge.alice.send(private, "yes?")
    await bridge.until(lambda: "yes?" in script.texts())
    login, message = script.sent[-1]
    assert (login, message.chat) == ("@alice:hs.test", "dm-bob")


async def test_the_homeserver_may_be_away(bridge: Harness, script: Script) -> None:
    """While the homeserver fails, lanes wait; afterwards everything is there once and in order."""
    room = await bridge.portal_room("net", "lobby")
    assert script.inbox is not None
    await _receive(bridge, script, say("before"))
    bridge.homeserver.faults.answer(502, times=2, match="/send/")
    bridge.homeserver.faults.limit(100, times=1, match="/send/")
    bridge.homeserver.faults.lose_answer(times=2, match="/send/")
    await _receive(bridge, script, *[say(f"m{number}") for number in range(20)])
    assert [e["content"]["body"] for e in _from(bridge, room, "bob")] == ["before", *[f"m{n}" for n in range(20)]]


def _edit(text: str, number: int, *files: Attachment) -> RemoteEdit:
    content = Content((Plain(text),) if text else (), attachments=files)
    return RemoteEdit(ChatId("lobby"), BOB, MessageId("1"), content, MessageId(f"edit {number}"))


async def _file(script: Script, name: str, data: bytes = b"data", size: int | None = None) -> Attachment:
    assert script.host is not None

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    source = await script.host.blobs.put(chunks(), 100_000_000)
    return Attachment(MediaKind.FILE, name, source, "text/plain", len(data) if size is None else size)


def _shown(bridge: Harness, room: str) -> list[str]:
    """What a client shows of bob's messages: each with its last edit."""
    shown: dict[str, str] = {}
    for event in _from(bridge, room, "bob"):
        relates = event["content"].get("m.relates_to", {})
        if relates.get("rel_type") == "m.replace":
            shown[relates["event_id"]] = event["content"]["m.new_content"]["body"]
        else:
            shown[event["event_id"]] = event["content"]["body"]
    return list(shown.values())


async def test_a_long_edit_loses_nothing(bridge: Harness, script: Script) -> None:
    """What does not fit into the edit follows as further events of the message; later edits change those too."""
    words = [f"word{number}" for number in range(12_000)]
    await _receive(bridge, script, say("short", id=MessageId("1")), _edit(" ".join(words), 1))
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    assert " ".join(_shown(bridge, room)).split() == words
    parts = len(_shown(bridge, room))
    assert parts > 1
    await _receive(bridge, script, _edit("short again", 2))
    assert _shown(bridge, room) == ["short again", *["(removed by an edit)"] * (parts - 1)]
    await _receive(bridge, script, _edit(" ".join(reversed(words)), 3))
    assert " ".join(_shown(bridge, room)).split() == words[::-1]
    await _receive(bridge, script, RemoteRedaction(ChatId("lobby"), BOB, MessageId("1"), id=MessageId("9")))
    assert (await _balance(bridge)).dead == 0


async def test_an_empty_edit_empties_the_message(bridge: Harness, script: Script) -> None:
    """An edit that leaves nothing is shown as such, and counted as delivered."""
    await _receive(bridge, script, say("something", id=MessageId("1")), _edit("", 1))
    assert _shown(bridge, bridge.homeserver.room("#_net_lobby:hs.test").id) == ["(removed by an edit)"]
    assert (await _balance(bridge)).delivered == 2


async def test_an_edit_may_bring_a_file(bridge: Harness, script: Script) -> None:
    """The first file takes the message's place, with the text as its caption; a second one follows."""
    files = [await _file(script, "one.txt"), await _file(script, "two.txt")]
    await _receive(bridge, script, say("text", id=MessageId("1")), _edit("with files", 1, *files))
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    original, edit, further = _from(bridge, room, "bob")
    assert edit["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": original["event_id"]}
    new = edit["content"]["m.new_content"]
    assert (new["msgtype"], new["filename"], new["body"]) == ("m.file", "one.txt", "with files")
    assert (further["content"]["filename"], "m.relates_to" in further["content"]) == ("two.txt", False)


async def _ban(bridge: Harness, room: str, user: str) -> None:
    url = f"{bridge.homeserver.url}/_matrix/client/v3/rooms/{room}/ban"
    headers = {"Authorization": f"Bearer {bridge.appservice.as_token}"}
    body = {"user_id": user}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200


async def test_a_banned_ghosts_messages_are_rejected(bridge: Harness, script: Script) -> None:
    """What somebody says whose ghost is banned ends as rejected, nothing of it is kept, and others go on."""
    room = await bridge.portal_room("net", "lobby")
    await _receive(bridge, script, say("before"))
    await _ban(bridge, room, "@_net_bob:hs.test")
    lines = [say(f"m{number}", id=MessageId(f"m{number}")) for number in range(4)]
    file = RemoteMessage(ChatId("lobby"), BOB, Content(attachments=(await _file(script, "a.txt"),)))
    await _receive(bridge, script, *lines, file, say("hello", CAROL))
    balance = await _balance(bridge)
    assert (balance.delivered, balance.rejected, balance.dead) == (2, 5, 0)
    assert [e["content"]["body"] for e in _from(bridge, room, "carol")] == ["hello"]
    assert list((bridge.folder / "spool").iterdir()) == []


async def test_a_ban_in_one_room_keeps_nothing_from_the_others(bridge: Harness, script: Script) -> None:
    """Of several rooms of a chat, only the one that will not have the ghost goes without its messages and edits."""
    room = await bridge.portal_room("net", "lobby")
    other = bridge.alice.create_room()
    bridge.alice.invite(other, bridge.homeserver.bot)
    await bridge.until(lambda: bridge.homeserver.room(other).membership(bridge.homeserver.bot) == "join")
    engine = bridge.running.engine
    (portal,) = engine.portals.in_room(RoomId(room))
    await engine.portals.add_room(portal, RoomId(other))
    bridge.alice.invite(other, "@_net_bob:hs.test")
    await _receive(bridge, script, say("both", id=MessageId("1")))
    await _ban(bridge, room, "@_net_bob:hs.test")
    await _receive(bridge, script, say("refused at sending"))
    await _receive(bridge, script, say("refused at planning"), _edit("edited", 1))
    bodies = [e["content"]["body"] for e in _from(bridge, other, "bob")]
    assert bodies == ["both", "refused at sending", "refused at planning", "* edited"]
    assert [e["content"]["body"] for e in _from(bridge, room, "bob")] == ["both"]
    await _receive(bridge, script, RemoteRedaction(ChatId("lobby"), BOB, MessageId("1"), id=MessageId("9")))
    assert all(_from(bridge, one, "bob")[0]["content"] == {} for one in (room, other))
    balance = await _balance(bridge)
    assert (balance.rejected, balance.dead) == (3, 0)


async def test_a_file_that_is_too_large_leaves_a_note(bridge: Harness, script: Script) -> None:
    """The text arrives all the same and says which file is missing; files that fit are carried; none is kept."""
    huge = await _file(script, "cat.png", size=80_000_000)
    small = await _file(script, "small.txt")
    content = Content((Plain("my cat"),), attachments=(huge, small))
    await _receive(bridge, script, RemoteMessage(ChatId("lobby"), BOB, content))
    (event,) = _from(bridge, bridge.homeserver.room("#_net_lobby:hs.test").id, "bob")
    assert event["content"]["filename"] == "small.txt"
    assert event["content"]["body"] == "my cat\n(file cat.png: 80 MB, too large)"
    alone = Content(attachments=(await _file(script, "dog.png", size=80_500_000),))
    await _receive(bridge, script, RemoteMessage(ChatId("lobby"), CAROL, alone))
    (event,) = _from(bridge, bridge.homeserver.room("#_net_lobby:hs.test").id, "carol")
    assert event["content"]["body"] == "(file dog.png: 80.5 MB, too large)"
    assert list((bridge.folder / "spool").iterdir()) == []
    assert (await _balance(bridge)).delivered == 2


async def test_a_file_that_is_gone_leaves_a_note(bridge: Harness, script: Script) -> None:
    """A file that cannot be read any more does not take the text with it."""
    assert script.host is not None
    gone = await _file(script, "a.txt")
    await script.host.blobs.drop(gone.source)
    await _receive(bridge, script, RemoteMessage(ChatId("lobby"), BOB, Content((Plain("look"),), attachments=(gone,))))
    (event,) = _from(bridge, bridge.homeserver.room("#_net_lobby:hs.test").id, "bob")
    assert event["content"]["body"] == "look\n(file a.txt: 4 bytes, could not be carried)"


async def test_a_person_who_cannot_be_registered_is_rejected(bridge: Harness, script: Script) -> None:
    """A ghost that the homeserver will not have ends that person's message alone, as rejected."""
    await bridge.portal_room("net", "lobby")
    bridge.homeserver.faults.answer(400, times=1, match="/register", errcode="M_INVALID_USERNAME")
    await _receive(bridge, script, say("refused"), say("welcome", CAROL))
    balance = await _balance(bridge)
    assert (balance.delivered, balance.rejected, balance.dead) == (1, 1, 0)


async def test_messages_that_race_for_a_new_private_chat_share_its_portal(bridge: Harness) -> None:
    """Two who ask for the portal of one chat at once get one portal."""
    portals = bridge.running.engine.portals
    first, second = await asyncio.gather(*(portals.ensure(NetworkId("net"), ChatId("x")) for _ in range(2)))
    assert first == second == portals.get(PortalKey(NetworkId("net"), ChatId("x"), None))
