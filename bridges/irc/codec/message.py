"""One line as a value: tags, source, command, parameters.

Sources: RFC 1459 section 2.3.1, modern.ircdocs.horse "Message Format", IRCv3 message-tags.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

Decode: TypeAlias = Callable[[bytes], str]
"""Bytes that are not valid UTF-8 to text. Must not raise; see `encoding.Decoder`."""

NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})
_UNESCAPED: Final[Mapping[str, str]] = MappingProxyType({":": ";", "s": " ", "r": "\r", "n": "\n", "\\": "\\"})
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)
_new = tuple.__new__  # a third of the cost of the named constructor, on the hottest path there is


class LineError(ValueError):
    """The line is not one of IRC. Carries no part of it."""


class Source(NamedTuple):
    """Who sent a line: a user `nick!user@host`, or a server (then `nick` is its name and the rest is empty)."""

    nick: str
    user: str
    host: str


class Line(NamedTuple):
    """One line. Immutable. `command` is upper-case or three digits; a missing tag value is the empty string."""

    tags: Mapping[str, str]
    source: Source | None
    command: str
    params: tuple[str, ...]

    def param(self, index: int) -> str:
        """The parameter at `index`, or the empty string where the line is too short."""
        params = self.params
        return params[index] if -len(params) <= index < len(params) else ""


def decode_replacing(data: bytes) -> str:
    """UTF-8 with what is not UTF-8 replaced: the decoder for networks without a fallback encoding."""
    return data.decode("utf-8", "replace")


def parse(line: bytes, decode: Decode = decode_replacing) -> Line:
    """Parses one line without its line end; whatever stands behind a NUL, CR or LF is cut off, as servers do.

    UTF-8 is tried first; in a line that is not UTF-8 each parameter is decoded by itself, so that a message in an old
    encoding does not change the name of its channel. Tags are always UTF-8.

    Raises:
        LineError: there is no command. Nothing else is raised, whatever the bytes.
    """
    for end in (b"\0", b"\r", b"\n"):
        if end in line:
            line = line[: line.index(end)]
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return _parse(line.decode("latin-1"), decode)
    return _parse(text, None)


def _parse(text: str, decode: Decode | None) -> Line:
    """Parses text; with `decode` given, the text holds one character per byte and its parts are yet to be decoded."""
    tags = NO_TAGS
    if text[:1] == "@":
        raw, _, text = text[1:].partition(" ")
        text = text.lstrip(" ")
        tags = _tags(raw if decode is None else raw.encode("latin-1").decode("utf-8", "replace"))
    source: Source | None = None
    if text[:1] == ":":
        prefix, _, text = text[1:].partition(" ")
        text = text.lstrip(" ")
        if decode is not None:
            prefix = decode(prefix.encode("latin-1"))
        source = parse_source(prefix)
    head, colon, trailing = text.partition(" :")
    params = head.split(" ")
    if "" in params:
        params = [part for part in params if part]
        if not params:
            raise LineError("a line without a command")
    command = params.pop(0)
    if not (command.isalnum() and command.isascii()):
        raise LineError("a line whose command is neither letters nor digits")
    if colon:
        params.append(trailing)
    if decode is not None:
        params = [decode(part.encode("latin-1")) for part in params]
    return _new(Line, (tags, source, command.upper(), tuple(params)))


def parse_source(prefix: str) -> Source:
    """`nick!user@host`, `nick@host`, `nick` or a server's name, without the colon. Never raises."""
    left, _, host = prefix.partition("@")
    nick, _, user = left.partition("!")
    return _new(Source, (nick, user, host))


def _tags(raw: str) -> Mapping[str, str]:
    """Tags by key; the last one of a key counts."""
    tags: dict[str, str] = {}
    for item in raw.split(";"):
        key, _, value = item.partition("=")
        if key:
            tags[key] = value if "\\" not in value else _ESCAPE.sub(_unescape, value)
    return tags


def _unescape(match: re.Match[str]) -> str:
    """The character that an escape stands for: an unknown one for itself, a lone backslash at the end for nothing."""
    character = match[1]
    return _UNESCAPED.get(character, character)
