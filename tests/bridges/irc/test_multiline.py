"""Messages of several lines (draft/multiline), both ways, within the server's limits, and without it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.content import Plain, Span, Style
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId
from bridge_core.api.network import Proof
from bridge_core.content import to_plain
from bridges.irc.codec.message import parse
from bridges.irc.codec.multiline import Limits, groups, parse_limits, serialize_batch
from bridges.irc.codec.serializer import UnsafeLine
from bridges.irc.demo.options import CAPABILITIES, DRAFTS
from bridges.irc.splitting import split
from tests.bridges.irc.rig import FakeAttempt, StartRig, StartServer, confirmed

PEER = ("message-tags", "batch", "draft/multiline", "server-time")


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ("max-bytes=4096,max-lines=100", Limits(4096, 100)),
        ("max-lines=3,new=thing,max-bytes=40", Limits(40, 3)),
        ("max-bytes=4096", Limits(4096, 200)),
        ("max-bytes=99999999,max-lines=9999", Limits(16_384, 200)),
        ("max-lines=3", None),
        ("max-bytes=0", None),
        ("max-bytes=x", None),
        ("", None),
    ],
)
def test_the_limits_are_those_of_the_capability(value: str, limits: Limits | None) -> None:
    """`max-bytes` is required, `max-lines` not; what is unknown is passed over, and nothing raises."""
    assert parse_limits(value) == limits


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.text(max_size=30), st.booleans()), max_size=40),
    st.integers(min_value=150, max_value=400),
    st.integers(min_value=1, max_value=10),
)
def test_batches_hold_every_line_once_within_the_limits(lines: list[tuple[str, bool]], size: int, most: int) -> None:
    """Whatever the lines, none is lost or moved, and each batch is within bytes and lines."""
    texts, joined = [text for text, _ in lines], [go_on for _, go_on in lines]
    limits = Limits(size, most)
    made = list(groups(texts, joined, limits))
    assert [place for group in made for place in group] == list(range(len(texts)))
    for group in made:
        content = "".join(
            text if place == group.start or joined[place] else f"\n{text}"
            for place, text in zip(group, texts[group.start : group.stop], strict=True)
        )
        assert len(content.encode()) <= size and len(group) <= most


def test_no_text_breaks_out_of_its_batch() -> None:
    """CR, LF and NUL are refused in each line, and in the target (CVE-2022-29166)."""
    for texts, target in ((["a", "b\nQUIT"], "#a"), (["a\r", "b"], "#a"), (["a", "b"], "#a\r\nQUIT"), (["a\0"], "#a")):
        with pytest.raises(UnsafeLine):
            serialize_batch("1", target, texts, [False] * len(texts))
    lines = serialize_batch("1", "#a", ["a", "b", "c"], [True, True, False]).split(b"\r\n")
    assert [parse(line).tags.get("batch", "") for line in lines if line] == ["", "1", "1", "1", ""]
    assert ["draft/multiline-concat" in parse(line).tags for line in lines if line] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_pieces_look_the_same_alone_and_together() -> None:
    """A piece that goes on with styles ends them first: opened twice they would be off (bold is a toggle)."""
    for piece in split("\x02" + "bold words " * 20, 100, reset=True)[1:]:
        assert piece.startswith("\x0f\x02")
    assert split("plain words " * 20, 100, reset=True) == split("plain words " * 20, 100)


async def test_a_text_of_several_lines_is_one_message(rig: StartRig, serve: StartServer) -> None:
    """Who knows multiline gets one message with blank lines and a long line whole; its one id is the message's."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=PEER)
    anna = await adapter.puppet("@anna:hs.test")
    long = "word " * 150 + "end"
    sent = await adapter.say(anna, f"one\n\n{long}\nlast")
    assert sent.proof is Proof.ECHOED and len(sent.ids) == 1
    opening = await bob.wait_for(lambda line: line.command == "BATCH" and line.params[0].startswith("+"))
    closing = await bob.wait_for(lambda line: line.command == "BATCH" and line.params[0].startswith("-"))
    assert list(opening.params[1:]) == ["draft/multiline", "#a"] and opening.tags["msgid"] == sent.ids[0]
    assert closing.params[0][1:] == opening.params[0][1:]
    text = ""
    for line in bob.messages("#a"):
        text += ("" if "draft/multiline-concat" in line.tags or not text else "\n") + line.text
    assert text == f"one\n\n{long}\nlast"


