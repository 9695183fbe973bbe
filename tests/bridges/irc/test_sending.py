"""Sending: every message is proved, refused in the server's words, or of unknown fate; no field leaves its line."""

import asyncio
import os
import signal
from dataclasses import replace
from typing import Any

import pytest

from bridge_core.api.content import Attachment, Kind, Link, MediaKind, Mention, Paragraph, Plain, Span, Style
from bridge_core.api.errors import NotConnectedError, RejectedError, UnknownOutcomeError, UnsupportedError
from bridge_core.api.ids import ChatId, EventId, MessageId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixReaction, MatrixRedaction, MatrixSender, MessageRef
from bridge_core.api.network import Proof
from bridges.irc.demo.options import CAPABILITIES, DRAFTS, Verdict
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, confirmed, eventually, make_op, real

WITHOUT_ECHO = CAPABILITIES - {"echo-message", "labeled-response"}


def edit(text: str, target: MessageRef, *, relayed: bool = False) -> MatrixEdit:
    """An edit of anna's."""
    content = Rig(6667).message(text).content
    sender = MatrixSender(UserId("@anna:hs.test"), "Anna")
    return MatrixEdit(RoomId("!r"), EventId("$e"), ChatId("#a"), sender, target, content, 1, relayed=relayed)


async def test_a_puppet_speaks_in_its_own_name(rig: StartRig, port: int) -> None:
    """Text, notice, emote and style reach the channel from the puppet's nick, proved, and do not come back."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    sent = await adapter.say(anna, "hello")
    assert sent.proof in (Proof.ECHOED, Proof.ACCEPTED)
    await adapter.say(anna, "noted", kind=Kind.NOTICE)
    await adapter.say(anna, "waves", kind=Kind.EMOTE)
    await adapter.say(anna, Paragraph((Span(Style.BOLD, (Plain("b"),)), Plain(" text"))))
    await adapter.say(anna, "two\nlines")
    await bob.wait_text("lines")
    assert [(line.nick, line.command, line.text) for line in bob.messages("#a")] == [
        ("Anna", "PRIVMSG", "hello"),
        ("Anna", "NOTICE", "noted"),
        ("Anna", "PRIVMSG", "\x01ACTION waves\x01"),
        ("Anna", "PRIVMSG", "\x02b\x0f text"),
        ("Anna", "PRIVMSG", "two"),
        ("Anna", "PRIVMSG", "lines"),
    ]
    bob.privmsg("#a", "over")
    await adapter.inbox.text("over")
    assert adapter.inbox.texts == ["over"]


async def test_the_labelled_echo_gives_the_id(rig: StartRig, serve: StartServer) -> None:
    """With labels and echoes the proof is the echo, and each line's msgid is its remote id."""
    server = await serve()
    adapter = await rig(server.port, messages={"long_text": "split"})
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    anna = await adapter.puppet("@anna:hs.test")
    sent = await adapter.say(anna, "one\ntwo")
    await bob.wait_text("two")
    assert sent.proof is Proof.ECHOED
    assert list(sent.ids) == [line.tags["msgid"] for line in bob.messages("#a")]
    relayed = await adapter.relay("three")
    await bob.wait_text("three")
    assert relayed.proof is Proof.ECHOED
    assert list(relayed.ids) == [bob.messages("#a")[-1].tags["msgid"]]


async def test_the_observer_proves_and_names_what_has_no_echo(rig: StartRig, serve: StartServer) -> None:
    """Without echoes a puppet's line is proved by the observer seeing it, with its id."""
    server = await serve(capabilities=WITHOUT_ECHO)
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    anna = await adapter.puppet("@anna:hs.test")
    sent = await adapter.say(anna, "one")
    await bob.wait_text("one")
    assert sent.proof is Proof.ECHOED
    assert list(sent.ids) == [bob.messages("#a")[0].tags["msgid"]]


async def test_the_pong_proves_what_nobody_sees(rig: StartRig, serve: StartServer) -> None:
    """Without echoes the relay's own lines are proved by the PONG behind them."""
    server = await serve(capabilities=WITHOUT_ECHO)
    adapter = await rig(server.port)
    sent = await adapter.relay("one")
    assert (sent.proof, sent.ids) == (Proof.ACCEPTED, ())


