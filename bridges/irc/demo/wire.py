"""Lines of the client protocol for the demo server: parse what clients send, render what the server says.

Bytes are handled as latin-1 text, so that any encoding passes through unchanged and ``len`` counts bytes.
Sources: RFC 2812 section 2.3.1, IRCv3 message-tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ASCII_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
RFC1459_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ[]\\~", "abcdefghijklmnopqrstuvwxyz{}|^")
_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
FOLDS = {"ascii": ASCII_FOLD, "rfc1459": RFC1459_FOLD}

_UNESCAPE = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}
_ESCAPE = str.maketrans({";": "\\:", " ": "\\s", "\\": "\\\\", "\r": "\\r", "\n": "\\n"})


@dataclass(slots=True)
class Line:
    """One line of a client: tags (unescaped), upper-cased command, parameters."""

    command: str
    params: list[str]
    tags: dict[str, str] = field(default_factory=dict)


def to_wire(text: str) -> str:
    """Turn ordinary text into the latin-1 view of its UTF-8 bytes, the form this server works in."""
    return text.encode().decode("latin-1")


def upper(text: str) -> str:
    """Put ASCII letters into upper case; ``str.upper`` would turn bytes of other encodings into what is no byte."""
    return text.translate(_UPPER)


def split(text: str) -> list[str]:
    """Split at spaces; ``str.split`` would also split at bytes that are parts of characters, such as NBSP's."""
    return [word for word in text.split(" ") if word]


def unescape_tag(value: str) -> str:
    """Undo the escaping of a tag value; an unknown escape gives the character itself, a last backslash goes."""
    if "\\" not in value:
        return value
    out: list[str] = []
    characters = iter(value)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            out.append(_UNESCAPE.get(following, following))
        else:
            out.append(character)
    return "".join(out)


def escape_tag(value: str) -> str:
    """Escape a tag value as IRCv3 message-tags asks."""
    return value.translate(_ESCAPE)


def parse(text: str) -> Line | None:
    """Read one line without its line end; None when it holds no command. A source sent by a client is ignored."""
    tags: dict[str, str] = {}
    if text.startswith("@"):
        blob, _, text = text[1:].partition(" ")
        for item in blob.split(";"):
            key, _, value = item.partition("=")
            if key:
                tags[key] = unescape_tag(value)
        text = text.lstrip(" ")
    if text.startswith(":"):
        text = text.partition(" ")[2]
    head, colon, trailing = text.partition(" :")
    if head.startswith(":"):
        return None
    words = split(head)
    if not words:
        return None
    params = words[1:]
    if colon:
        params.append(trailing)
    return Line(upper(words[0]), params, tags)


def glob(mask: str) -> re.Pattern[str]:
    """Compile a ban mask (``*`` and ``?``) that was case-folded already."""
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in mask) + r"\Z", re.DOTALL)