async def test_who_does_not_know_multiline_gets_the_lines(rig: StartRig, serve: StartServer) -> None:
    """The server falls back for others, and the adapter where the server has no multiline: the same lines."""
    for capabilities in (CAPABILITIES, CAPABILITIES - DRAFTS, frozenset[str]()):
        server = await serve(capabilities=capabilities)
        adapter = await rig(server.port)
        bob = await adapter.witness("Bob", "#a")
        anna = await adapter.puppet("@anna:hs.test")
        await adapter.say(anna, (Span(Style.BOLD, (Plain("one\ntwo"),)), Plain("\n\nthree")))
        await bob.wait_text("three")
        assert [line.text.strip("\x02\x0f") for line in bob.messages("#a")] == ["one", "two", "three"]


async def test_more_than_a_batch_may_hold_goes_in_several(rig: StartRig, serve: StartServer) -> None:
    """Within the server's lines and bytes, in order, each with its id."""
    server = await serve(multiline_lines=3, multiline_bytes=60)
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=PEER)
    anna = await adapter.puppet("@anna:hs.test")
    words = [f"line {number} {'x' * (number * 3)}" for number in range(8)]
    sent = await adapter.say(anna, "\n".join(words))
    await bob.wait_text(words[-1])
    assert [line.text for line in bob.messages("#a")] == words and 3 <= len(sent.ids) <= 8


async def test_relayed_lines_each_name_their_sender(rig: StartRig, serve: StartServer) -> None:
    """In a batch, too: to those who get its lines one by one each says whose it is."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    await adapter.relay("one\ntwo")
    await bob.wait_text("<A\u200bnna> two")
    assert [line.text for line in bob.messages("#a")] == ["<A\u200bnna> one", "<A\u200bnna> two"]


@pytest.mark.parametrize("labels", [True, False])
async def test_a_refused_batch_comes_back_in_the_servers_words(rig: StartRig, serve: StartServer, labels: bool) -> None:
    """FAIL BATCH, under its label or without one, ends the message as rejected with the server's reason."""
    capabilities = CAPABILITIES if labels else CAPABILITIES - {"labeled-response", "echo-message"}
    server = await serve(capabilities=capabilities)
    adapter = await rig(server.port)
    anna = await adapter.puppet("@anna:hs.test")
    server.world.options = replace(server.world.options, multiline_lines=1)
    sent = await anna.send(adapter.message("one\ntwo\nthree"), FakeAttempt())
    with pytest.raises(RejectedError, match="max-lines exceeded"):
        await confirmed(sent)


async def test_a_message_of_several_lines_arrives_as_one(rig: StartRig, serve: StartServer) -> None:
    """From IRC: one event with the batch's id and answer, its styles and mentions; also in private."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a", caps=(*PEER, "echo-message"))
    anna = await adapter.puppet("@anna:hs.test")
    for target in ("#a", "anna"):
        mark = bob.mark()
        bob.raw(f"@+draft/reply=abc BATCH +1 draft/multiline {target}")
        bob.raw(f"@batch=1 PRIVMSG {target} :\x02bold\x02 and ")
        bob.raw(f"@batch=1;draft/multiline-concat PRIVMSG {target} :long")
        bob.raw(f"@batch=1 PRIVMSG {target} :")
        bob.raw(f"@batch=1 PRIVMSG {target} :last {target}")
        bob.raw("BATCH -1")
        opening = await bob.wait_for(lambda line: line.command == "BATCH" and line.params[0][0] == "+", since=mark)
        event = await adapter.inbox.text(f"bold and long\n\nlast {target}")
        assert (event.id, event.reply_to, event.sender.id) == (opening.tags["msgid"], "abc", "bob")
        assert event.chat == ("#a" if target == "#a" else "bob")
        assert isinstance(event.content.text[0], Span)
    assert len(adapter.inbox.messages) == 2 and anna.ready(ChatId("#a"))
    assert to_plain(adapter.inbox.messages[0].content.text).count("\n") == 2


async def test_what_our_users_say_in_several_lines_is_not_bridged_back(rig: StartRig, serve: StartServer) -> None:
    """The observer knows whose the batches of our connections are; without labels it proves them."""
    server = await serve(capabilities=CAPABILITIES - {"labeled-response", "echo-message"})
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    sent = await adapter.say(anna, "one\ntwo")
    assert sent.proof is Proof.ECHOED and len(sent.ids) == 1
    await adapter.relay("three\nfour")
    bob.raw("PRIVMSG #a :done")
    await adapter.inbox.text("done")
    assert adapter.inbox.texts == ["done"]
