"""What people see of a demo."""

import io

import pytest

from bridge_core.api.demo import Crossing, Way
from bridge_core.demo.report import StepReport
from bridge_core.demo.screen import Screen, shown
from bridge_core.demo.watching import line_of


def _screen() -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(out), out


@pytest.mark.parametrize(
    ("text", "line"),
    [("plain", "plain"), ("\x02bold\x0f", "\\x02bold\\x0f"), ("two\nlines", "two\\nlines"), ("a" * 20, "a" * 9 + "…")],
)
def test_shown_is_one_line_without_control_characters(text: str, line: str) -> None:
    """Whatever was said is shown on one line that cannot steer a terminal, cut at its limit."""
    assert shown(text, 10 if len(text) > 15 else 40) == line


def test_steps_have_arrows() -> None:
    """A step shows which way it went, what was said, and what was seen."""
    screen, out = _screen()
    screen.step("irc", StepReport("long_text", Way.TO_NETWORK, 12, Crossing("words", "lines")))
    screen.step("irc", StepReport("plain", Way.TO_MATRIX, 12, reason="nothing came"))
    good, bad = out.getvalue().split("FAILED")
    assert "Matrix ──▶ irc  long text" in good
    assert "said: words" in good
    assert "seen: lines" in good
    assert "irc ──▶ Matrix  plain" in bad
    assert "nothing came" in bad


def test_a_terminal_without_utf8_is_written_to() -> None:
    """Where the terminal cannot show a character, it gets an escape instead of an error."""
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii")
    Screen(terminal).say("Matrix ──▶ irc")
    assert raw.getvalue() == b"Matrix \\u2500\\u2500\\u25b6 irc\n"


def test_messages_are_told_by_their_side() -> None:
    """A message shows its sender and the way it goes; other events are not shown."""
    event = {"type": "m.room.message", "sender": "@a:x", "content": {"body": "hi"}}
    assert line_of(event, "@a:x") == "Matrix ──▶  @a:x  hi"
    assert line_of(event, "@b:x") == "──▶ Matrix  @a:x  hi"
    assert line_of({"type": "m.room.member", "content": {"body": "no"}}, "@a:x") is None
    assert line_of({"type": "m.room.message", "content": {"body": 7}}, "@a:x") is None
