"""The main job on the echo network: the same tests on a real Synapse and on FakeHomeserver, which they verify."""

import secrets
from collections.abc import AsyncIterator

import pytest

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from tests.conformance.bridged import BOT, ECHO, Bridged
from tests.conformance.homeservers import SERVER, Event

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOMESERVERS = ("fake", "basic", "synapse")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
HTML = "org.matrix.custom.html"


async def test_a_room_is_made_when_its_alias_is_asked_for(at: Bridged) -> None:
    """Joining a portal's alias makes its room, with its name, for everybody, and says what it is bridged to."""
    chat = at.chat()
    room = await at.enter(chat=chat)
    state = f"rooms/{room}/state"
    assert await at.human.call("GET", f"{state}/m.room.name") == {"name": chat}
    assert await at.human.call("GET", f"{state}/m.room.join_rules") == {"join_rule": "public"}
    assert (await at.human.call("GET", f"{state}/m.room.canonical_alias"))["alias"] == f"#_echo_{chat}:{SERVER}"
    bridge = await at.human.call("GET", f"{state}/m.bridge/dev.matrix_bridge:%2F%2Fecho%2F{chat}")
    assert (bridge["bridgebot"], bridge["protocol"]["id"], bridge["channel"]["id"]) == (BOT, "echo", chat)
    assert await at.enter(chat=chat) == room
    refused = await at.human.call("POST", f"join/%23_echo_nowhere:{SERVER}")
    assert (refused["status"], refused["errcode"]) == (404, "M_NOT_FOUND")


async def test_message_comes_back_as_a_ghost(at: Bridged) -> None:
    """A message crosses to the network, and what the network says comes into the room as its ghost."""
    room = await at.enter()
    await at.human.send(room, "hello there")
    event = await at.echoed(room, "hello there")
    assert event["content"]["msgtype"] == "m.text"
    members = (await at.human.call("GET", f"rooms/{room}/joined_members"))["joined"]
    assert set(members) == {at.human.id, BOT, ECHO}
    assert members[ECHO]["display_name"] == "Echo"
    await at.bridge.settled()
    audit = await at.bridge.running.journal.audit()
    assert audit.holds
    assert audit.balances["echo", 0].delivered == audit.balances["echo", 1].delivered > 0


@pytest.mark.parametrize("kind", ["m.notice", "m.emote"])
async def test_notices_and_emotes_stay_what_they_are(at: Bridged, kind: str) -> None:
    """A notice is a notice on the other side, an emote an emote."""
    room = await at.enter()
    await at.human.send(room, "waves", kind)
    assert (await at.echoed(room, "waves"))["content"]["msgtype"] == kind


async def test_formatting_crosses(at: Bridged) -> None:
    """Formatted text arrives formatted, without what the specification does not allow."""
    room = await at.enter()
    html = '<b>bold</b> <a href="https://example.org/">link</a><ul><li>one</li></ul><script>alert(1)</script>'
    await at.human.send(room, "bold link", format=HTML, formatted_body=html)
    event = await at.human.sees(room, lambda e: e["sender"] == ECHO and "formatted_body" in e["content"])
    formatted = event["content"]["formatted_body"]
    assert event["content"]["format"] == HTML
    assert "bold</" in formatted and "<script" not in formatted
    assert 'href="https://example.org/"' in formatted and "<li>one</li>" in formatted


async def test_replies_stay_replies(at: Bridged) -> None:
    """A reply to a ghost's message comes back as a reply to the message that the ghost had answered."""
    room = await at.enter()
    await at.human.send(room, "question")
    question = await at.echoed(room, "question")
    relation = {"m.in_reply_to": {"event_id": question["event_id"]}}
    await at.human.send_event(room, {"msgtype": "m.text", "body": "answer", "m.relates_to": relation})
    answer = await at.echoed(room, "answer")
    assert answer["content"]["m.relates_to"] == relation


