"""Text with control codes to the neutral tree."""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from bridge_core.api.content import Colored, Node, Plain, RichText, Span, Spoiler, Style
from bridges.irc.formatting.codes import (
    BOLD,
    CODE,
    CONTROLS,
    DEFAULT_COLOR,
    ITALIC,
    MONO,
    PALETTE,
    PLAIN,
    RESET,
    REVERSE,
    STRIKE,
    UNDERLINE,
    Look,
    Run,
)

_INK: Final = "000000"
_PAPER: Final = "ffffff"


def to_tree(text: str) -> RichText:
    """The tree of a message's text. Line ends within it (a multi-line message) end every style.

    Control characters that are no formatting are dropped, except tabs; equal foreground and background make a spoiler.
    Never raises.
    """
    if CONTROLS.search(text) is None:
        return (Plain(text),) if text else ()
    return _nodes(parse_runs(text), 0)


def strip_codes(text: str) -> str:
    """The text without control codes, for topics, real names and comparisons."""
    if CONTROLS.search(text) is None:
        return text
    return CONTROLS.sub("", CODE.sub("", text))


def parse_runs(text: str) -> list[Run]:
    """Styled runs of the text, neighbours of one look joined."""
    runs: list[Run] = []
    for index, line in enumerate(text.split("\n")):
        if index:
            _append(runs, PLAIN, "\n")
        state = _State()
        place = 0
        for match in CODE.finditer(line):
            _append(runs, state.look, line[place : match.start()])
            state.apply(match)
            place = match.end()
        _append(runs, state.look, line[place:])
    return runs


def _append(runs: list[Run], look: Look, text: str) -> None:
    """Adds text without stray controls."""
    text = CONTROLS.sub("", text)
    if not text:
        return
    if runs and runs[-1].look == look:
        runs[-1] = Run(look, runs[-1].text + text)
    else:
        runs.append(Run(look, text))


class _State:
    """What the codes read so far have switched on."""

    __slots__ = ("background", "foreground", "look", "reverse", "styles")

    def __init__(self) -> None:
        self.look = PLAIN
        self._clear()

    def _clear(self) -> None:
        self.styles: dict[str, bool] = dict.fromkeys((BOLD, ITALIC, UNDERLINE, STRIKE, MONO), False)
        self.reverse = False
        self.foreground: str | None = None
        self.background: str | None = None

    def apply(self, match: re.Match[str]) -> None:
        """Takes one control sequence."""
        code = match[0][0]
        if code == RESET:
            self._clear()
        elif code == REVERSE:
            self.reverse = not self.reverse
        elif code in self.styles:
            self.styles[code] = not self.styles[code]
        elif match[1] is not None:
            self.foreground = _numbered(match[1])
            if match[2] is not None:
                self.background = _numbered(match[2])
        elif match[3] is not None:
            self.foreground = match[3].lower()
            if match[4] is not None:
                self.background = match[4].lower()
        else:
            self.foreground = self.background = None
        foreground, background = self.foreground, self.background
        spoiler = foreground is not None and foreground == background
        if spoiler:
            foreground = background = None
        elif self.reverse:
            foreground, background = background or _PAPER, foreground or _INK
            if foreground == background:
                foreground = _INK if background == _PAPER else _PAPER
        styles = self.styles
        self.look = Look(
            styles[BOLD],
            styles[ITALIC],
            styles[UNDERLINE],
            styles[STRIKE],
            styles[MONO],
            foreground,
            background,
            spoiler,
        )


def _numbered(number: str) -> str | None:
    """The colour of a palette number; None for the default one."""
    return PALETTE[int(number)] if int(number) != DEFAULT_COLOR else None


# From the outside in; the order is fixed, so that equal runs make equal trees.
_LEVELS: Final[tuple[tuple[slice, Callable[[Look, tuple[Node, ...]], Node]], ...]] = (
    (slice(7, 8), lambda look, children: Spoiler(None, children)),
    (slice(5, 7), lambda look, children: Colored(look.foreground, look.background, children)),
    (slice(0, 1), lambda look, children: Span(Style.BOLD, children)),
    (slice(1, 2), lambda look, children: Span(Style.ITALIC, children)),
    (slice(2, 3), lambda look, children: Span(Style.UNDERLINE, children)),
    (slice(3, 4), lambda look, children: Span(Style.STRIKE, children)),
    (slice(4, 5), lambda look, children: Span(Style.CODE, children)),
)


def _nodes(runs: Sequence[Run], level: int) -> tuple[Node, ...]:
    """Runs as nested nodes: neighbours that share a level's property share its node."""
    if level == len(_LEVELS):
        return tuple(Plain(run.text) for run in runs)
    part, wrap = _LEVELS[level]
    default = PLAIN[part]
    nodes: list[Node] = []
    for value, group in groupby(runs, key=lambda run: run.look[part]):
        members = list(group)
        children = _nodes(members, level + 1)
        if value == default:
            nodes.extend(children)
        else:
            nodes.append(wrap(members[0].look, children))
    return tuple(nodes)
