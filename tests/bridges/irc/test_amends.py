"""Edits, redactions, reactions and typing, with their fallbacks, each as the server can carry it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.content import Content, Kind, Picture, Plain, Span, Style
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.ids import ChatId, EventId, MessageId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixReaction, MatrixRedaction, MatrixSender, MatrixTyping, MessageRef
from bridge_core.api.network import Level
from bridges.irc import composing
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.composing import Composing
from bridges.irc.demo.options import CAPABILITIES, DRAFTS, Verdict
from bridges.irc.edits import Recent, short_edit
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, confirmed

A = ChatId("#a")
LONG = "the quick brown fox jumps over the lazy dog today"
WHO = {"room": RoomId("!r"), "chat": A, "timestamp": 1}
ANNA = MatrixSender(UserId("@anna:hs.test"), "Anna")


def ref(event: str, message: str | None = None) -> MessageRef:
    """A message that something is done to."""
    return MessageRef(MessageId(message) if message else None, EventId(event))


@pytest.mark.parametrize(
    ("after", "short"),
    [
        (LONG.replace("quick", "slow"), "s/quick/slow/"),
        (LONG.replace("quick", "slow").replace("dog", "cat"), "s/quick/slow/, s/dog/cat/"),
        (LONG.replace("the lazy", "a lazy"), "s/over the/over a/"),
        (LONG.replace("jumps", "jumps high"), "… fox jumps high over the …"),
        (LONG + " indeed", "… dog today indeed"),
        ("Well, " + LONG, "Well, the quick …"),
        (LONG.replace(" lazy", ""), "s/lazy//"),
        ("something else entirely is said here now instead", None),
        (LONG + "\nmore", None),
        (LONG, None),
        (LONG.replace("quick", "and/or"), None),
        ("short", None),
    ],
)
def test_small_changes_are_said_in_short(after: str, short: str | None) -> None:
    """Substitutions that fit one place only, additions with their neighbours; whatever is not shorter is said whole."""
    assert short_edit(LONG, after) == short


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "e"]), max_size=30), st.data())
def test_substitutions_lead_to_the_new_text(words: list[str], data: st.DataObject) -> None:
    """Whoever carries out what `s/…/…/` says in the old text gets the new one."""
    before = " ".join(words)
    place = data.draw(st.integers(0, max(0, len(words) - 1)))
    after = " ".join([*words[:place], "changed", *words[place + 1 :]])
    short = short_edit(before, after)
    if short is not None and short.startswith("s/"):
        text = before
        for part in short.split(", "):
            _, old, new, _ = part.split("/")
            assert text.count(old) == 1
            text = text.replace(old, new)
        assert text == after and len(short) < len(after)


def test_what_was_said_is_remembered_within_bounds() -> None:
    """The last thousand texts of bearable length, in memory only; what is taken back is forgotten."""
    recent = Recent()
    for number in range(1100):
        recent.put(EventId(f"${number}"), "x")
    recent.put(EventId("$long"), "x" * 5000)
    assert recent.get(EventId("$0")) is None and recent.get(EventId("$1099")) == "x"
    assert recent.get(EventId("$long")) is None
    recent.drop(EventId("$1099"))
    assert recent.get(EventId("$1099")) is None


async def edited(adapter: Rig, client: Any, target: str, text: str, **more: Any) -> None:
    """Edits a message."""
    edit = MatrixEdit(
        event_id=EventId("$e"), sender=ANNA, target=ref(target), content=Content((Plain(text),)), **WHO, **more
    )
    await confirmed(await client.edit(edit, FakeAttempt()))


async def test_edits_are_told_against_the_latest_text(rig: StartRig, serve: StartServer) -> None:
    """An edit of an edit is against that; the relay names the sender; what is not remembered is said whole."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    message = adapter.message((Span(Style.BOLD, (Plain(LONG),)),))
    await confirmed(await anna.send(message, FakeAttempt()))
    await edited(adapter, anna, message.event_id, LONG.replace("quick", "slow"))
    await edited(adapter, anna, message.event_id, LONG.replace("quick", "slow").replace("dog", "cat"))
    await edited(adapter, adapter.observer, message.event_id, LONG.replace("quick", "slow"), relayed=True)
    await edited(adapter, anna, "$unknown", LONG)
    await bob.wait_text(f"* {LONG}")
    assert [line.text for line in bob.messages("#a")][1:] == [
        "s/quick/slow/",
        "s/dog/cat/",
        "<A\u200bnna> s/cat/dog/",
        f"* {LONG}",
    ]


