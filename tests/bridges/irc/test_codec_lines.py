"""Bytes to lines to values."""

import pytest

from bridges.irc.codec.lines import TAG_LIMIT, LineBuffer
from bridges.irc.codec.message import Line, LineError, Source, parse, parse_source


def test_lines_end_at_lf_with_or_without_cr() -> None:
    """CR LF and LF end lines, empty lines are passed over, the rest waits."""
    buffer = LineBuffer()
    assert buffer.feed(b"PING a\r\nPING b\n\r\n\nPI") == [b"PING a", b"PING b"]
    assert buffer.held == 2
    assert buffer.feed(b"NG c\r\n") == [b"PING c"]
    assert buffer.overlong == 0


def test_overlong_bodies_are_cut_and_counted() -> None:
    """A body over the limit is cut to it; raising the limit lets it through."""
    buffer = LineBuffer()
    assert buffer.feed(b"x" * 600 + b"\r\n") == [b"x" * 510]
    assert buffer.overlong == 1
    buffer.limit = 1024
    assert buffer.feed(b"x" * 600 + b"\r\n") == [b"x" * 600]
    assert buffer.overlong == 1


def test_tags_do_not_count_for_the_body() -> None:
    """A line may have the whole tag section and the whole body."""
    line = b"@" + b"t" * (TAG_LIMIT - 2) + b" " + b"x" * 510
    buffer = LineBuffer()
    assert buffer.feed(line + b"\r\n") == [line]
    assert buffer.feed(line + b"more\r\n") == [line]
    assert buffer.overlong == 1


def test_endless_tags_are_dropped_and_counted() -> None:
    """A tag section over the limit takes its line with it, and only that one."""
    buffer = LineBuffer()
    assert buffer.feed(b"@" + b"t" * TAG_LIMIT + b" PING a\r\nPING b\r\n") == [b"PING b"]
    assert buffer.overlong == 1


def test_memory_is_bounded_without_line_end() -> None:
    """A stream that never ends its line is held up to the limit only, and counted once it ends."""
    buffer = LineBuffer()
    for _ in range(100):
        assert buffer.feed(b"x" * 65536) == []
    assert buffer.held == TAG_LIMIT + buffer.limit
    assert buffer.feed(b"\nPING a\r\n") == [b"x" * 510, b"PING a"]
    assert buffer.overlong == 1


def test_carriage_returns_do_not_hide_the_length() -> None:
    """Thousands of CRs give the same line whole and in pieces."""
    stream = b"x" * 500 + b"\r" * 9000 + b"y\n"
    whole, pieces = LineBuffer(), LineBuffer()
    assert whole.feed(stream) == [line for byte in stream for line in pieces.feed(bytes([byte]))]
    assert whole.overlong == pieces.overlong


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"PING", Line({}, None, "PING", ())),
        (b"ping :a b", Line({}, None, "PING", ("a b",))),
        (b":irc.test 001 me :Hi", Line({}, Source("irc.test", "", ""), "001", ("me", "Hi"))),
        (b":n!u@h PRIVMSG #c :a :b", Line({}, Source("n", "u", "h"), "PRIVMSG", ("#c", "a :b"))),
        (b":n!u@h PRIVMSG #c ::)", Line({}, Source("n", "u", "h"), "PRIVMSG", ("#c", ":)"))),
        (b"PRIVMSG #c :", Line({}, None, "PRIVMSG", ("#c", ""))),
        (b"  JOIN   #a  k  ", Line({}, None, "JOIN", ("#a", "k"))),
        (
            b"@a=b;c;+d/e=\\:\\s\\\\\\r\\n\\x\\ PING x",
            Line({"a": "b", "c": "", "+d/e": "; \\\r\nx"}, None, "PING", ("x",)),
        ),
        (b"@a=1;a=2;;=x  :s  PING", Line({"a": "2"}, Source("s", "", ""), "PING", ())),
        (b"PRIVMSG #c a\xc2\xa0b", Line({}, None, "PRIVMSG", ("#c", "a\xa0b"))),
        (b"PING a\0b", Line({}, None, "PING", ("a",))),
        (b"PING a\rQUIT", Line({}, None, "PING", ("a",))),
    ],
)
def test_parse(raw: bytes, expected: Line) -> None:
    """Lines become their tags, source, command and parameters."""
    assert parse(raw) == expected


@pytest.mark.parametrize(
    "raw", [b"", b" ", b":", b"@", b"@a", b":source", b":source ", b": :x", b"@a :s", b"P-NG", b"\0PING"]
)
def test_lines_without_command_are_refused(raw: bytes) -> None:
    """What holds no command raises LineError."""
    with pytest.raises(LineError):
        parse(raw)


def test_old_encodings_do_not_change_the_channel() -> None:
    """In a line that is not UTF-8 each parameter is decoded by itself; tags stay UTF-8."""
    line = parse("@a=é :ü!u@h PRIVMSG #ö :".encode() + b"caf\xe9", lambda data: data.decode("latin-1"))
    assert line.tags["a"] == "é"
    assert line.params == (("#ö").encode().decode("latin-1"), "café")
    decoded = parse("PRIVMSG #ö :".encode() + b"caf\xe9", lambda data: data.decode("utf-8", "replace"))
    assert decoded.params == ("#ö", "caf\ufffd")


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("n!u@h", ("n", "u", "h")),
        ("n@h", ("n", "", "h")),
        ("n!u", ("n", "u", "")),
        ("irc.test", ("irc.test", "", "")),
        ("n!u@a@b", ("n", "u", "a@b")),
        ("n@h!x", ("n", "", "h!x")),
        ("", ("", "", "")),
    ],
)
def test_sources(prefix: str, expected: tuple[str, str, str]) -> None:
    """A source is split at its first @ and the first ! in front of it."""
    assert parse_source(prefix) == expected


def test_missing_parameters_are_empty() -> None:
    """Reading a parameter that a short line lacks gives the empty string, from either end."""
    line = parse(b"MODE #c")
    assert (line.param(0), line.param(1), line.param(-1), line.param(-2)) == ("#c", "", "#c", "")
