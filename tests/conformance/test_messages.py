"""What messages may hold, both ways: the same tests on a real Synapse and on FakeHomeserver, which they verify."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.content import (
    Content,
    Location,
    MediaKind,
    Mention,
    Picture,
    Plain,
    Poll,
    PollAnswer,
    Profile,
)
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import (
    RemoteEvent,
    RemoteInfo,
    RemoteMessage,
    RemotePollEnd,
    RemoteReaction,
    RemoteSender,
    RemoteVote,
)
from bridge_core.api.ids import ChatId, EventId, MessageId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixOutgoing
from bridge_core.api.network import Attempt, Capabilities, Level, Sent
from bridge_core.content.plain import to_plain
from tests.able import AbleScript
from tests.conformance.bridged import BOT, Bridged
from tests.conformance.homeservers import SERVER, Event, Homeserver

UNSTABLE = "org.matrix.msc3381.poll."
TEA = (PollAnswer("y", "Yes"), PollAnswer("n", "No"))
ANNA, BOB = RemoteSender(RemoteUserId("anna"), "Anna"), RemoteSender(RemoteUserId("bob"), "Bob")
ANNA_GHOST, BOB_GHOST = f"@_net_anna:{SERVER}", f"@_net_bob:{SERVER}"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
HTML = "org.matrix.custom.html"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def options(homeserver: Homeserver) -> dict[str, Any]:
    """A network that can do everything."""
    script = AbleScript()
    script.answer = _answer
    return {"script": script}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _as_before(at: Bridged) -> AsyncIterator[None]:
    """Each test begins on a network that can do everything and has been sent nothing."""
    at.script.capabilities = Capabilities(default=Level.FULL)
    at.script.sent.clear()
    yield


def _answer(message: MatrixOutgoing, attempt: Attempt) -> Sent:
    return Sent((MessageId(f"m-{attempt.key}"),))


async def sent(at: Bridged, number: int) -> Any:
    """The message with this number of those that the network was sent in this test."""
    await at.bridge.until(lambda: len(at.script.sent) > number)
    return at.script.sent[number][1]


async def entered(at: Bridged) -> tuple[str, ChatId]:
    """A chat of the scripted network that the human has entered: its room and itself."""
    chat = at.chat()
    return await at.enter("net", chat), ChatId(chat)


async def hear(at: Bridged, *events: RemoteEvent) -> None:
    """The network says it."""
    assert at.script.inbox is not None
    await at.script.inbox.receive(events)


def said(chat: ChatId, content: Content, identity: MessageId | None = None, **more: Any) -> RemoteMessage:
    """A message of Anna's."""
    return RemoteMessage(chat, ANNA, content, identity, **more)


def by(sender: str, msgtype: str | None = None) -> Callable[[Event], bool]:
    """Whether an event is a message of somebody, of some kind."""
    return lambda event: (
        event["sender"] == sender
        and event["type"] == "m.room.message"
        and (msgtype is None or event["content"].get("msgtype") == msgtype)
    )


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def remote_id(at: Bridged, room: str, event: str) -> MessageId:
    """What the network calls an event."""
    rows = await at.bridge.running.database.messages.by_event(RoomId(room), EventId(event))
    return rows[0].message


async def test_what_the_chat_does_not_have_is_refused_in_words(at: Bridged) -> None:
    """The sender is told what cannot be sent and within which limits; it is counted, and the lane goes on."""
    room = await at.enter("net")
    at.script.capabilities = Capabilities({"image": Level.REJECTED}, default=Level.FULL, max_text=5)
    before = at.bridge.running.journal.counters().get(("net", 0, "rejected"), 0)
    await at.human.send(room, "too long")
    await at.told(room, "the text has 8 bytes, and at most 5 are carried there")
    await at.human.send(room, "a.png", "m.image", url="mxc://hs.test/a")
    await at.told(room, "images cannot be sent there")
    await at.human.send(room, "short")
    assert (await sent(at, 0)).content.text[0].text == "short"
    await at.bridge.settled()
    assert at.bridge.running.journal.counters()["net", 0, "rejected"] == before + 2
    assert (await at.bridge.running.journal.audit()).holds