async def test_a_refused_message_comes_back_in_the_servers_words(rig: StartRig, port: int) -> None:
    """In a moderated channel the sender is told why; earlier and later messages are not taken for the refused one."""
    adapter = await rig(port, "#b")
    op = await adapter.witness("op", "#a")
    await adapter.connector.chat_added(ChatId("#a"))
    anna = await adapter.puppet("@anna:hs.test")
    await adapter.say(anna, "before")
    op.raw("MODE #a +m")
    await op.sync()
    refused = await anna.send(adapter.message("one\ntwo"), FakeAttempt())
    elsewhere = await adapter.relay("fine", chat="#b")
    assert elsewhere.proof in (Proof.ECHOED, Proof.ACCEPTED)
    with pytest.raises(RejectedError, match=r"(?i)cannot send"):
        await confirmed(refused)
    with pytest.raises(RejectedError, match=r"(?i)cannot send"):
        await adapter.relay("relayed")
    op.raw("MODE #a -m")
    await op.sync()
    await adapter.say(anna, "after")
    assert [line.text for line in op.messages("#a")] == ["before", "after"]


async def test_a_private_message_to_nobody_is_refused(rig: StartRig, port: int) -> None:
    """Writing to a nick that is not there is rejected; to one that is there arrives from the puppet."""
    adapter = await rig(port)
    anna = await adapter.puppet("@anna:hs.test")
    with pytest.raises(RejectedError, match=r"(?i)no such nick"):
        await adapter.say(anna, "hello?", chat="nobody")
    bob = await adapter.witness("Bob")
    await adapter.say(anna, "hello", chat="bob")
    assert (await bob.wait_text("hello")).nick == "anna"


async def test_a_lost_connection_leaves_the_fate_unknown(rig: StartRig, serve: StartServer) -> None:
    """What was written and not proved when the connection breaks is of unknown fate; what follows is not written."""
    server = await serve()
    adapter = await rig(server.port)
    anna = await adapter.puppet("@anna:hs.test")
    server.faults.on_line = lambda nick, command, params: (
        Verdict.DROP_BEFORE if nick == "anna" and command == "PRIVMSG" else Verdict.PASS
    )
    sent = await anna.send(adapter.message("lost"), FakeAttempt())
    with pytest.raises(UnknownOutcomeError):
        await confirmed(sent)
    assert not anna.ready(ChatId("#a"))
    with pytest.raises(NotConnectedError):
        await anna.send(adapter.message("next"), FakeAttempt())
    server.faults.on_line = None
    anna = await adapter.puppet("@anna:hs.test")
    await adapter.say(anna, "back")


async def test_what_the_observer_saw_of_a_lost_connection_is_delivered(rig: StartRig, serve: StartServer) -> None:
    """A connection that breaks right behind a line leaves no doubt: the observer saw it."""
    server = await serve(capabilities=WITHOUT_ECHO)
    adapter = await rig(server.port)
    anna = await adapter.puppet("@anna:hs.test")
    server.faults.on_line = lambda nick, command, params: (
        Verdict.DROP_AFTER if nick == "anna" and command == "PRIVMSG" else Verdict.PASS
    )
    sent = await adapter.say(anna, "last words")
    assert sent.proof is Proof.ECHOED
    await eventually(lambda: not anna.ready(ChatId("#a")))


async def test_a_message_to_somebody_away_is_delivered(rig: StartRig, serve: StartServer) -> None:
    """Where the answer to a label is a batch of echo and away message, the echo counts."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob")
    bob.raw("AWAY :out")
    await bob.sync()
    anna = await adapter.puppet("@anna:hs.test")
    sent = await adapter.say(anna, "hello", chat="bob")
    assert sent.proof is Proof.ECHOED and len(sent.ids) == 1


async def test_many_messages_arrive_once_and_in_order(rig: StartRig, port: int) -> None:
    """500 messages of two puppets without waiting: each sender's arrive in order, all proved."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    anna, carl = await adapter.puppet("@anna:hs.test"), await adapter.puppet("@carl:hs.test")
    waiting = []
    for number in range(250):
        for puppet in (anna, carl):
            waiting.append((await puppet.send(adapter.message(f"n{number}"), FakeAttempt())).confirmation)
    assert all(waiting)
    async with asyncio.timeout(60):
        await asyncio.gather(*(future for future in waiting if future is not None))
    await bob.sync()
    for nick in ("anna", "carl"):
        assert [line.text for line in bob.messages("#a") if line.nick == nick] == [f"n{n}" for n in range(250)]


