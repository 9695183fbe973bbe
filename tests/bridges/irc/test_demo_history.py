"""draft/chathistory, draft/event-playback and draft/message-redaction on the demo server, over real sockets."""

from __future__ import annotations

import pytest

from bridges.irc.demo.options import CAPABILITIES
from bridges.irc.demo.witness import Received, Witness
from tests.bridges.irc.demo_rig import Connect, Start, batch, failed, numeric
from tests.bridges.irc.test_demo_multiline import say

HISTORY = ("batch", "draft/chathistory", "message-tags", "server-time", "labeled-response")
REDACT = ("draft/message-redaction", "echo-message", "message-tags")


async def ask(witness: Witness, request: str, kind: str = "chathistory") -> list[Received]:
    """Ask for history and give the lines of the answer."""
    mark = witness.mark()
    witness.raw(f"CHATHISTORY {request}")
    return (await batch(witness, kind, since=mark))[1]


async def spoken(witness: Witness, request: str) -> list[str]:
    """Ask for history and give the texts of the answer."""
    return [line.text for line in await ask(witness, request)]


async def talk(server_start: Start, connect: Connect, count: int) -> tuple[Witness, list[Received]]:
    """Give a reader on a channel on which m0, m1... were said, and these lines as it saw them."""
    server = await server_start()
    speaker, reader = await connect(server, "speaker"), await connect(server, "reader", *HISTORY)
    await speaker.join("#a")
    await reader.join("#a")
    for number in range(count):
        speaker.privmsg("#a", f"m{number}")
        await reader.wait_text(f"m{number}")
    return reader, reader.messages("#a")


async def test_messages_are_found_by_id(start: Start, connect: Connect) -> None:
    """LATEST, BEFORE, AFTER, AROUND and BETWEEN give what they say, oldest first, without the ends."""
    reader, said = await talk(start, connect, 7)
    ids = [line.tags["msgid"] for line in said]
    assert await spoken(reader, "LATEST #a * 3") == ["m4", "m5", "m6"]
    assert await spoken(reader, f"LATEST #a msgid={ids[4]} 9") == ["m5", "m6"]
    assert await spoken(reader, f"BEFORE #a msgid={ids[3]} 2") == ["m1", "m2"]
    assert await spoken(reader, f"AFTER #a msgid={ids[3]} 2") == ["m4", "m5"]
    assert await spoken(reader, f"AROUND #a msgid={ids[3]} 3") == ["m2", "m3", "m4"]
    assert await spoken(reader, f"BETWEEN #a msgid={ids[1]} msgid={ids[5]} 9") == ["m2", "m3", "m4"]
    assert await spoken(reader, f"BETWEEN #a msgid={ids[1]} msgid={ids[5]} 1") == ["m2"]
    assert await spoken(reader, f"BETWEEN #a msgid={ids[5]} msgid={ids[1]} 1") == ["m4"]


async def test_history_is_what_was_heard(start: Start, connect: Connect) -> None:
    """A line of history has the source, id and time of the line that was heard; the batch carries the label."""
    reader, said = await talk(start, connect, 2)
    reader.raw("@label=h CHATHISTORY LATEST #a * 9")
    opening, lines = await batch(reader, "chathistory")
    assert opening.tags["label"] == "h"
    assert opening.params[2] == "#a"
    for key in ("msgid", "time"):
        assert [line.tags[key] for line in lines] == [line.tags[key] for line in said]
    assert [line.prefix for line in lines] == [line.prefix for line in said]


async def test_messages_are_found_by_time(start: Start, connect: Connect) -> None:
    """A time excludes what was said at it; one before everything gives all, and nothing comes after the end."""
    reader, said = await talk(start, connect, 3)
    assert await spoken(reader, "AFTER #a timestamp=2020-01-01T00:00:00.000Z 9") == ["m0", "m1", "m2"]
    assert await spoken(reader, f"AFTER #a timestamp={said[-1].tags['time']} 9") == []
    assert await spoken(reader, "BEFORE #a timestamp=2020-01-01T00:00:00.000Z 9") == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("LATEST #a *", "NEED_MORE_PARAMS"),
        ("LATEST #a * none", "INVALID_PARAMS"),
        ("BEFORE #a timestamp=yesterday 5", "INVALID_PARAMS"),
        ("BEFORE #a id=5 5", "INVALID_MSGREFTYPE"),
        ("BEFORE #a msgid=unknown 5", "MESSAGE_ERROR"),
        ("LATEST #elsewhere * 5", "INVALID_TARGET"),
        ("LATEST #none * 5", "INVALID_TARGET"),
        ("FIRST #a * 5", "UNKNOWN_COMMAND"),
    ],
)
async def test_what_cannot_be_answered_fails(start: Start, connect: Connect, request_: str, code: str) -> None:
    """Each wrong request is answered by FAIL CHATHISTORY with its code; a channel's history is for its members."""
    server = await start()
    other, reader = await connect(server, "other"), await connect(server, "reader", *HISTORY)
    await other.join("#elsewhere")
    await reader.join("#a")
    reader.raw(f"CHATHISTORY {request_}")
    await reader.wait_for(failed("CHATHISTORY", code))