async def test_what_is_left_out_is_told_once(at: Bridged) -> None:
    """A message whose answer cannot be shown goes without it; the first time the sender is told."""
    room = await at.enter("net")
    at.script.capabilities = Capabilities({"reply": Level.DROPPED}, default=Level.FULL)
    first = await at.human.send(room, "first")
    for text in ("second", "third"):
        relation = {"m.in_reply_to": {"event_id": first}}
        await at.human.send_event(room, {"msgtype": "m.text", "body": text, "m.relates_to": relation})
    assert (await sent(at, 2)).reply_to is None
    await at.told(room, "does not show all of this message: messages cannot be answered there")
    await at.bridge.settled()
    bodies = [body for _, body in await at.human.bodies(room)]
    assert len([body for body in bodies if "does not show all" in body]) == 1


async def test_a_person_puts_only_so_many_reactions_on_a_message(at: Bridged) -> None:
    """One more than the chat allows is refused in words; after one is taken off there is room again, for others too."""
    room = await at.enter("net")
    at.script.capabilities = Capabilities(default=Level.FULL, max_reactions=2)
    said = await at.human.send(room, "react to this")
    first = await at.human.react(room, said, "🍎")
    await at.human.react(room, said, "🍐")
    await at.human.react(room, said, "🍇")
    await at.told(room, "one person may put 2 reactions on a message there: take one off first")
    await at.human.redact(room, first)
    await at.human.react(room, said, "🍋")
    assert (await sent(at, 4)).key == "🍋"
    kinds = [type(message).__name__ for _, message in at.script.sent]
    assert kinds == ["MatrixMessage", "MatrixReaction", "MatrixReaction", "MatrixRedaction", "MatrixReaction"]


async def test_polls_of_matrix_cross_with_votes_and_end(at: Bridged) -> None:
    """A poll is one on the network, in both forms that clients write; so are votes, taken back too, and its end."""
    room = await at.enter("net")
    unstable = {
        "question": {"org.matrix.msc1767.text": "Tea?"},
        "answers": [{"id": "y", "org.matrix.msc1767.text": "Yes"}, {"id": "n", "org.matrix.msc1767.text": "No"}],
        "kind": "org.matrix.msc3381.poll.undisclosed",
        "max_selections": 1,
    }
    stable = {
        "question": {"m.text": [{"body": "Tea?"}]},
        "answers": [{"m.id": "y", "m.text": [{"body": "Yes"}]}, {"m.id": "n", "m.text": [{"body": "No"}]}],
        "kind": "m.undisclosed",
        "max_selections": 1,
    }
    begun = UNSTABLE + "start"
    poll = await at.human.send_event(room, {begun: unstable}, begun)
    await at.human.send_event(room, {"m.poll": stable, "m.text": [{"body": "Tea?"}]}, "m.poll.start")
    relation = {"m.relates_to": {"rel_type": "m.reference", "event_id": poll}}
    vote = {**relation, UNSTABLE + "response": {"answers": ["y", "y"]}}
    await at.human.send_event(room, vote, UNSTABLE + "response")
    await at.human.send_event(room, {**relation, "m.selections": []}, "m.poll.response")
    end = {**relation, UNSTABLE + "end": {}, "org.matrix.msc1767.text": "Yes won"}
    await at.human.send_event(room, end, UNSTABLE + "end")
    first, second = (await sent(at, 0)), (await sent(at, 1))
    assert first.content.poll == second.content.poll == Poll("Tea?", TEA, 1, False)
    assert to_plain(first.content.text) == "Tea?\n1. Yes\n2. No"
    votes = [await sent(at, 2), await sent(at, 3)]
    assert [vote.answers for vote in votes] == [("y",), ()]
    ended = await sent(at, 4)
    assert (type(ended).__name__, ended.text) == ("MatrixPollEnd", "Yes won")
    assert {about.target.event_id for about in (*votes, ended)} == {poll}