async def test_long_text_is_split_and_nothing_of_it_is_lost(rig: StartRig, port: int) -> None:
    """A text of 3,000 bytes arrives in pieces that no server cuts, and joined they are the text."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    text = " ".join(f"wörd{number}" for number in range(380))
    await adapter.say(anna, text)
    await bob.sync()
    lines = bob.messages("#a")
    assert "".join(line.text for line in lines) == text
    assert len(lines) < 10
    bob_again = "x" * 2000
    await adapter.relay(bob_again, name="Ann <b>\r\nQUIT :x")
    await bob.sync()
    relayed = bob.messages("#a")[len(lines) :]
    assert all(line.text.startswith("<A\u200bnn b QUIT :x> ") for line in relayed)
    assert "".join(line.text.partition("> ")[2] for line in relayed) == bob_again


async def test_a_very_long_text_names_what_is_left_out(rig: StartRig, port: int) -> None:
    """Of more lines than `max_lines` the first are said, and how many are not."""
    adapter = await rig(port, max_lines=5)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    await adapter.say(anna, "\n".join(f"line {number}" for number in range(20)))
    await bob.sync()
    assert [line.text for line in bob.messages("#a")] == [
        "line 0",
        "line 1",
        "line 2",
        "line 3",
        "… (16 more lines)",
    ]


async def test_files_replies_mentions_and_edits_are_said_in_words(rig: StartRig, port: int) -> None:
    """A file is a link, an answer names whom it answers, a mention is the live nick, an edit has a star."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    await adapter.puppet("@carl:hs.test", name="Carl")
    picture = Attachment(MediaKind.IMAGE, "my cat.png", "mxc://hs.test/1", size=12 * 1024)
    await adapter.say(anna, "look", attachments=(picture,))
    reply = MessageRef(None, EventId("$1"), remote_sender=RemoteUserId("bob"))
    await adapter.say(anna, "yes", reply_to=reply)
    other = MessageRef(None, EventId("$2"), matrix_sender=MatrixSender(UserId("@carl:hs.test"), "Carl C."))
    await adapter.say(anna, "no", reply_to=other)
    own = MessageRef(None, EventId("$2"), matrix_sender=MatrixSender(UserId("@anna:hs.test"), "Anna"))
    await adapter.say(anna, "myself", reply_to=own)
    names = (Mention("Bobby", RemoteUserId("bob")), Plain(" and "), Mention("C.", None, UserId("@carl:hs.test")))
    await adapter.say(anna, names)
    await adapter.say(anna, Link("https://x.test/", (Plain("site"),)))
    await confirmed(await anna.edit(edit("better", own), FakeAttempt()))
    await bob.wait_text("better")
    assert [line.text for line in bob.messages("#a")] == [
        "my cat.png (12 KiB) <https://media.test/my_cat.png>",
        "look",
        "Bob: yes",
        "Carl: no",
        "myself",
        "Bob: and Carl",
        "site <https://x.test/>",
        "* better",
    ]


async def test_replies_say_what_they_answer_where_no_tag_does(rig: StartRig, serve: StartServer) -> None:
    """A quote is asked for as configured, only where no reply tag crosses, and stands between name and words."""
    new, old = 1_000_000, 600_000
    answered = MessageRef(MessageId("m1"), EventId("$1"), None, RemoteUserId("bob"), timestamp=old)
    bare, able = await serve(capabilities=frozenset()), await serve()
    for port, how, at, wanted in (
        (bare.port, "old", new, True),
        (bare.port, "old", old + 1000, False),
        (bare.port, "quote", old + 1000, True),
        (bare.port, "name", new, False),
        (able.port, "quote", new, False),
    ):
        adapter = await rig(port, messages={"replies": how}, nick=f"r{how}{at % 7}{wanted}")
        message = replace(adapter.message("yes", reply_to=answered), timestamp=at)
        assert (adapter.observer.quotes(message) > 0) is wanted
        assert adapter.observer.quotes(replace(message, reply_to=None)) == 0
    adapter = await rig(bare.port, nick="last")
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    quoting = replace(answered, excerpt='shall "we"\x02 meet?')
    await adapter.say(anna, "yes", reply_to=quoting)
    await adapter.say(anna, "Bob: no", reply_to=quoting)
    await bob.wait_text("no")
    assert [line.text for line in bob.messages("#a")] == [
        "Bob: \"shall 'we' meet?\" <- yes",
        "\"shall 'we' meet?\" <- Bob: no",
    ]


