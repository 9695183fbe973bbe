"""What has to be seen when a message crossed: pure checks over lines and events, in one place.

Each gives None when it fits. The wording the bridge uses for what IRC cannot do is known here and nowhere else in the
demo.
"""

import re
from collections.abc import Sequence
from typing import Any

from bridges.irc.demo.witness import Received

_LINK = re.compile(r"https?://[^\s<>]+")
_TAKEN_BACK = re.compile(r"(?i)redact|deleted|removed|took back|taken back|withdr")
_CODES = re.compile(r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|\x04(?:[0-9a-fA-F]{6})?|[\x02\x0f\x11\x16\x1d\x1e\x1f]")

_INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff]")


def plain(text: str) -> str:
    """A text without formatting codes and without the invisible characters that keep a nick from being called."""
    return _INVISIBLE.sub("", _CODES.sub("", text))


def action(text: str) -> str | None:
    """What a CTCP ACTION says; None when the text is none."""
    return text[8:-1] if text.startswith("\x01ACTION ") and text.endswith("\x01") else None


def is_line(line: Received, target: str, command: str = "PRIVMSG") -> bool:
    """Whether a line speaks to the target."""
    return line.command == command and line.params[0].casefold() == target.casefold()


def relayed(text: str, name: str, body: str) -> bool:
    """Whether the relay says that `name` said `body`."""
    said = plain(text)
    return said.endswith(body) and name.casefold() in said[: -len(body)].casefold()


def is_edit(text: str, new: str) -> bool:
    """Whether a line tells of an edit: the new text behind a star, or a substitution."""
    said = plain(text)
    return (said.startswith("* ") and new in said) or bool(re.match(r"s/.+/.*/", said))


def is_taken_back(text: str) -> bool:
    """Whether a line tells that somebody took a message back."""
    return _TAKEN_BACK.search(plain(action(text) or text)) is not None


def is_kept_for_encryption(event: dict[str, Any]) -> bool:
    """Whether an event tells that a file went nowhere since it is encrypted."""
    return "it is encrypted" in str(event.get("content", {}).get("body", ""))


def link_in(text: str) -> str | None:
    """The first link of a line."""
    found = _LINK.search(plain(text))
    return found[0] if found else None


def words_in_order(lines: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the lines together hold exactly these words, in this order."""
    return [word for line in lines for word in plain(line).split()] == list(words)


def message_of(event: dict[str, Any], body: str, kind: str = "m.text") -> bool:
    """Whether an event is a message of this kind and body."""
    content = event.get("content", {})
    return event.get("type") == "m.room.message" and content.get("msgtype") == kind and content.get("body") == body


def has_tags(event: dict[str, Any], *tags: Sequence[str]) -> bool:
    """Whether an event's HTML holds at least one tag of each group."""
    html = str(event.get("content", {}).get("formatted_body", ""))
    return all(any(re.search(rf"<{tag}[ >]", html) for tag in group) for group in tags)


def has_color(event: dict[str, Any]) -> bool:
    """Whether an event's HTML holds a coloured text (specification: `data-mx-color`; older: `color`)."""
    html = str(event.get("content", {}).get("formatted_body", ""))
    return re.search(r"<(?:span|font)[^>]*\b(?:data-mx-)?color=[\"']#[0-9a-fA-F]{6}", html) is not None