async def test_polls_of_the_network_cross_with_votes_and_end(at: Bridged) -> None:
    """What clients see is a poll of the ghost, a vote of the ghost that votes, and an end by who may end it."""
    room, chat = await entered(at)
    await hear(at, said(chat, Content(poll=Poll("Tea?", TEA)), MessageId("p1")))
    poll = await at.human.sees(room, lambda e: e["type"] == UNSTABLE + "start")
    assert poll["sender"] == ANNA_GHOST
    start = poll["content"][UNSTABLE + "start"]
    assert [answer["id"] for answer in start["answers"]] == ["y", "n"]
    assert (start["question"]["org.matrix.msc1767.text"], start["max_selections"]) == ("Tea?", 1)
    assert poll["content"]["org.matrix.msc1767.text"] == "Tea?\n1. Yes\n2. No"
    assert poll["content"]["m.poll"]["answers"][1] == {"m.id": "n", "m.text": [{"body": "No"}]}
    await hear(at, RemoteVote(chat, BOB, MessageId("p1"), ("n",)), RemotePollEnd(chat, BOB, MessageId("p1"), "No won"))
    vote = await at.human.sees(room, lambda e: e["type"] == UNSTABLE + "response")
    assert (vote["sender"], vote["content"][UNSTABLE + "response"]) == (BOB_GHOST, {"answers": ["n"]})
    end = await at.human.sees(room, lambda e: e["type"] == UNSTABLE + "end")
    assert end["sender"] == BOT, "only who began it, or who may redact, can end a poll"
    for event in (vote, end):
        assert event["content"]["m.relates_to"] == {"rel_type": "m.reference", "event_id": poll["event_id"]}
    relation = {"m.relates_to": {"rel_type": "m.reference", "event_id": poll["event_id"]}}
    await at.human.send_event(room, {**relation, UNSTABLE + "response": {"answers": ["y"]}}, UNSTABLE + "response")
    mine = await sent(at, 0)
    assert (mine.target.id, mine.answers) == ("p1", ("y",))


async def test_polls_are_text_where_there_are_none(at: Bridged) -> None:
    """A network without polls is sent the question and the answers as text."""
    room = await at.enter("net")
    at.script.capabilities = Capabilities({"poll": Level.FALLBACK}, default=Level.FULL)
    answers = [{"id": "y", "org.matrix.msc1767.text": "Yes"}]
    begun = UNSTABLE + "start"
    poll = {"question": {"org.matrix.msc1767.text": "Tea?"}, "answers": answers}
    await at.human.send_event(room, {begun: poll}, begun)
    message = await sent(at, 0)
    assert (message.content.poll, to_plain(message.content.text)) == (None, "Tea?\n1. Yes")


async def test_places_cross(at: Bridged) -> None:
    """A place is one on both sides, with its words."""
    room, chat = await entered(at)
    await at.human.send(room, "Here", "m.location", geo_uri="geo:48.85828,2.29449;u=12")
    message = await sent(at, 0)
    assert message.content.location == Location(48.85828, 2.29449, 12.0)
    assert to_plain(message.content.text) == "Here\ngeo:48.85828,2.29449;u=12"
    await hear(at, said(chat, Content(location=Location(-33.8568, 151.2153, description="Opera"))))
    content = (await at.human.sees(room, by(ANNA_GHOST)))["content"]
    assert (content["msgtype"], content["geo_uri"]) == ("m.location", "geo:-33.8568,151.2153")
    assert content["org.matrix.msc3488.location"] == {"uri": "geo:-33.8568,151.2153", "description": "Opera"}
    assert content["body"] == "Opera\ngeo:-33.8568,151.2153"


async def test_stickers_voice_and_hidden_files_cross(at: Bridged) -> None:
    """A sticker stays a sticker, a voice message one with its loudness, and what is hidden stays hidden."""
    room, chat = await entered(at)
    mxc = await at.human.upload(PNG, "image/png", "cat.png")
    await at.human.send_event(room, {"body": "cat", "url": mxc, "info": {}}, "m.sticker")
    voice = {"org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": {"waveform": [0, 512, 9999]}}
    await at.human.send(room, "v.ogg", "m.audio", url=mxc, **voice)
    hidden = {"page.codeberg.everypizza.msc4193.spoiler": True}
    await at.human.send(
        room, "plot.png", "m.image", url=mxc, **hidden, **{"page.codeberg.everypizza.msc4193.spoiler.reason": "plot"}
    )
    sticker, spoken, plot = [(await sent(at, number)).content.attachments[0] for number in range(3)]
    assert (sticker.kind, sticker.name) == (MediaKind.STICKER, "cat")
    assert (spoken.kind, spoken.waveform) == (MediaKind.VOICE, (0, 512, 1024))
    assert (plot.kind, plot.spoiler) == (MediaKind.IMAGE, "plot")
    for number, attachment in enumerate((sticker, spoken, plot)):
        await hear(at, said(chat, Content(attachments=(attachment,)), MessageId(f"f{number}")))
    seen = await at.human.sees(room, lambda e: e["type"] == "m.sticker" and e["sender"] == ANNA_GHOST)
    assert (seen["content"]["body"], seen["content"]["url"], "msgtype" in seen["content"]) == ("cat", mxc, False)
    content = (await at.human.sees(room, by(ANNA_GHOST, "m.audio")))["content"]
    assert content["org.matrix.msc1767.audio"] == {"waveform": [0, 512, 1024]}
    content = (await at.human.sees(room, by(ANNA_GHOST, "m.image")))["content"]
    assert content["page.codeberg.everypizza.msc4193.spoiler"] is True
    assert content["page.codeberg.everypizza.msc4193.spoiler.reason"] == "plot"