async def test_relayed_lines_name_their_sender_each(rig: StartRig, port: int) -> None:
    """The relay puts the name in front of every line, without controls, brackets or direction marks."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    await adapter.relay("one\n<Bob> two", name="Mal\u202e<x>\x02 Bob\n")
    await adapter.relay("waves", name="Eve", kind=Kind.EMOTE)
    await adapter.relay("hm", name="\u200b\n", user="@frank:hs.test")
    await bob.wait_text("hm")
    assert [line.text for line in bob.messages("#a")] == [
        "<M\u200bal x Bob> one",
        "<M\u200bal x Bob> <Bob> two",
        "* E\u200bve waves",
        "<f\u200brank> hm",
    ]


async def test_replies_and_reactions_go_as_tags_where_there_are_tags(rig: StartRig, serve: StartServer) -> None:
    """With message-tags an answer carries +reply and a reaction is a TAGMSG; without, reactions are unsupported."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    anna = await adapter.puppet("@anna:hs.test")
    target = MessageRef(MessageId("m1"), EventId("$1"), remote_sender=RemoteUserId("bob"))
    await adapter.say(anna, "yes", reply_to=target)
    assert (await bob.wait_text("yes")).tags["+reply"] == "m1"
    sender = MatrixSender(UserId("@anna:hs.test"), "Anna")
    reaction = MatrixReaction(RoomId("!r"), EventId("$e"), ChatId("#a"), sender, target, "👍", 1)
    await confirmed(await anna.react(reaction, FakeAttempt()))
    seen = await bob.wait_for(lambda line: line.command == "TAGMSG")
    assert (seen.tags["+draft/react"], seen.tags["+reply"]) == ("👍", "m1")
    bare = await serve(capabilities=frozenset())
    adapter = await rig(bare.port)
    anna = await adapter.puppet("@anna:hs.test")
    with pytest.raises(UnsupportedError):
        await anna.react(reaction, FakeAttempt())


async def test_a_redaction_without_the_capability_is_a_notice_or_nothing(rig: StartRig, serve: StartServer) -> None:
    """`redactions: notice` tells the channel, `ignore` tells the sender that it cannot be done."""
    port = (await serve(capabilities=CAPABILITIES - DRAFTS)).port
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    sender = MatrixSender(UserId("@anna:hs.test"), "Anna")
    target = MessageRef(MessageId("m1"), EventId("$1"), matrix_sender=sender)
    redaction = MatrixRedaction(RoomId("!r"), EventId("$e"), ChatId("#a"), sender, target, 1)
    await confirmed(await anna.redact(redaction, FakeAttempt()))
    assert (await bob.wait_text("took back")).command == "NOTICE"
    quiet = await rig(port, redactions="ignore", nick="relay2", nick_template="q$LOCALPART")
    anna = await quiet.puppet("@anna:hs.test")
    with pytest.raises(UnsupportedError):
        await anna.redact(redaction, FakeAttempt())


