"""draft/multiline on the demo server, over real sockets (IRCv3 multiline, client-batch)."""

from __future__ import annotations

import pytest

from bridges.irc.demo.options import CAPABILITIES, ServerOptions
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.demo_rig import Connect, Start, batch, failed, numeric

CAPS = ("batch", "draft/multiline", "message-tags", "echo-message", "labeled-response", "server-time", "account-tag")


def say(witness: Witness, target: str, *lines: str, head: str = "", command: str = "PRIVMSG") -> None:
    """Send one multiline batch; a line that begins with ``+`` continues the one before."""
    witness.raw(f"{head}BATCH +1 draft/multiline {target}")
    for line in lines:
        concat = ";draft/multiline-concat" if line.startswith("+") else ""
        witness.raw(f"@batch=1{concat} {command} {target} :{line.removeprefix('+')}")
    witness.raw("BATCH -1")


async def test_a_batch_reaches_each_in_its_own_form(start: Start, connect: Connect) -> None:
    """Who knows multiline gets the batch with its tags; others get the lines but no blank ones, the id on the first."""
    server = await start()
    anna, bert = await connect(server, "anna", *CAPS), await connect(server, "bert", *CAPS)
    carl = await connect(server, "carl", "message-tags")
    for witness in (anna, bert, carl):
        await witness.join("#a")
    say(anna, "#a", "one ", "+and more", "", "three", head="@label=x;+typing=done ")
    opening, lines = await batch(bert, "draft/multiline")
    assert opening.nick == "anna"
    assert opening.params[2] == "#a"
    assert opening.tags["+typing"] == "done"
    assert [(line.text, "draft/multiline-concat" in line.tags) for line in lines] == [
        ("one ", False),
        ("and more", True),
        ("", False),
        ("three", False),
    ]
    await carl.wait_text("three")
    seen = carl.messages("#a")
    assert [line.text for line in seen] == ["one ", "and more", "three"]
    assert [line.tags.get("msgid") for line in seen] == [opening.tags["msgid"], None, None]
    echo, _ = await batch(anna, "draft/multiline")
    assert (echo.tags["label"], echo.tags["msgid"]) == ("x", opening.tags["msgid"])
    assert sum("label" in line.tags for line in anna.lines) == 1


async def test_a_refused_batch_is_answered_with_its_label(start: Start, connect: Connect) -> None:
    """A target's refusal carries the label of the line that opened the batch, and comes at its end."""
    server = await start()
    anna = await connect(server, "anna", *CAPS)
    say(anna, "#none", "one", "two", head="@label=y ")
    assert (await anna.wait_for(numeric("403"))).tags["label"] == "y"
    assert not any(line.command == "ACK" for line in anna.lines)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["x"] * 4, "MULTILINE_MAX_LINES"),
        (["x" * 60, "y" * 40], "MULTILINE_MAX_BYTES"),
        (["", ""], "MULTILINE_INVALID"),
        (["one", "+"], "MULTILINE_INVALID"),
        (["+one"], "MULTILINE_INVALID"),
    ],
)
async def test_a_bad_batch_fails_once_and_wholly(start: Start, connect: Connect, lines: list[str], code: str) -> None:
    """Over a limit, blank, or badly joined: one FAIL with the label, nothing is delivered, and the next one works."""
    server = await start(multiline_lines=3, multiline_bytes=100)
    anna, bert = await connect(server, "anna", *CAPS), await connect(server, "bert")
    await anna.join("#a")
    await bert.join("#a")
    say(anna, "#a", *lines, head="@label=z ")
    refusal = await anna.wait_for(failed("BATCH", code))
    assert refusal.tags["label"] == "z"
    say(anna, "#a", "good", "too")
    await bert.wait_text("too")
    assert [line.text for line in bert.messages("#a")] == ["good", "too"]
    assert sum(line.command == "FAIL" for line in anna.lines) == 1