async def test_custom_emoji_cross(at: Bridged) -> None:
    """A picture in a text or as a reaction is one on both sides; the network's own are uploaded once."""
    room, chat = await entered(at)
    mxc = await at.human.upload(PNG, "image/png", "cat.png")
    html = f'look <img data-mx-emoticon src="{mxc}" alt=":cat:" height="32">'
    event = await at.human.send(room, "look :cat:", format=HTML, formatted_body=html)
    relation = {"rel_type": "m.annotation", "event_id": event, "key": mxc}
    await at.human.send_event(room, {"m.relates_to": relation, "shortcode": ":cat:"}, "m.reaction")
    assert (await sent(at, 0)).content.text[-1] == Picture(":cat:", mxc)
    reaction = await sent(at, 1)
    assert (reaction.key, reaction.picture) == (mxc, Picture(":cat:", mxc))
    assert at.script.host is not None
    blob = await at.script.host.blobs.put(chunks(PNG), len(PNG))
    own = Picture(":dog:", blob)
    await hear(at, said(chat, Content((Plain("see "), own, own)), MessageId("e1")))
    content = (await at.human.sees(room, by(ANNA_GHOST)))["content"]
    sources = set(re.findall(r'src="(mxc://[^"]+)" alt=":dog:"', content["formatted_body"]))
    assert len(sources) == 1 and content["body"] == "see :dog::dog:"
    assert await at.human.download(sources.pop()) == PNG
    blob = await at.script.host.blobs.put(chunks(PNG), len(PNG))
    await hear(at, RemoteReaction(chat, BOB, MessageId("e1"), ":dog:", picture=Picture(":dog:", blob)))
    seen = await at.human.sees(room, lambda e: e["type"] == "m.reaction" and e["sender"] == BOB_GHOST)
    assert seen["content"]["shortcode"] == ":dog:"
    assert (await at.human.download(seen["content"]["m.relates_to"]["key"])) == PNG


async def test_threads_cross_and_fall_back(at: Bridged) -> None:
    """A thread is one on both sides; old clients see an answer to its latest message, networks one to its first."""
    room, chat = await entered(at)
    root = await at.human.send(room, "root")
    first = await sent(at, 0)
    relation = {"rel_type": "m.thread", "event_id": root, "is_falling_back": True}
    answer = {"m.in_reply_to": {"event_id": root}}
    inside = await at.human.send_event(
        room, {"msgtype": "m.text", "body": "in it", "m.relates_to": {**relation, **answer}}
    )
    message = await sent(at, 1)
    assert (message.thread.event_id, message.reply_to) == (root, None)
    await at.bridge.settled()
    identity = await remote_id(at, room, root)
    await hear(at, said(chat, Content((Plain("one"),)), MessageId("t1"), thread=identity))
    await hear(at, said(chat, Content((Plain("two"),)), MessageId("t2"), thread=identity))
    one = await at.human.sees(room, lambda e: e["content"].get("body") == "one")
    two = await at.human.sees(room, lambda e: e["content"].get("body") == "two")
    for event, last in ((one, inside), (two, one["event_id"])):
        assert event["content"]["m.relates_to"] == {**relation, "m.in_reply_to": {"event_id": last}}
    at.script.capabilities = Capabilities({"thread": Level.FALLBACK}, default=Level.FULL)
    await at.human.send_event(room, {"msgtype": "m.text", "body": "again", "m.relates_to": {**relation, **answer}})
    message = await sent(at, 2)
    assert (message.thread, message.reply_to.event_id) == (None, root)
    assert first.thread is None