async def test_a_file_that_cannot_be_linked_goes_back_to_its_sender(rig: StartRig, port: int) -> None:
    """With media links off, or for an encrypted file, the sender is told each time and nothing is said."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    sealed = Attachment(MediaKind.IMAGE, "cat.png", "mxc://hs.test/1", keys="{}")
    with pytest.raises(RejectedError, match="files cannot be sent there: it is encrypted"):
        await adapter.say(anna, "", attachments=(sealed,))
    adapter.host.links = False
    picture = Attachment(MediaKind.IMAGE, "cat.png", "mxc://hs.test/1", size=12 * 1024)
    for text in ("", "look"):
        for client in (anna, adapter.observer):
            message = adapter.message(text, attachments=(picture,), relayed=client is adapter.observer)
            with pytest.raises(RejectedError, match="this bridge's media links are off") as told:
                await client.send(message, FakeAttempt())
            assert not isinstance(told.value, UnsupportedError)
    await adapter.say(anna, "only words")
    await bob.wait_text("only words")
    assert [line.text for line in bob.messages("#a")] == ["only words"]


INJECTION = "x\r\nQUIT :gone\nJOIN #evil\0\r"


async def test_no_field_breaks_out_of_its_line(rig: StartRig, port: int) -> None:
    """CR, LF and NUL in text, names, replies, file names, links and reasons run no command (CVE-2022-29166,
    CVE-2023-38690, CVE-2024-52505, CVE-2025-27146)."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet(f"@anna:hs.test{INJECTION}", name=f"anna{INJECTION}")
    evil = MatrixSender(UserId(f"@e{INJECTION}:hs"), f"eve{INJECTION}")
    attachment = Attachment(MediaKind.FILE, f"f{INJECTION}", f"mxc://{INJECTION}", size=1)
    reply = MessageRef(MessageId(f"m{INJECTION}"), EventId("$1"), remote_sender=RemoteUserId(f"bob{INJECTION}"))
    fields: list[dict[str, Any]] = [
        {"text": INJECTION},
        {"text": Paragraph((Span(Style.BOLD, (Plain(INJECTION),)),))},
        {"text": "x", "kind": Kind.EMOTE, "reply_to": MessageRef(None, EventId("$1"), matrix_sender=evil)},
        {"text": "x", "reply_to": reply},
        {"text": "", "attachments": (attachment,)},
        {"text": Mention(INJECTION, RemoteUserId(INJECTION))},
        {"text": Link(f"https://x.test/{INJECTION}", (Plain("l"),))},
        {"text": "\x01DCC SEND x\x01"},
    ]
    for field in fields:
        for relayed in (False, True):
            client = adapter.observer if relayed else anna
            try:
                text = field["text"]
                how = {key: value for key, value in field.items() if key != "text"}
                message = adapter.message(text, name=f"n{INJECTION}", relayed=relayed, **how)
                await confirmed(await client.send(message, FakeAttempt()))
            except RejectedError:
                pass
    sender = MatrixSender(UserId("@anna:hs.test"), "Anna")
    target = MessageRef(MessageId("m1"), EventId("$1"), matrix_sender=sender)
    reaction = MatrixReaction(RoomId("!r"), EventId("$e"), ChatId("#a"), sender, target, INJECTION, 1)
    with pytest.raises(RejectedError):
        await anna.react(reaction, FakeAttempt())
    await adapter.say(anna, "still here")
    await adapter.relay("still here too")
    await bob.wait_text("still here too")
    seen = {line.command for line in bob.lines if line.nick in ("relay", adapter_nick(anna))}
    assert seen <= {"PRIVMSG", "NOTICE", "JOIN", "TAGMSG"}
    assert not any(line.text.startswith("\x01") and "ACTION" not in line.text for line in bob.messages("#a"))


def adapter_nick(puppet: Any) -> str:
    """The nick a puppet has now."""
    return str(puppet._session.nick)


@pytest.mark.parametrize(
    "chat", ["#a,#b", "a,b", "$*", "#a b", "x\r\nQUIT", ":x", "", "nick!u@h", "@#a", "*", "a\x00b", "@relay"]
)
async def test_a_chat_that_would_reach_others_is_refused(rig: StartRig, serve: StartServer, chat: str) -> None:
    """Targets with commas, masks, status prefixes or line ends are sent to nobody (CVE-2022-39203)."""
    server = await serve()
    adapter = await rig(server.port)
    anna = await adapter.puppet("@anna:hs.test")
    seen: list[str] = []

    def note(nick: str, command: str, params: list[str]) -> Verdict:
        if command not in ("PING", "PONG"):
            seen.append(command)
        return Verdict.PASS

    server.faults.on_line = note
    with pytest.raises((RejectedError, NotConnectedError)):
        await anna.send(adapter.message("x", chat=chat), FakeAttempt())
    with pytest.raises(RejectedError):
        await adapter.observer.send(adapter.message("x", chat=chat), FakeAttempt())
    assert seen == []