async def test_edit_reaction_and_redaction_come_back(at: Bridged) -> None:
    """Edits, reactions and redactions reach the message they are about, on both sides."""
    room = await at.enter()
    first = await at.human.send(room, "first")
    said = await at.echoed(room, "first")
    await at.human.edit(room, first, "second")
    edit = await at.human.sees(room, lambda e: e["sender"] == ECHO and "m.new_content" in e["content"])
    assert edit["content"]["m.new_content"]["body"] == "second"
    assert edit["content"]["m.relates_to"]["event_id"] == said["event_id"]
    assert edit["content"]["m.relates_to"]["rel_type"] == "m.replace"
    await at.human.react(room, first, "👍")
    reaction = await at.human.sees(room, lambda e: e["sender"] == ECHO and e["type"] == "m.reaction")
    assert reaction["content"]["m.relates_to"] == {"rel_type": "m.annotation", "event_id": first, "key": "👍"}
    await at.human.redact(room, first, "a slip")
    redaction = await at.human.sees(room, lambda e: e["sender"] == ECHO and e["type"] == "m.room.redaction")
    assert redaction.get("redacts", redaction["content"].get("redacts")) == said["event_id"]
    assert redaction["content"]["reason"] == "a slip"
    gone = await at.human.sees(room, lambda e: e["event_id"] == said["event_id"])
    assert "body" not in gone["content"]


async def test_files_cross_in_both_directions(at: Bridged) -> None:
    """An image comes back as an image with the same bytes, name, caption and size."""
    room = await at.enter()
    mxc = await at.human.upload(PNG, "image/png", "näme.png")
    info = {"mimetype": "image/png", "size": len(PNG), "w": 3, "h": 2}
    await at.human.send(room, "look", "m.image", filename="näme.png", url=mxc, info=info)
    content = (await at.human.sees(room, lambda e: e["sender"] == ECHO and "url" in e["content"]))["content"]
    assert (content["msgtype"], content["body"], content["filename"]) == ("m.image", "look", "näme.png")
    assert {key: content["info"].get(key) for key in info} == info
    assert await at.human.download(content["url"]) == PNG


async def test_files_of_the_network_are_uploaded(at: Bridged) -> None:
    """A file that comes with a remote message is on the homeserver, under the ghost's message, with its true type."""
    chat = at.chat()
    room = await at.enter("net", chat)
    assert at.script.host is not None and at.script.inbox is not None

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(PNG), 1000):
            yield PNG[start : start + 1000]

    blob = await at.script.host.blobs.put(chunks(), 1 << 20)
    file = Attachment(MediaKind.IMAGE, "cat.png", blob, "application/octet-stream", len(PNG))
    sender = RemoteSender(RemoteUserId("dora"), "Dora")
    await at.script.inbox.receive(
        [RemoteMessage(ChatId(chat), sender, Content((Plain("my cat"),), attachments=(file,)), MessageId("m1"))]
    )
    content = (await at.human.sees(room, lambda e: "url" in e["content"]))["content"]
    assert (content["msgtype"], content["filename"], content["body"]) == ("m.image", "cat.png", "my cat")
    assert content["info"]["mimetype"] == "image/png"
    assert await at.human.download(content["url"]) == PNG


async def test_long_text_crosses_whole(at: Bridged) -> None:
    """A text as long as an event holds comes back whole, in as few events as it takes."""
    room = await at.enter()
    text = " ".join(f"word{number}" for number in range(6500))
    assert 50_000 < len(text) < 64_000
    await at.human.send(room, text)
    await at.human.send(room, "the end")
    await at.echoed(room, "the end")
    *parts, _ = [event["content"]["body"] for event in await at.by_echo(room)]
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert len(parts) <= 3


async def test_order_is_kept(at: Bridged) -> None:
    """What is said quickly comes back in order, each once."""
    room = await at.enter()
    said = [f"number {number}" for number in range(25)]
    for body in said:
        await at.human.send(room, body)
    await at.echoed(room, said[-1])
    assert [event["content"]["body"] for event in await at.by_echo(room)] == said