async def test_mentions_cross(at: Bridged) -> None:
    """Who is to be notified is, by intent and not by text alone, on both sides; a relay never calls everybody."""
    room, chat = await entered(at)
    await hear(at, said(chat, Content((Plain("hello"),)), MessageId("h1")))
    await at.human.sees(room, by(ANNA_GHOST))
    await at.human.send(
        room, "psst", **{"m.mentions": {"user_ids": [ANNA_GHOST, "@z:hs.test", "no user"], "room": True}}
    )
    content = (await sent(at, 0)).content
    assert [(one.remote, one.matrix) for one in content.mentions] == [("anna", ANNA_GHOST), (None, "@z:hs.test")]
    assert not content.mentions_all
    mine = Mention("you", None, UserId(at.human.id))
    await hear(at, said(chat, Content((Plain("you!"),), mentions=(mine, Mention("Bob", BOB.id)), mentions_all=True)))
    event = await at.human.sees(room, lambda e: e["content"].get("body") == "you!")
    assert event["content"]["m.mentions"] == {"user_ids": [at.human.id, BOB_GHOST], "room": True}


async def test_profiles_are_shown_with_a_fallback(at: Bridged) -> None:
    """Whom a relaying person speaks for is shown as a profile of the message, and before its text for old clients."""
    room, chat = await entered(at)
    profile = Profile("carol@other", "Ca\u202erol\n<b>", "mxc://hs.test/face")
    await hear(at, said(chat, Content((Plain("a < b"),)), MessageId("pr1"), profile=profile))
    content = (await at.human.sees(room, by(ANNA_GHOST)))["content"]
    assert content["com.beeper.per_message_profile"] == {
        "id": "carol@other",
        "displayname": "Carol <b>",
        "avatar_url": "mxc://hs.test/face",
        "has_fallback": True,
    }
    assert content["body"] == "Carol <b>: a < b"
    assert content["formatted_body"] == "<strong data-mx-profile-fallback>Carol &lt;b&gt;: </strong>a &lt; b"


async def test_a_room_shows_what_its_chat_can_carry(at: Bridged) -> None:
    """The bot publishes it as room state, anew when it changes, and only then; other bridges' clients can read it."""
    room, chat = await entered(at)
    path = f"rooms/{room}/state/com.beeper.room_features/dev.matrix_bridge:%2F%2Fnet%2F{chat}"

    async def shown(match: Callable[[Event], bool]) -> Event:
        async with asyncio.timeout(60):
            while not match(found := await at.human.call("GET", path)):
                await asyncio.sleep(0.05)
        return dict(found)

    full = await shown(lambda content: "reply" in content)
    assert (full["reply"], full["poll"], full["file"]["m.image"]["mime_types"]) == (2, 2, {"*/*": 2})
    assert full["state"]["m.room.topic"] == {"level": 2} and full["formatting"]["spoiler"] == 2
    assert full["member_actions"] == {"ban": -2, "kick": -2, "invite": -2}, "its client has no such method"
    assert "max_text_length" not in full and full["dev.matrix_bridge.features"]["vote"] == 2
    at.script.capabilities = Capabilities(
        {"poll": Level.REJECTED, "image": Level.FALLBACK},
        default=Level.FULL,
        max_text=400,
        max_file=9,
        mimes={"image": ("image/png",)},
        edit_age=60,
        reactions=("👍",),
        max_reactions=1,
    )
    await at.human.send(room, "one")
    less = await shown(lambda content: content.get("poll") == -2)
    assert less["file"]["m.image"] == {"mime_types": {"image/png": 0}, "caption": 2, "max_size": 9}
    limits = ("max_text_length", "edit_max_age", "reaction_count", "allowed_reactions")
    assert [less[limit] for limit in limits] == [400, 60, 1, ["👍"]]
    assert less["id"] != full["id"]
    await at.human.send(room, "two")
    await sent(at, 1)  # the homeserver has handed it on: it is not the next test's first message
    await at.bridge.settled()
    events = [e for e in await at.human.timeline(room) if e["type"] == "com.beeper.room_features"]
    # It was there from the room's beginning, which who came later does not see as an event.
    assert [(event["sender"], event["content"]["id"]) for event in events] == [(BOT, less["id"])]


