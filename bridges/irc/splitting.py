"""Long texts as lines that every server passes on whole, measured in bytes."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bridges.irc.codec.ctcp import ACTION_BYTES
from bridges.irc.codec.lines import LINE_LIMIT
from bridges.irc.formatting.codes import (
    BOLD,
    CODE,
    COLOR,
    CONTROLS,
    HEX_COLOR,
    ITALIC,
    MONO,
    RESET,
    REVERSE,
    STRIKE,
    UNDERLINE,
)

_HOST_BYTES: Final = 63
_USER_BYTES: Final = 11
_SAFETY_BYTES: Final = 10
ROOM_AT_LEAST: Final = 64
"""Bytes a text needs for itself in every line: enough for any reopened styles and one long character."""
_LOOK_BACK: Final = 128
_CODE_BYTES: Final = 14
_BYTE_CODE: Final = re.compile(CODE.pattern.encode("ascii"))
_JOINER: Final = "\u200d"
_TOGGLES: Final = (BOLD, ITALIC, UNDERLINE, STRIKE, MONO, REVERSE)
_COLORS: Final = re.compile(f"[{COLOR}{HEX_COLOR}]")


class NoRoom(ValueError):  # noqa: N818 - named for what is so
    """The names in front of the text leave less than `ROOM_AT_LEAST` bytes for it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the server puts in front of our lines when it passes them on: `:nick!user@host COMMAND target :`.

    Unknown user and host are None: then the longest usual ones are assumed, and some bytes of safety.
    """

    nick: str
    user: str | None = None
    host: str | None = None
    limit: int = LINE_LIMIT

    def room(self, command: str, target: str, *, action: bool = False) -> int:
        """Bytes that a text may have in one line.

        Raises NoRoom when the names are so long that too little is left.
        """
        user = _USER_BYTES if self.user is None else len(self.user.encode())
        host = _HOST_BYTES if self.host is None else len(self.host.encode())
        taken = len(f":{self.nick}!@ {command} {target} :\r\n".encode()) + user + host
        if self.user is None or self.host is None:
            taken += _SAFETY_BYTES
        if action:
            taken += ACTION_BYTES
        room = self.limit - taken
        if room < ROOM_AT_LEAST:
            raise NoRoom(f"{room} bytes are left for the text in a line of {self.limit}")
        return room


def split(text: str, room: int, *, reset: bool = False) -> list[str]:
    """One line of text with control codes as pieces of at most `room` bytes each; joined they are the text.

    Splits behind spaces where it can, else between characters as people see them (grapheme clusters), never within a
    control sequence. Styles are opened anew in each piece. A piece of control codes alone is left out. With `reset`
    they are ended first, so that a piece looks the same behind the one before it as in a line of its own.
    """
    if len(text) * 4 <= room or len(text.encode()) <= room:
        return [text] if text else []
    return list(_pieces(text.encode(), max(room, ROOM_AT_LEAST), RESET if reset else ""))


def _pieces(rest: bytes, room: int, reset: str) -> Iterator[str]:
    """The pieces of a text in UTF-8."""
    state = _State()
    while rest:
        codes = state.opening(rest)
        opening = (reset + codes if codes else codes).encode()
        budget = room - len(opening)
        cut = len(rest) if len(rest) <= budget else _cut(rest, budget)
        piece, rest = rest[:cut].decode(), rest[cut:]
        if CONTROLS.sub("", CODE.sub("", piece)):
            yield opening.decode() + piece
        state.read(piece)


def _cut(data: bytes, budget: int) -> int:
    """Where to cut `data`, which is longer than `budget` bytes: at least 1."""
    end = budget
    while (space := data.rfind(b" ", 0, end)) > 0:
        if _parts(data, space + 1) and data[:space].strip(b" "):
            return space + 1
        end = space
    return _hard_cut(data, budget)


def _hard_cut(data: bytes, budget: int) -> int:
    """Where to cut a word: between characters, not within a control sequence."""
    cut = first = _outside(data, budget)
    while cut > max(0, first - _LOOK_BACK):
        if _parts(data, cut):
            return cut
        cut = _outside(data, cut - 1)
    return first  # one character longer than any writing system has


def _outside(data: bytes, place: int) -> int:
    """The last place up to `place` that is within neither an encoded character nor a control sequence."""
    while place > 0 and data[place] & 0xC0 == 0x80:
        place -= 1
    for start in range(max(0, place - _CODE_BYTES), place):
        if data[start] in (0x03, 0x04):
            match = _BYTE_CODE.match(data, start)
            if match is not None and match.end() > place:
                return start
    return place


def _parts(data: bytes, cut: int) -> bool:
    """Whether different characters to the eye stand on both sides of a place (UAX 29, without Indic rules)."""
    after = data[cut : cut + 4].decode("utf-8", "ignore")
    if not after or after.isascii():
        return True
    character = after[0]
    before = data[max(0, cut - _LOOK_BACK) : cut].decode("utf-8", "ignore")
    if not before:
        return True
    if before[-1] == _JOINER or extends(character):
        return False
    if _is_regional(character):
        halves = 0
        while halves < len(before) and _is_regional(before[-1 - halves]):
            halves += 1
        return halves % 2 == 0
    return not (_is_jamo(character) and (_is_jamo(before[-1]) or "\uac00" <= before[-1] <= "\ud7a3"))


def extends(character: str) -> bool:
    """Whether a character belongs to the one in front of it: marks, joiners, variation selectors, skin tones, tags."""
    return (
        character == _JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
        or character == "\u200c"
        or unicodedata.category(character)[0] == "M"
    )


def _is_regional(character: str) -> bool:
    """Half of a flag."""
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _is_jamo(character: str) -> bool:
    """Part of a Korean syllable that is written in parts."""
    return "\u1100" <= character <= "\u11ff" or "\ua960" <= character <= "\ua97c" or "\ud7b0" <= character <= "\ud7fb"


class _State:
    """Which codes are in force at a place of the text."""

    __slots__ = ("_background", "_foreground", "_on")

    def __init__(self) -> None:
        self._on: dict[str, bool] = dict.fromkeys(_TOGGLES, False)
        self._foreground = ""
        self._background = ""

    def read(self, piece: str) -> None:
        """Goes on over a piece of the text."""
        for match in CODE.finditer(piece):
            code = match[0][0]
            if code == RESET:
                self._on = dict.fromkeys(_TOGGLES, False)
                self._foreground = self._background = ""
            elif code in self._on:
                self._on[code] = not self._on[code]
            else:
                foreground, background = match[1] or match[3], match[2] or match[4]
                if foreground is None:
                    self._foreground = self._background = ""
                else:
                    self._foreground = code + foreground.zfill(2)
                if background is not None:
                    self._background = code + background.zfill(2)

    def opening(self, rest: bytes) -> str:
        """The codes that bring an empty line into this state, in front of `rest`."""
        codes = "".join(code for code, on in self._on.items() if on)
        foreground, background = self._foreground, self._background
        if not foreground:
            return codes
        if not background:
            codes += foreground
        elif foreground[0] == background[0]:
            codes += f"{foreground},{background[1:]}"
        elif background[0] == COLOR:
            codes += f"{COLOR}99,{background[1:]}{foreground}"
        else:
            codes += f"{HEX_COLOR}000000,{background[1:]}{foreground}"
        return codes + BOLD + BOLD if rest[:1].isdigit() or rest[:1] == b"," else codes
