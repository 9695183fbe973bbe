"""Batches of any shape: whatever a server sends, nothing raises, and each word of a person arrives exactly once."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.events import RemoteMessage
from bridge_core.content import to_plain
from bridges.irc.archive import _time, cursor_of, parse_cursor
from bridges.irc.batches import Batch, Batches
from bridges.irc.codec.message import Line, parse
from bridges.irc.codec.multiline import CAPABILITY, parse_limits
from bridges.irc.pastes import merged
from bridges.irc.speech import several_lines

NAMES = st.sampled_from(["1", "2", "3", ""])
KINDS = st.sampled_from([CAPABILITY, "netsplit", "chathistory", "unknown", ""])
TAGS = st.sampled_from(["", "batch=1", "batch=2", "batch=3", "batch=9", "batch=1;draft/multiline-concat"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("+"), NAMES, KINDS, TAGS),
        st.tuples(st.just("-"), NAMES, st.just(""), TAGS),
        st.tuples(st.just("say"), st.just(""), st.just(""), TAGS),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_no_line_is_lost_or_doubled(steps: list[tuple[str, str, str, str]]) -> None:
    """However batches open, nest, overlap and end: each line is told once, alone or in one batch."""
    asyncio.run(_run(steps))


async def _run(steps: list[tuple[str, str, str, str]]) -> None:
    batches, told = Batches(), []
    for kind in (CAPABILITY, "netsplit", "chathistory"):
        batches.on(
            kind, lambda batch: told.extend(line.param(1) for line in batch.lines() if line.command == "PRIVMSG")
        )
    for number, (what, name, kind, tags) in enumerate(steps):
        head = f"@{tags} " if tags else ""
        if what == "say":
            line = parse(f"{head}:a!u@h PRIVMSG #a :{number}".encode())
            if not ("batch" in line.tags and batches.take(line)):
                told.append(str(number))
            continue
        line = parse(f"{head}:a!u@h BATCH {what}{name} {kind} #a".encode())
        if not ("batch" in line.tags and batches.take(line)):
            batches.received(line)
    batches.closed()
    said = [str(number) for number, step in enumerate(steps) if step[0] == "say"]
    assert sorted(told, key=int) == said


@settings(max_examples=200)
@given(st.lists(st.tuples(st.text(max_size=20), st.booleans()), max_size=20))
def test_lines_of_a_message_are_joined_as_they_were_sent(lines: list[tuple[str, bool]]) -> None:
    """What `draft/multiline-concat` joins is joined without, everything else with a line end; nothing else is added."""
    items = tuple(
        Line({"draft/multiline-concat": ""} if joined else {}, None, "PRIVMSG", ("#a", text)) for text, joined in lines
    )
    found = several_lines(Batch(CAPABILITY, ("#a",), {}, None, items))
    if not lines:
        assert found is None
        return
    text = lines[0][0]
    for more, joined in lines[1:]:
        text += more if joined else f"\n{more}"
    assert found == ("PRIVMSG", text)


@settings(max_examples=200)
@given(st.text(max_size=60), st.binary(max_size=60), st.text(max_size=30))
def test_what_servers_say_of_themselves_is_read_or_left(value: str, cursor: bytes, time: str) -> None:
    """Limits, cursors and times of any content never raise, and limits are always bounded."""
    limits = parse_limits(value)
    assert limits is None or (0 < limits.size <= 16_384 and 0 < limits.lines <= 200)
    assert parse_cursor(cursor)[0] >= 0
    found = _time(Line({"time": time}, None, "PRIVMSG", ("#a", "x")))
    assert found is None or isinstance(found, int)


@settings(max_examples=200)
@given(st.data())
def test_merging_keeps_every_word_in_order(data: st.DataObject) -> None:
    """Whoever says what where: of each chat the same words come in the same order, and every id leads to its text."""
    from tests.bridges.irc.test_pastes import ANN, BOB, line  # the same little language

    events = [
        line(
            f"w{number}",
            data.draw(st.sampled_from([ANN, BOB])),
            data.draw(st.sampled_from(["#a", "#b"])),
            data.draw(st.integers(0, 20_000)),
            id=f"i{number}",
        )
        for number in range(data.draw(st.integers(0, 30)))
    ]
    out = [event for event in merged(events) if isinstance(event, RemoteMessage)]
    for chat in ("#a", "#b"):
        before = [to_plain(event.content.text) for event in events if event.chat == chat]
        after = [word for event in out if event.chat == chat for word in to_plain(event.content.text).split("\n")]
        assert after == before
    for event in out:
        words = to_plain(event.content.text).split("\n")
        assert [str(one) for one in (event.id, *event.also)] == [f"i{word[1:]}" for word in words]
        assert cursor_of(event) is None or cursor_of(event) == f"{event.timestamp}:i{words[-1][1:]}".encode()
