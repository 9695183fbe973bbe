"""The header of a mail or part: found, bounded, unfolded, without any parser that strangers could crash.

Own code since the standard library's `email` was measured to raise IndexError, RecursionError and LookupError on
headers that are met, and takes quadratic time (32,000 addresses: 6.7 s); none of it runs here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bridges.email.parsing.charsets import header_text
from bridges.email.parsing.words import decode_words

_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:")
_END = re.compile(rb"\n\r?\n")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """How much of a header is read; the rest of it is passed over."""

    size: int = 256 * 1024
    """Bytes of all fields."""
    fields: int = 1000
    value: int = 64 * 1024
    """Bytes of one field."""


LIMITS: Final = HeaderLimits()


class Headers:
    """Fields in order, by lower-case name. Values are raw bytes, unfolded."""

    __slots__ = ("cut", "fields")

    def __init__(self, fields: tuple[tuple[str, bytes], ...], *, cut: bool = False) -> None:
        self.fields = fields
        self.cut = cut
        """Whether fields were left out or shortened since a limit was reached."""

    def raw(self, name: str) -> bytes:
        """The first field's bytes; empty where there is none."""
        return next((value for field, value in self.fields if field == name), b"")

    def get(self, name: str) -> str:
        """The first field's text as it stands, encoded words and all, in one line without control characters."""
        return one_line(header_text(self.raw(name)))

    def all(self, name: str) -> Iterator[str]:
        """The texts of all fields of that name."""
        return (one_line(header_text(value)) for field, value in self.fields if field == name)

    def text(self, name: str, longest: int = 1000) -> str:
        """The first field decoded for people: encoded words read, one line, at most so many characters."""
        return one_line(decode_words(self.get(name)))[:longest]

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return any(field == name for field, _ in self.fields)

    def count(self, name: str) -> int:
        """How many fields of that name there are."""
        return sum(field == name for field, _ in self.fields)


def one_line(text: str) -> str:
    """The text with each run of control characters made a space, and none around it."""
    return _CONTROLS.sub(" ", text).strip()


def split(data: bytes, start: int, end: int, limits: HeaderLimits = LIMITS) -> tuple[Headers, int]:
    """The header that begins at `start`, and where its body does. Linear; never raises.

    Lines end with LF, with or without CR; a CR elsewhere ends nothing. A line that is no field ends the header (its
    body then begins with that line), but for an mbox "From " line at the very start.
    """
    found: list[tuple[str, bytes]] = []
    cut = False
    at, used = start, 0
    name, value = "", bytearray()
    while at < end:
        newline = data.find(b"\n", at, end)
        stop = newline if newline >= 0 else end
        after = min(stop + 1, end)
        line = data[at : min(stop, at + limits.value)]
        if stop - at > limits.value:
            cut = True
        line = line.removesuffix(b"\r")
        used += after - at
        if not line:
            at = after
            break
        if used > limits.size or len(found) >= limits.fields:
            cut, at = True, _body(data, at, end)
            break
        if line[:1] in b" \t":
            if name and len(value) + len(line) <= limits.value:
                value += b" " + line.strip()
            elif name:
                cut = True
        elif (field := _FIELD.match(line)) is not None:
            if name:
                found.append((name, bytes(value)))
            name, value = field[1].decode("ascii").lower(), bytearray(line[field.end() :].strip())
        elif not (at == start and line.startswith((b"From ", b">From "))):
            break
        at = after
    if name:
        found.append((name, bytes(value)))
    return Headers(tuple(found), cut=cut), at


def _body(data: bytes, at: int, end: int) -> int:
    """Where the body begins behind a header of which only the first part is read."""
    found = _END.search(data, max(at - 1, 0), end)
    return found.end() if found is not None else end