async def test_messages_disappear_on_both_sides(at: Bridged) -> None:
    """After the chat's timer a message is redacted: a ghost's by itself, a Matrix user's by the bot."""
    room, chat = await entered(at)
    await hear(at, RemoteInfo(chat, expiry=4_000))
    path = f"rooms/{room}/state/com.beeper.disappearing_timer"
    async with asyncio.timeout(60):
        while (await at.human.call("GET", path)).get("timer") != 4_000:
            await asyncio.sleep(0.05)
    mine = await at.human.send(room, "mine")
    assert (await sent(at, 0)).expiry == 4_000
    await hear(at, said(chat, Content((Plain("theirs"),)), MessageId("d1")))
    await hear(at, said(chat, Content((Plain("stays"),)), MessageId("d2"), expiry=0))
    await hear(at, said(chat, Content((Plain("too late"),)), MessageId("d3"), timestamp=1))
    theirs = await at.human.sees(room, by(ANNA_GHOST))
    for event, who in ((mine, BOT), (theirs["event_id"], ANNA_GHOST)):
        gone = await at.human.sees(room, _takes_back(event))
        assert (gone["sender"], gone["content"]["reason"]) == (who, "disappeared")
    bodies = [body for sender, body in await at.human.bodies(room) if sender == ANNA_GHOST]
    assert bodies == ["", "stays"]
    assert await at.bridge.running.database.expiring.next_due() is None
    await at.human.call("PUT", path, {"type": "after_send", "timer": 0})
    await hear(at, RemoteInfo(chat, expiry=0))


def _takes_back(event: str) -> Callable[[Event], bool]:
    return lambda one: (
        one["type"] == "m.room.redaction" and event in (one.get("redacts"), one["content"].get("redacts"))
    )


async def test_a_timer_set_on_matrix_crosses(at: Bridged) -> None:
    """Who may set the room's state sets the chat's timer; those that are no time are no timer."""
    room = await at.enter("net")
    portal = at.bridge.running.engine.portals.in_room(RoomId(room))[0]
    state = f"rooms/{room}/state"
    levels = await at.human.call("GET", f"{state}/m.room.power_levels")
    assert (await at.human.call("PUT", f"{state}/com.beeper.disappearing_timer", {"timer": 5}))["status"] == 403
    powers = {**levels, "users": {**levels["users"], at.human.id: 50}}
    await at.bridge.running.matrix.set_state(RoomId(room), "m.room.power_levels", "", powers, UserId(BOT))
    await at.human.call("PUT", f"{state}/com.beeper.disappearing_timer", {"type": "after_send", "timer": 60_000})
    info = await sent(at, 0)
    assert (type(info).__name__, info.expiry) == ("MatrixInfo", 60_000)
    portals = at.bridge.running.engine.portals
    await at.bridge.until(lambda: portals.by_id(portal.id).options.get("expiry") == 60_000)  # type: ignore[union-attr]
    await at.human.call("PUT", f"{state}/com.beeper.disappearing_timer", {"type": "after_send", "timer": -1})
    assert (await sent(at, 1)).expiry == 0
    await at.bridge.until(lambda: "expiry" not in portals.by_id(portal.id).options)  # type: ignore[union-attr]


async def test_a_timer_is_set_by_command(at: Bridged) -> None:
    """Who may change the room says after which time its messages disappear; a network that refuses has its way."""
    room, chat = await entered(at)
    path = f"rooms/{room}/state/com.beeper.disappearing_timer"

    async def becomes(timer: int) -> None:
        async with asyncio.timeout(60):
            while (await at.human.call("GET", path)).get("timer", 0) != timer:
                await asyncio.sleep(0.05)

    other = await at.homeserver.human()
    await other.join(room)
    await other.send(room, "!bridge expiry 1h")
    await at.told(room, "you may not change this room's settings")
    await at.human.send(room, "!bridge expiry soon")
    await at.told(room, "Say expiry with a time")
    at.script.sent.clear()
    await at.human.send(room, "!bridge expiry 1h")
    await at.told(room, "Messages here disappear 1h after they were sent.")
    info = await sent(at, 0)
    assert (type(info).__name__, info.chat, info.expiry, info.sender.id) == ("MatrixInfo", chat, 3_600_000, at.human.id)
    await becomes(3_600_000)

    def refuse(message: Any, attempt: Any) -> Sent:
        raise RejectedError("an hour at least")

    at.script.answer = refuse
    command = await at.human.send(room, "!bridge expiry 5s")
    told = await at.told(room, "Your change was not made on net: an hour at least")
    at.script.answer = lambda message, attempt: Sent()
    assert told["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == command
    await becomes(3_600_000)
    await at.human.send(room, "!bridge expiry off")
    await becomes(0)
    assert (await sent(at, 1)).expiry == 0
    portal = at.bridge.running.engine.portals.in_room(RoomId(room))[0]
    assert "expiry" not in portal.options