async def test_isupport_names_the_limits(start: Start, connect: Connect) -> None:
    """CHATHISTORY and MSGREFTYPES are told, an answer is no longer than the limit, and all goes with the switch."""
    server = await start(history_limit=2)
    reader = await connect(server, "reader", *HISTORY)
    tokens = {word for line in reader.lines if line.command == "005" for word in line.params}
    assert {"CHATHISTORY=2", "MSGREFTYPES=msgid,timestamp"} <= tokens
    await reader.join("#a")
    for number in range(3):
        reader.privmsg("#a", f"m{number}")
    await reader.sync()
    assert await spoken(reader, "LATEST #a * 50") == ["m1", "m2"]
    off = await start(capabilities=CAPABILITIES - {"draft/chathistory"})
    other = await connect(off, "other", *HISTORY)
    assert not any("CHATHISTORY" in word for line in other.lines for word in line.params)
    other.raw("CHATHISTORY LATEST #a * 5")
    await other.wait_for(numeric("421"))


async def test_events_are_played_back_to_who_asks(start: Start, connect: Connect) -> None:
    """With draft/event-playback joins, topics, kicks and tags are in the history; without it messages only."""
    server = await start()
    op = await connect(server, "op", "message-tags")
    plain = await connect(server, "plain", *HISTORY)
    full = await connect(server, "full", *HISTORY, "draft/event-playback")
    for witness in (op, plain, full):
        await witness.join("#a")
    op.raw("TOPIC #a :news")
    op.raw("@+draft/react=x TAGMSG #a")
    op.privmsg("#a", "said")
    op.raw("MODE #a +v plain")
    await op.sync()
    assert [line.command for line in await ask(plain, "LATEST #a * 50")] == ["PRIVMSG"]
    commands = [line.command for line in await ask(full, "LATEST #a * 50")]
    assert commands == ["JOIN", "JOIN", "JOIN", "TOPIC", "TAGMSG", "PRIVMSG", "MODE"]


async def test_missed_private_messages_are_found_by_targets(start: Start, connect: Connect) -> None:
    """TARGETS names the conversations with news, private ones too; their history is only for the two."""
    server = await start()
    anna = await connect(server, "anna", *HISTORY)
    bert, eve = await connect(server, "bert"), await connect(server, "eve", *HISTORY)
    await anna.join("#a")
    anna.privmsg("#a", "in the channel")
    await anna.sync()
    bert.privmsg("anna", "psst")
    await anna.wait_text("psst")
    since, until = "timestamp=2020-01-01T00:00:00.000Z", "timestamp=2999-01-01T00:00:00.000Z"
    found = await ask(anna, f"TARGETS {since} {until} 10", "draft/chathistory-targets")
    assert [line.params[:2] for line in found] == [("TARGETS", "#a"), ("TARGETS", "bert")]
    assert await spoken(anna, "LATEST bert * 5") == ["psst"]
    assert await ask(eve, f"TARGETS {since} {until} 10", "draft/chathistory-targets") == []
    assert await spoken(eve, "LATEST bert * 5") == []


async def test_multiline_history_is_nested_or_single_lines(start: Start, connect: Connect) -> None:
    """A multiline message comes back as a batch in the batch, or as lines for who does not know it."""
    server = await start()
    anna = await connect(server, "anna", "batch", "draft/multiline", "message-tags")
    new = await connect(server, "new", *HISTORY, "draft/multiline")
    old = await connect(server, "old", *HISTORY)
    for witness in (anna, new, old):
        await witness.join("#a")
    say(anna, "#a", "one", "two")
    await old.wait_text("two")
    assert await spoken(old, "LATEST #a * 5") == ["one", "two"]
    lines = await ask(new, "LATEST #a * 5")
    assert [line.command for line in lines] == ["BATCH", "BATCH"]
    inner = lines[0].params[0][1:]
    assert [line.text for line in new.lines if line.tags.get("batch") == inner] == ["one", "two"]
    assert lines[0].tags["msgid"] == old.messages("#a")[0].tags["msgid"]