async def test_edits_can_be_said_whole(rig: StartRig, serve: StartServer) -> None:
    """`edits: whole` never abbreviates."""
    server = await serve()
    adapter = await rig(server.port, messages={"edits": "whole"})
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    message = adapter.message(LONG)
    await confirmed(await anna.send(message, FakeAttempt()))
    await edited(adapter, anna, message.event_id, LONG.replace("quick", "slow"))
    await bob.wait_text("* " + LONG.replace("quick", "slow"))


async def test_what_the_relay_said_is_taken_back_by_the_relay(rig: StartRig, serve: StartServer) -> None:
    """Who has a connection by now takes back what was said for them before, and never what people of IRC said."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags", "draft/message-redaction", "echo-message"))
    earlier = await adapter.relay("earlier")
    anna = await adapter.puppet("@anna:hs.test")
    target = MessageRef(earlier.ids[0], EventId("$1"), matrix_sender=ANNA)
    redaction = MatrixRedaction(event_id=EventId("$r"), sender=ANNA, target=target, **WHO)
    await confirmed(await anna.redact(redaction, FakeAttempt()))
    taken = await bob.wait_for(lambda line: line.command == "REDACT")
    assert (taken.nick, taken.params[1]) == ("relay", earlier.ids[0])
    server.world.channel("#a").members[server.world.find("relay")] = "o"  # may take back whatever it likes
    bob.privmsg("#a", "mine")
    said = await bob.wait_for(lambda line: line.text == "mine" and bool(line.tags.get("msgid")))
    theirs = MessageRef(MessageId(said.tags["msgid"]), EventId("$2"), remote_sender=RemoteUserId("bob"))
    redaction = replace(redaction, target=theirs)
    with pytest.raises(RejectedError):
        await confirmed(await anna.redact(redaction, FakeAttempt()))
    assert sum(line.command == "REDACT" for line in bob.lines) == 1


async def test_words_that_refuse_nothing_reach_whom_they_concern(rig: StartRig, serve: StartServer) -> None:
    """WARN and NOTE (standard-replies): those to a user's connection, from its beginning, are for the user, the relay's
    for the admins."""
    server = await serve()
    adapter = await rig(server.port)

    def greeted(nick: str, command: str, params: list[str]) -> Verdict:
        if (nick.lower(), command, params) == ("anna", "CAP", ["END"]):
            server.world.say(server.world.find("Anna"), "NOTE * ACCOUNT :you need none")
        return Verdict.PASS

    server.faults.on_line = greeted
    await adapter.puppet("@anna:hs.test")
    for nick, text in (
        ("Anna", "WARN PRIVMSG SLOW #a :you are rather quick"),
        ("relay", "NOTE * MAINTENANCE :back at noon"),
    ):
        server.world.say(server.world.find(nick), text)

    def remarks() -> list[tuple[str | None, str]]:
        return [(state.login, state.remark) for state in adapter.inbox.states if state.remark]

    await adapter.inbox.until(lambda: len(remarks()) == 3)
    assert set(remarks()) == {
        ("@anna:hs.test", "you need none"),
        ("@anna:hs.test", "Warning: you are rather quick (PRIVMSG)"),
        (None, "back at noon"),
    }


async def test_every_line_of_a_message_is_redacted(rig: StartRig, serve: StartServer) -> None:
    """A message that went out in several lines is taken back with each of their ids."""
    server = await serve()
    adapter = await rig(server.port, messages={"long_text": "split"})
    bob = await adapter.witness("Bob", "#a", caps=("message-tags", "draft/message-redaction"))
    anna = await adapter.puppet("@anna:hs.test")
    sent = await adapter.say(anna, "one\ntwo\nthree")
    assert len(sent.ids) == 3
    redaction = MatrixRedaction(
        event_id=EventId("$r"), sender=ANNA, target=ref("$1", sent.ids[0]), further=sent.ids[1:], reason="oops", **WHO
    )
    await confirmed(await anna.redact(redaction, FakeAttempt()))
    for message in sent.ids:
        await bob.wait_for(lambda line, one=message: line.command == "REDACT" and line.params[1] == one)  # type: ignore[misc]
    with pytest.raises(RejectedError, match="does not exist"):
        await confirmed(await anna.redact(redaction, FakeAttempt()))


async def test_reactions_are_words_where_that_is_configured(rig: StartRig, serve: StartServer) -> None:
    """Without tags, and for the relay: a line with whom it is to; custom emoji by name. Else nothing."""
    server = await serve(capabilities=frozenset())
    for how in ("text", "none"):
        adapter = await rig(server.port, nick=f"r-{how}", messages={"reactions": how})
        bob = await adapter.witness(f"Bob{how}", "#a")
        anna = await adapter.puppet("@anna:hs.test", name=f"anna{how}")
        target = replace(ref("$1"), remote_sender=bob.nick.lower())  # type: ignore[arg-type]
        reaction = MatrixReaction(event_id=EventId("$x"), sender=ANNA, target=target, key="👍", **WHO)
        custom = replace(reaction, key="mxc://hs/x", picture=Picture("party", "mxc://hs/x"), relayed=True)
        if how == "none":
            assert anna.capabilities(A).level("react") is Level.DROPPED
            for one in (reaction, custom):
                with pytest.raises(UnsupportedError):
                    await anna.react(one, FakeAttempt())
            continue
        assert anna.capabilities(A).level("react") is Level.FALLBACK
        await confirmed(await anna.react(reaction, FakeAttempt()))
        await bob.wait_text(f"{bob.nick}: 👍")
        await confirmed(await adapter.observer.react(custom, FakeAttempt()))
        await bob.wait_text(f"<A\u200bnna> {bob.nick}: :party:")


@pytest.mark.parametrize(
    ("denied", "tags"),
    [
        ((), {"draft/react", "draft/reply", "reply", "typing"}),
        (("*",), set()),
        (("*", "-draft/react", "-reply"), {"draft/react", "reply"}),
        (("draft/react",), {"draft/reply", "reply", "typing"}),
        (("reply", "draft/reply"), {"draft/react", "typing"}),
    ],
)
async def test_denied_tags_are_neither_sent_nor_promised(
    rig: StartRig, serve: StartServer, denied: tuple[str, ...], tags: set[str]
) -> None:
    """CLIENTTAGDENY: what the server drops is not counted on, and the capabilities of the chat say so."""
    isupport = from_tokens({"CLIENTTAGDENY": ",".join(denied)} if denied else {})
    assert {name for name in ("draft/react", "draft/reply", "reply", "typing") if isupport.may_tag(name)} == tags
    server = await serve(client_tag_deny=denied)
    adapter = await rig(server.port, typing=True)
    anna = await adapter.puppet("@anna:hs.test")
    can = anna.capabilities(A)
    answers = bool(tags & {"reply", "draft/reply"})
    assert (can.level("react") is Level.FULL) is (answers and "draft/react" in tags)
    assert (can.level("reply") is Level.FULL) is answers
    assert (can.level("typing") is Level.FULL) is ("typing" in tags)


async def test_typing_is_told_at_most_every_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typing that starts, stops and starts again waits for the pause; while it lasts it is said again."""
    now = 0.0
    timers: list[tuple[float, Any, tuple[Any, ...]]] = []

    class Loop:
        def time(self) -> float:
            return now

        def call_later(self, delay: float, call: Any, *arguments: Any) -> Any:
            timer = (now + delay, call, arguments)
            timers.append(timer)
            return type("Handle", (), {"cancel": lambda self: timers.remove(timer) if timer in timers else None})()

    monkeypatch.setattr(composing.asyncio, "get_running_loop", Loop)
    told: list[tuple[float, str]] = []
    typing = Composing(lambda chat, state: told.append((now, state)))

    def until(time: float) -> None:
        nonlocal now
        while timers and min(timers, key=lambda timer: timer[0])[0] <= time:
            timer = min(timers, key=lambda timer: timer[0])
            timers.remove(timer)
            now = timer[0]
            timer[1](*timer[2])
        now = time

    typing.started(A)
    until(1.0)
    typing.started(A)
    until(12.0)
    assert told == [(0.0, "active"), (5.0, "active"), (10.0, "active")]
    typing.stopped(A)
    typing.stopped(A)
    typing.started(A)
    until(14.9)
    assert told[3:] == [(12.0, "done")]
    until(15.5)
    assert told[4:] == [(15.0, "active")]
    until(200.0)
    assert max(at for at, _ in told) <= 12.0 + 60.0 + 5.0 and timers == []
    typing.started(A)
    typing.closed()
    assert timers == []


