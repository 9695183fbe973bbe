"""Control characters of formatted text, the colour table, and the look of a run of text."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

BOLD: Final = "\x02"
COLOR: Final = "\x03"
HEX_COLOR: Final = "\x04"
RESET: Final = "\x0f"
MONO: Final = "\x11"
REVERSE: Final = "\x16"
ITALIC: Final = "\x1d"
STRIKE: Final = "\x1e"
UNDERLINE: Final = "\x1f"

DEFAULT_COLOR: Final = 99
CODE: Final = re.compile(
    r"[\x02\x11\x16\x1d-\x1f\x0f]"
    r"|\x03(?:([0-9]{1,2})(?:,([0-9]{1,2}))?)?"
    r"|\x04(?:([0-9A-Fa-f]{6})(?:,([0-9A-Fa-f]{6}))?)?"
)
"""One control sequence; colours are the groups 1 and 2 (numbers), 3 and 4 (hex)."""
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Controls that are not text: all but tab and line end."""

_TABLE: Final = (
    "ffffff00000000007f009300ff00007f00009c009cfc7f00ffff0000fc0000939300ffff"
    "0000fcff00ff7f7f7fd2d2d247000047210047470032470000470000472c004747002747"
    "0000472e004747004747002a740000743a00747400517400007400007449007474004074"
    "0000744b0074740074740045b50000b56300b5b5007db50000b50000b57100b5b50063b5"
    "0000b57500b5b500b5b5006bff0000ff8c00ffff00b2ff0000ff0000ffa000ffff008cff"
    "0000ffa500ffff00ffff0098ff5959ffb459ffff71cfff606fff6f65ffc96dffff59b4ff"
    "5959ffc459ffff66ffff59bcff9c9cffd39cffff9ce2ff9c9cff9c9cffdb9cffff9cd3ff"
    "9c9cffdc9cffff9cffff94d30000001313132828283636364d4d4d6565658181819f9f9f"
    "bcbcbce2e2e2ffffff"
)
PALETTE: Final = tuple(_TABLE[place : place + 6] for place in range(0, len(_TABLE), 6))
"""Colours 0 to 98 as `rrggbb`."""


class Look(NamedTuple):
    """How a run of text looks; colours are `rrggbb` or None for the reader's own."""

    bold: bool = False
    italic: bool = False
    underline: bool = False
    strike: bool = False
    mono: bool = False
    foreground: str | None = None
    background: str | None = None
    spoiler: bool = False


class Run(NamedTuple):
    """Text of one look."""

    look: Look
    text: str


PLAIN: Final = Look()


def nearest(color: str, colors: int = 16) -> int:
    """The number of the palette colour nearest to `rrggbb`, among the first `colors` (16 or 99); the lowest of equals.

    Distances are weighted the way eyes do ("redmean").
    """
    red, green, blue = _rgb(color)
    best, distance = 0, -1.0
    for number, candidate in enumerate(PALETTE[:colors]):
        if candidate == color:
            return number
        r, g, b = _rgb(candidate)
        mean = (red + r) / 2
        weighed = (2 + mean / 256) * (red - r) ** 2 + 4 * (green - g) ** 2 + (2 + (255 - mean) / 256) * (blue - b) ** 2
        if distance < 0 or weighed < distance:
            best, distance = number, weighed
    return best


def _rgb(color: str) -> tuple[int, int, int]:
    """The three parts of `rrggbb`."""
    value = int(color, 16)
    return value >> 16, value >> 8 & 255, value & 255


def encode(runs: Iterable[Run], *, colors: int = 16, hex_colors: bool = False) -> str:
    """Runs of one line as text with control codes; nothing stays open at its end.

    `colors` is how many palette colours may be used: 0 (none), 16 or 99. With `hex_colors` colours outside that
    palette are sent exactly, for networks whose clients know the code.
    """
    parts: list[str] = []
    now = PLAIN
    for look, text in runs:
        if not text:
            continue
        if not colors:
            look = look._replace(foreground=None, background=None, spoiler=False)
        if look != now:
            parts.append(_change(now, look, text, colors, hex_colors))
            now = look
        parts.append(text)
    if now != PLAIN:
        parts.append(RESET)
    return "".join(parts)


def _change(now: Look, to: Look, text: str, colors: int, hex_colors: bool) -> str:
    """The codes that lead from one look to another, in front of `text`."""
    if to == PLAIN:
        return RESET
    codes = ""
    old, color = _color(now, colors, hex_colors), _color(to, colors, hex_colors)
    if color != old:
        # A foreground alone keeps the old background, so that is ended by a bare code first.
        if color and "," in old and "," not in color:
            codes += COLOR
        codes += color or COLOR
        if text[0].isdigit() or text[0] == ",":
            codes += BOLD + BOLD
    toggles = zip((BOLD, ITALIC, UNDERLINE, STRIKE, MONO), now[:5], to[:5], strict=True)
    # Toggles stand in front: the colour's guard has to touch the text.
    return "".join(code for code, was, becomes in toggles if was != becomes) + codes


def _color(look: Look, colors: int, hex_colors: bool) -> str:
    """The code of a look's colours from none, empty when it has none."""
    if look.spoiler:
        return f"{COLOR}01,01"
    foreground, background = look.foreground, look.background
    if foreground is None and background is None:
        return ""
    allowed = PALETTE[:colors]
    if hex_colors and foreground is not None and (foreground not in allowed or background not in (None, *allowed)):
        return f"{HEX_COLOR}{foreground}" + (f",{background}" if background is not None else "")
    number = DEFAULT_COLOR if foreground is None else nearest(foreground, colors)
    if background is None:
        return f"{COLOR}{number:02}"
    other = nearest(background, colors)
    if other == number:
        # Different colours must not become the same one, or the text would vanish.
        other = DEFAULT_COLOR if foreground != background else other
    return f"{COLOR}{number:02},{other:02}"