async def test_an_author_takes_a_message_back(start: Start, connect: Connect) -> None:
    """REDACT reaches those who know it, is echoed, and the message is out of the history."""
    server = await start()
    anna = await connect(server, "anna", *REDACT)
    bert = await connect(server, "bert", *REDACT, *HISTORY)
    plain = await connect(server, "plain")
    for witness in (anna, bert, plain):
        await witness.join("#a")
    anna.privmsg("#a", "oops")
    msgid = (await anna.wait_text("oops")).tags["msgid"]
    anna.raw(f"REDACT #a {msgid} :my fault")
    seen = await bert.wait_for(numeric("REDACT"))
    assert (seen.nick, seen.params) == ("anna", ("#a", msgid, "my fault"))
    await anna.wait_for(numeric("REDACT"))
    assert await spoken(bert, "LATEST #a * 5") == []
    await plain.sync()
    assert not any(line.command == "REDACT" for line in plain.lines)


async def test_redaction_is_refused_with_its_code(start: Start, connect: Connect) -> None:
    """A stranger may not, an unknown id is said so, an operator may, and a channel one is not in is no target."""
    server = await start()
    op, anna = await connect(server, "op", *REDACT), await connect(server, "anna", *REDACT)
    await op.join("#a")
    await anna.join("#a")
    await op.join("#secret")
    op.privmsg("#a", "mine")
    theirs = (await anna.wait_text("mine")).tags["msgid"]
    anna.raw(f"REDACT #a {theirs}")
    assert (await anna.wait_for(failed("REDACT", "REDACT_FORBIDDEN"))).params[2:4] == ("#a", theirs)
    anna.raw("REDACT #a unknown")
    await anna.wait_for(failed("REDACT", "UNKNOWN_MSGID"))
    anna.raw(f"REDACT #secret {theirs}")
    await anna.wait_for(failed("REDACT", "INVALID_TARGET"))
    anna.privmsg("#a", "spam")
    spam = (await op.wait_text("spam")).tags["msgid"]
    op.raw(f"REDACT #a {spam}")
    assert (await anna.wait_for(numeric("REDACT"))).params == ("#a", spam)


async def test_a_message_can_become_too_old_to_redact(start: Start, connect: Connect) -> None:
    """After the window of the options REDACT fails and names the window."""
    server = await start(redact_window=-1.0)
    anna = await connect(server, "anna", *REDACT)
    await anna.join("#a")
    anna.privmsg("#a", "old")
    msgid = (await anna.wait_text("old")).tags["msgid"]
    anna.raw(f"REDACT #a {msgid}")
    await anna.wait_for(failed("REDACT", "REDACT_WINDOW_EXPIRED"))


async def test_a_private_message_can_be_redacted(start: Start, connect: Connect) -> None:
    """The two of a private conversation have it to themselves, and only the author takes back."""
    server = await start()
    anna, bert = await connect(server, "anna", *REDACT), await connect(server, "bert", *REDACT)
    anna.privmsg("bert", "oops")
    msgid = (await bert.wait_text("oops")).tags["msgid"]
    bert.raw(f"REDACT anna {msgid}")
    await bert.wait_for(failed("REDACT", "REDACT_FORBIDDEN"))
    anna.raw(f"REDACT bert {msgid}")
    assert (await bert.wait_for(numeric("REDACT"))).params == ("bert", msgid)


async def test_denied_client_tags_do_not_travel(start: Start, connect: Connect) -> None:
    """CLIENTTAGDENY is told and kept: `*` denies all, a minus is an exception."""
    server = await start(client_tag_deny=("*", "-typing"))
    anna, bert = await connect(server, "anna", "message-tags"), await connect(server, "bert", "message-tags")
    assert any("CLIENTTAGDENY=*,-typing" in line.params for line in anna.lines)
    await anna.join("#a")
    await bert.join("#a")
    anna.raw("@+draft/react=x TAGMSG #a")
    anna.raw("@+typing=active;+draft/react=x TAGMSG #a")
    seen = await bert.wait_for(numeric("TAGMSG"))
    assert [key for key in seen.tags if key.startswith("+")] == ["+typing"]