@pytest.mark.parametrize("name", ["#a\r\nQUIT", "#a b", "#a,#b", "", "#", "nick", "#" + "x" * 300, "#a\x07", "#\ud800"])
def test_a_channel_that_is_none_is_refused(name: str) -> None:
    """Names from configuration and commands are checked before anything else (CVE-2023-38690, CVE-2024-52505)."""
    with pytest.raises(ValueError, match="channel"):
        Rig(6667).connector.chat(name)


@pytest.mark.parametrize("name", ["a b", "a\r\nQUIT", "", "#a", "1a", "a,b", "a!b", "x" * 200])
def test_a_nick_that_is_none_is_refused(name: str) -> None:
    """A person's name from a command is checked, too."""
    with pytest.raises(ValueError, match="nick"):
        Rig(6667).connector.person(name)


async def test_the_budget_is_taken_for_every_line(rig: StartRig, port: int) -> None:
    """With a rate, each line takes one token of its connection's bucket; order is kept."""
    adapter = await rig(port, rate=1000, burst=1000)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    assert anna._session is not None
    assert anna._session.outlet is not None
    before = anna._session.outlet.spent
    await adapter.say(anna, "one\ntwo\nthree")
    await bob.wait_text("three")
    assert 3 <= anna._session.outlet.spent - before <= 3 + 2 + anna._session.flight._token  # perhaps as a batch
    assert before >= 1  # the JOIN


async def test_a_server_that_does_not_read_makes_senders_wait(rig: StartRig, serve: StartServer) -> None:
    """While the server reads nothing, a bounded amount is written; afterwards everything arrives, in order."""
    server = await serve(receive_queue=1 << 22)
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    server.stall()
    count = 40000

    async def send() -> list[Any]:
        return [
            (await adapter.observer.send(adapter.message(f"n{n} {'x' * 300}", relayed=True), FakeAttempt()))
            for n in range(count)
        ]

    task = asyncio.ensure_future(send())
    done, _ = await asyncio.wait((task,), timeout=1)
    assert not done
    session = adapter.observer._session
    assert session is not None and len(session.flight) <= 4096
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.stall(False)
    await adapter.relay("end")
    await bob.wait_text("end")
    numbers = [int(line.text.partition("> n")[2].split()[0]) for line in bob.messages("#a")[:-1]]
    assert numbers == list(range(len(numbers)))


@pytest.mark.server
async def test_the_same_on_real_servers(rig: StartRig, ircd: Any) -> None:
    """Speaking, splitting, refusals and proofs on InspIRCd and ngIRCd are as on the demo server."""
    adapter = await rig((await real(ircd)).port, "#b")
    op = await adapter.witness("op", "#a")
    await make_op(ircd, op, "#a")
    await adapter.connector.chat_added(ChatId("#a"))
    anna = await adapter.puppet("@anna:hs.test")
    text = " ".join(f"wörd{number}" for number in range(300))
    await adapter.say(anna, text)
    await adapter.say(anna, "waves", kind=Kind.EMOTE)
    await adapter.relay("relayed", name="Zed")
    await op.wait_text("relayed")
    lines = [line.text for line in op.messages("#a")]
    # ngIRCd strips the space that a piece ends with.
    assert "".join(lines[:-2]).replace(" ", "") == text.replace(" ", "")
    assert lines[-2:] == ["\x01ACTION waves\x01", "<Z\u200bed> relayed"]
    with pytest.raises(RejectedError, match=r"(?i)no such nick"):
        await adapter.say(anna, "hello?", chat="nobody")
    op.raw("MODE #a +m")
    await op.sync()
    with pytest.raises(RejectedError, match=r"(?i)cannot send"):
        await adapter.say(anna, "refused")
    with pytest.raises(RejectedError, match=r"(?i)cannot send"):
        await adapter.relay("refused")
    op.raw("MODE #a -m")
    await op.sync()
    waiting = [(await anna.send(adapter.message(f"n{number}"), FakeAttempt())).confirmation for number in range(100)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(future for future in waiting if future is not None))
    await op.sync()
    assert [line.text for line in op.messages("#a")][-100:] == [f"n{number}" for number in range(100)]
    os.kill(ircd.pid, signal.SIGSTOP)  # it reads nothing any more
    sent = await anna.send(adapter.message("last words"), FakeAttempt())
    ircd.kill()
    with pytest.raises(UnknownOutcomeError):
        await confirmed(sent)