async def test_a_private_room_is_bridged(at: Bridged) -> None:
    """The bot follows an invitation into a private room, bridges it by command, and ends that by command."""
    chat = f"cellar{secrets.token_hex(4)}"
    guest = await at.homeserver.human()
    room = await at.private_room(BOT, guest.id)
    await guest.join(room)
    first = await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    await at.human.send(room, f"!bridge bridge echo {chat}")
    await at.told(room, f"now bridged to {chat} on echo")
    await guest.send(room, "psst")
    await at.echoed(room, "psst")
    await at.human.send(room, "!bridge unbridge")
    await at.told(room, "bridged no more")
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "leave")
    await at.human.send(room, "is anybody there?")
    await at.human.call("POST", f"rooms/{room}/invite", {"user_id": BOT})

    def again(event: Event) -> bool:
        joined = event.get("state_key") == BOT and event["content"]["membership"] == "join"
        return joined and event["event_id"] != first["event_id"]

    await at.human.sees(room, again)
    await at.human.send(room, "!bridge status")
    await at.told(room, "echo (Echo): connected")
    assert [event["content"]["body"] for event in await at.by_echo(room)] == ["psst"]


async def test_a_stranger_cannot_bridge_a_room(at: Bridged) -> None:
    """A member without the power to change a room's settings cannot bridge it, and is told."""
    guest = await at.homeserver.human()
    room = await at.private_room(BOT, guest.id)
    await guest.join(room)
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    await guest.send(room, "!bridge bridge echo cellar")
    await at.told(room, "you may not change this room's settings")


async def test_the_management_room_takes_commands(at: Bridged) -> None:
    """A room of a user and the bot alone takes commands without a prefix; `portal` makes a room and invites."""
    chat = f"attic{secrets.token_hex(4)}"
    room = await at.private_room(BOT)
    await at.told(room, "This is your management room")
    await at.human.send(room, "help")
    await at.told(room, "unbridge - end all bridging of this room")
    await at.human.send(room, f"portal echo {chat}")
    await at.told(room, f"{chat} is in !")
    joined = await at.human.join(f"#_echo_{chat}:{SERVER}")
    await at.human.send(joined, "here")
    await at.echoed(joined, "here")


async def test_a_kicked_ghost_comes_back_when_it_speaks(at: Bridged) -> None:
    """A ghost that was removed joins again with its next message, which is not lost."""
    room = await at.private_room(BOT)
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    await at.human.send(room, f"!bridge bridge echo stairs{secrets.token_hex(4)}")
    await at.told(room, "now bridged")
    # The ghost needs an invitation, which the bot gives.
    await at.human.send(room, "one")
    await at.echoed(room, "one")
    await at.human.call("POST", f"rooms/{room}/kick", {"user_id": ECHO, "reason": "quiet, please"})
    await at.human.send(room, "two")
    await at.echoed(room, "two")


async def test_a_stopped_bridge_goes_on_where_it_was(at: Bridged) -> None:
    """What is said while the bridge is away arrives once, in order, when it is back."""
    room = await at.enter()
    await at.human.send(room, "before")
    await at.echoed(room, "before")
    await at.bridge.stop_bridge()
    said = [f"message {number}" for number in range(20)]
    for body in said:
        await at.human.send(room, body)
    await at.bridge.start_bridge()
    await at.echoed(room, said[-1])
    assert [event["content"]["body"] for event in await at.by_echo(room)] == ["before", *said]


async def test_a_restarted_homeserver_changes_nothing(at: Bridged) -> None:
    """After the homeserver's restart, when it numbers transactions anew, everything crosses once, in order."""
    room = await at.enter()
    said = [f"early {number}" for number in range(5)] + [f"late {number}" for number in range(5)]
    for body in said[:5]:
        await at.human.send(room, body)
    await at.echoed(room, said[4])
    await at.homeserver.restart()
    for body in said[5:]:
        await at.human.send(room, body)
    await at.echoed(room, said[-1])
    assert [event["content"]["body"] for event in await at.by_echo(room)] == said