async def test_typing_reaches_the_channel_and_ends(rig: StartRig, serve: StartServer) -> None:
    """A user's typing is a tag of their own connection; only in channels that they are in."""
    server = await serve()
    adapter = await rig(server.port, typing=True)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    anna = await adapter.puppet("@anna:hs.test")
    nobody: frozenset[UserId] = frozenset()
    await anna.signal(MatrixTyping(RoomId("!r"), A, frozenset({ANNA.id}), nobody))
    await bob.wait_for(lambda line: line.tags.get("+typing") == "active" and line.nick == "anna")
    await anna.signal(MatrixTyping(RoomId("!r"), A, nobody, frozenset({ANNA.id})))
    await bob.wait_for(lambda line: line.tags.get("+typing") == "done" and line.nick == "anna")
    await asyncio.sleep(0)


async def test_capabilities_are_those_of_the_connection(rig: StartRig, serve: StartServer) -> None:
    """What a chat is said to carry is what this server does, with drafts and without."""
    for capabilities, redact in ((CAPABILITIES, Level.FULL), (CAPABILITIES - DRAFTS, Level.FALLBACK)):
        server = await serve(capabilities=capabilities)
        adapter = await rig(server.port)
        assert adapter.observer.capabilities(A).level("redact") is redact


async def test_answers_about_a_channel_are_shown_in_its_room(rig: StartRig, serve: StartServer) -> None:
    """A NOTICE to the relay with channel-context, of an operator; of anybody else the channel would not see it."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    eve = await adapter.witness("Eve", caps=("message-tags",))
    server.world.channel("#a").members[server.world.find("Bob")] = "o"
    adapter.connector._state.roster.mode(A, "Bob", "o", adding=True)
    for one, text in ((eve, "from nobody"), (bob, "for you all")):
        one.raw(f"@+draft/channel-context=#a NOTICE relay :{text}")
        one.raw(f"@+draft/channel-context=#other NOTICE relay :{text}")
        one.raw(f"NOTICE relay :{text}")
        await one.sync()
    event = await adapter.inbox.text("for you all")
    assert (event.chat, event.content.kind, event.sender.id) == ("#a", Kind.NOTICE, "bob")
    assert adapter.inbox.texts == ["for you all"]


async def test_private_words_about_a_channel_stay_private(rig: StartRig, serve: StartServer) -> None:
    """To one user a message about a channel names it, and is in their private room."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    await adapter.puppet("@anna:hs.test")
    bob.raw("@+draft/channel-context=#a PRIVMSG anna :psst")
    event = await adapter.inbox.text("[#a] psst")
    assert (event.chat, event.receiver) == ("bob", "@anna:hs.test")