async def test_exactly_the_limit_is_allowed(start: Start, connect: Connect) -> None:
    """A line feed counts one byte, a concatenation none: 100 bytes of 100 are delivered."""
    server = await start(multiline_lines=3, multiline_bytes=100)
    anna, bert = await connect(server, "anna", *CAPS), await connect(server, "bert")
    await anna.join("#a")
    await bert.join("#a")
    say(anna, "#a", "x" * 50, "y" * 25, "+" + "z" * 24)
    await bert.wait_text("zzz")
    await anna.sync()
    assert not any(line.command == "FAIL" for line in anna.lines)


async def test_lines_for_elsewhere_or_outside_break_the_batch(start: Start, connect: Connect) -> None:
    """Another target, another command, or a line without the batch's tag fails it; PONG does not."""
    server = await start()
    anna = await connect(server, "anna", *CAPS)
    await anna.join("#a")
    anna.raw("BATCH +1 draft/multiline #a")
    anna.raw("@batch=1 PRIVMSG #b :x")
    assert (await anna.wait_for(failed("BATCH", "MULTILINE_INVALID_TARGET"))).params[2:4] == ("#a", "#b")
    anna.raw("BATCH -1")
    for bad in ("@batch=2 PRIVMSG #a :x", "PRIVMSG #a :x", "@batch=1 JOIN #b", "@batch=1 TAGMSG #a"):
        mark = anna.mark()
        anna.raw("BATCH +1 draft/multiline #a")
        anna.raw("PONG :alive")
        anna.raw(bad)
        await anna.wait_for(failed("BATCH", "MULTILINE_INVALID"), since=mark)
        anna.raw("BATCH -1")
    mark = anna.mark()
    anna.raw("BATCH -9")
    await anna.wait_for(failed("BATCH", "MULTILINE_INVALID"), since=mark)


async def test_a_forgotten_batch_times_out(start: Start, connect: Connect) -> None:
    """A batch that is never closed ends in FAIL BATCH TIMEOUT with its reference and label."""
    server = await start(batch_timeout=0.05)
    anna = await connect(server, "anna", *CAPS)
    anna.raw("@label=t BATCH +77 draft/multiline #a")
    refusal = await anna.wait_for(failed("BATCH", "TIMEOUT"))
    assert (refusal.params[2], refusal.tags["label"]) == ("77", "t")


async def test_the_capability_says_its_limits_and_can_be_off(start: Start, connect: Connect) -> None:
    """CAP LS gives max-bytes and max-lines; without the capability BATCH is an unknown command."""
    options = ServerOptions(multiline_bytes=999, multiline_lines=7)
    server = await start(multiline_bytes=options.multiline_bytes, multiline_lines=7)
    anna = await connect(server, "anna", "batch")
    offered = " ".join(line.text for line in anna.lines if line.command == "CAP" and line.params[1] == "LS")
    assert "draft/multiline=max-bytes=999,max-lines=7" in offered.split()
    anna.raw("BATCH +1 draft/multiline #a")
    await anna.wait_for(numeric("421"))
    without = await start(capabilities=CAPABILITIES - {"draft/multiline"})
    bert = await connect(without, "bert", *CAPS)
    assert "draft/multiline" not in bert.caps


async def test_a_private_multiline_message_tells_of_absence(start: Start, connect: Connect) -> None:
    """The away notice of the recipient and the echo come together as one labelled answer."""
    server = await start()
    anna, bert = await connect(server, "anna", *CAPS), await connect(server, "bert", *CAPS)
    bert.raw("AWAY :gone")
    await bert.sync()
    say(anna, "bert", "one", "two", head="@label=w ")
    opening, lines = await batch(anna, "labeled-response")
    assert opening.tags["label"] == "w"
    assert [line.command for line in lines] == ["BATCH", "BATCH", "301"]
    inner = lines[0].params[0][1:]
    assert [line.text for line in anna.lines if line.tags.get("batch") == inner] == ["one", "two"]
    _, heard = await batch(bert, "draft/multiline")
    assert [line.text for line in heard] == ["one", "two"]
