"""The demo's own judgement: what counts as having been seen, and what does not."""

import time
from typing import Any

import pytest

from bridges.irc.demo import checks
from bridges.irc.demo.servers import inspircd_config, ngircd_config
from bridges.irc.demo.witness import Received, read_line


def _line(raw: str) -> Received:
    return read_line(raw.encode(), time.time())


def _html(body: str) -> dict[str, Any]:
    return {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "x", "formatted_body": body}}


def test_plain_takes_codes_off() -> None:
    """Formatting, colours and invisible characters go; the text stays, digits after a colour's two included."""
    assert checks.plain("\x02b\x0f \x0304,01r\x03 \x04ff0000h\x04 a\u200blice") == "b r h alice"
    assert checks.plain("\x03041") == "1"


def test_actions() -> None:
    """Only a whole CTCP ACTION is one."""
    assert checks.action("\x01ACTION waves\x01") == "waves"
    assert checks.action("waves") is None
    assert checks.action("\x01VERSION\x01") is None


def test_lines_are_of_their_target_and_command() -> None:
    """A notice is not a message, and another channel is another channel."""
    line = _line(":a!b@c PRIVMSG #Demo :hi")
    assert checks.is_line(line, "#demo")
    assert not checks.is_line(line, "#other")
    assert not checks.is_line(line, "#demo", "NOTICE")


@pytest.mark.parametrize(
    ("text", "good"),
    [("<alice> hi", True), ("<a\u200blice> hi", True), ("hi", False), ("<bob> hi", False), ("<alice> hi!", False)],
)
def test_relayed_lines_name_the_sender(text: str, good: bool) -> None:
    """The relay has to say who spoke, and exactly what."""
    assert checks.relayed(text, "alice", "hi") is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("* today is Monday", True), ("s/Mondey/Monday/", True), ("today is Monday", False), ("* today is Mondey", False)],
)
def test_edits_look_like_edits(text: str, good: bool) -> None:
    """The new text alone would look like a second message."""
    assert checks.is_edit(text, "Monday") is good


def test_taken_back() -> None:
    """Taking back is told in words, as a notice or an action."""
    assert checks.is_taken_back("took back an earlier message")
    assert checks.is_taken_back("\x01ACTION deleted a message\x01")
    assert not checks.is_taken_back("I should not have said this.")


def test_links() -> None:
    """A link ends before the bracket around it."""
    assert checks.link_in("square.png <http://127.0.0.1:1/a/b.png>") == "http://127.0.0.1:1/a/b.png"
    assert checks.link_in("no link") is None


def test_words_in_order() -> None:
    """Missing, doubled and swapped words are noticed."""
    words = ["a", "b", "c"]
    assert checks.words_in_order(["a b", "c"], words)
    assert not checks.words_in_order(["a", "c"], words)
    assert not checks.words_in_order(["a b", "b c"], words)
    assert not checks.words_in_order(["b a", "c"], words)


def test_html_has_tags_and_colours() -> None:
    """Formatting counts only as tags of the HTML, colours only as colours."""
    event = _html('<strong>a</strong> <em>b</em> <span data-mx-color="#ff0000">c</span>')
    assert checks.has_tags(event, ("b", "strong"), ("i", "em"))
    assert not checks.has_tags(event, ("u",))
    assert checks.has_color(event)
    assert checks.has_color(_html('<font color="#00ff00">c</font>'))
    assert not checks.has_color(_html("<span>#ff0000</span>"))


def test_messages_are_of_their_kind() -> None:
    """A notice is not a text, and another body is another message."""
    event = _html("x")
    assert checks.message_of(event, "x")
    assert not checks.message_of(event, "x", "m.notice")
    assert not checks.message_of(event, "y")


def test_servers_listen_on_loopback_only(tmp_path: Any) -> None:
    """Each server is told to listen on the given port of 127.0.0.1."""
    assert '<bind address="127.0.0.1" port="6667"' in inspircd_config(tmp_path, 6667, modules=["cap"])
    config = ngircd_config(6667)
    assert "Listen = 127.0.0.1\nPorts = 6667\n" in config
