"""What is new in a mail: quotes and signatures are left out, but never what was written between them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from bridge_core.api.content import Link, Node, Paragraph, Plain, Quote, RichText, Rule, Span
from bridge_core.content import words
from bridge_core.content.tree import changed
from bridges.email.parsing.clients import QUOTE_END, QUOTE_START, SIGN_END, SIGN_START
from bridges.email.parsing.phrases import (
    is_forward,
    is_header_block,
    is_headline,
    is_line,
    is_original,
    is_signed,
    says_wrote,
)

_MARKS = re.compile("[\ufdd0-\ufdd3]")
_LONGEST_SIGNATURE: Final = 25
_LONGEST_HEADLINE: Final = 4
_MOST_UNITS: Final = 4000
"""Lines and blocks that are looked at: a text of more is no answer, and is shown whole."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A text without what it quotes and its signature; `quoting` is it with the quotes, without the signature."""

    text: RichText
    quoting: RichText
    trimmed: bool


@dataclass(frozen=True, slots=True)
class _Unit:
    """One line of text, or one block that is not taken apart. `origin` is the node that it is of."""

    origin: int
    nodes: RichText
    words: str
    paragraph: bool = False
    line: bool = False
    quoted: bool = False
    signed: bool = False

    @property
    def blank(self) -> bool:
        return not self.words.strip() and all(isinstance(node, Plain | Rule) for node in self.nodes)


def trim(text: RichText, *, quotes: bool = False) -> Trimmed:
    """What is new in the text, and with `quotes` also what is old. Where nothing would be left, all of it is.

    Linear.
    """
    units = _units(text)
    if len(units) > _MOST_UNITS:
        whole = _nodes(_bare(units))
        return Trimmed(whole, whole, False)
    forward = next((at for at, unit in enumerate(units) if unit.line and is_forward(unit.words)), len(units))
    own, kept = units[:forward], units[forward:]
    quote = len(own) if kept else _quote_start(own)
    signature = _signature(own[:quote])
    new = _bare(own[: signature.start] + own[signature.stop : quote] + kept)
    if not any(not unit.blank for unit in new):
        whole = _nodes(_bare(units))
        return Trimmed(whole, whole, False)
    behind = _signature(own)
    rest = own[quote : behind.start] + own[behind.stop :] if behind.start >= quote else own[quote:]
    quoting = _bare(own[: signature.start] + own[signature.stop : quote] + rest + kept)
    shown = quoting if quotes else new
    return Trimmed(_nodes(shown), _nodes(quoting), len(shown) < len(_bare(units)))


def unmarked(text: RichText) -> RichText:
    """The text without the marks that stand in it for programs' quotes and signatures."""

    def change(node: Node) -> RichText | None:
        if isinstance(node, Plain) and _MARKS.search(node.text):
            bare = _MARKS.sub("", node.text)
            return (Plain(bare),) if bare else ()
        if isinstance(node, Paragraph | Span | Link) and node.children and not _MARKS.sub("", words(node.children)):
            inner = changed(node.children, change)
            return (replace(node, children=inner),) if inner else ()
        return None

    return changed(text, change)


def _quote_start(units: Sequence[_Unit]) -> int:
    """Where the quote at the end begins, with what is said above it; the end of the units where none is to go."""
    for at, unit in enumerate(units):
        if unit.line and not unit.quoted and _begins_rest(units, at):
            return _above(units, at)
    tail = _signature(units)
    end = tail.start if tail.stop == len(units) else len(units)
    while end and (units[end - 1].blank or units[end - 1].signed):
        end -= 1
    start = end
    while start and (units[start - 1].quoted or units[start - 1].blank):
        start -= 1
    if start == end or any(unit.quoted for unit in units[:start]):
        return len(units)  # no quote at the end, or answers between quotes
    return _above(units, start)


def _begins_rest(units: Sequence[_Unit], at: int) -> bool:
    """Whether all from here on is an older mail, not marked as a quote."""
    text = units[at].words
    if is_original(text):
        return True
    following = [unit.words for unit in units[at : at + 12] if not unit.blank][:8]
    if is_header_block(following):
        return True
    if says_wrote(text):
        later = units[at + 1 :]
        return not any(unit.quoted for unit in later)
    return False


def _above(units: Sequence[_Unit], at: int) -> int:
    """The beginning of what is said above a quote: blank lines, a line across, up to four lines of "X wrote:"."""
    start = _back(units, at)
    first = start
    said = ""
    for _ in range(_LONGEST_HEADLINE):
        if not first or units[first - 1].blank or not (units[first - 1].line or units[first - 1].paragraph):
            break
        said = f"{units[first - 1].words.strip()} {said}".strip()
        first -= 1
        if is_headline(said) and (len(said) > 25 or says_wrote(said) or is_headline(units[first].words)):
            start = _back(units, first)
            if any(character.isdigit() for character in units[first].words):
                break
    return _back(units, start)


def _back(units: Sequence[_Unit], at: int) -> int:
    while at and (units[at - 1].blank or (units[at - 1].line and is_line(units[at - 1].words))):
        at -= 1
    return at


def _signature(units: Sequence[_Unit]) -> slice:
    """Which units are a signature: what a program marked, what follows "-- ", or what a phone signs with."""
    marked = [at for at, unit in enumerate(units) if unit.signed]
    if marked and not any(not unit.blank and not unit.signed and not unit.quoted for unit in units[marked[-1] + 1 :]):
        start = marked[0]
        if start and units[start - 1].words.rstrip() in ("--", "\u2014"):
            start -= 1
        return slice(start, marked[-1] + 1)
    for at in range(len(units) - 1, max(len(units) - _LONGEST_SIGNATURE, 0) - 1, -1):
        unit = units[at]
        if not unit.line or unit.quoted:
            continue
        text = unit.words.replace("\u00a0", " ")
        if text in ("-- ", "--  ") or (text.strip() == "--" and (at == 0 or units[at - 1].blank or unit.paragraph)):
            if any(later.quoted for later in units[at:]):
                break
            return slice(at, len(units))
    end = len(units)
    while end and units[end - 1].blank:
        end -= 1
    if end and units[end - 1].line and not units[end - 1].quoted and is_signed(units[end - 1].words):
        return slice(end - 1, end)
    return slice(len(units), len(units))


def _bare(units: Sequence[_Unit]) -> list[_Unit]:
    """The units without blank ones at both ends."""
    start, end = 0, len(units)
    while start < end and units[start].blank:
        start += 1
    while end > start and units[end - 1].blank:
        end -= 1
    return list(units[start:end])


def _units(text: RichText) -> list[_Unit]:
    found: list[_Unit] = []
    quoted = signed = False
    for origin, node in enumerate(text):
        said = words((node,))
        marks = _MARKS.findall(said)
        if marks:
            for mark in marks:
                quoted = mark == QUOTE_START if mark in (QUOTE_START, QUOTE_END) else quoted
                signed = mark == SIGN_START if mark in (SIGN_START, SIGN_END) else signed
            for clean in unmarked((node,)):
                found.extend(_of(clean, origin, quoted=quoted, signed=signed))
            continue
        found.extend(_of(node, origin, quoted=quoted, signed=signed))
    return found


def _of(node: Node, origin: int, *, quoted: bool, signed: bool) -> list[_Unit]:
    quoted = quoted or isinstance(node, Quote)
    if not isinstance(node, Plain | Paragraph):
        inline = isinstance(node, Span | Link)
        return [_Unit(origin, (node,), words((node,)), line=inline, quoted=quoted, signed=signed)]
    paragraph = isinstance(node, Paragraph)
    children = node.children if isinstance(node, Paragraph) else (node,)
    return [
        _Unit(origin, line, words(line), paragraph=paragraph, line=True, quoted=quoted, signed=signed)
        for line in _lines(children)
    ]


def _lines(children: RichText) -> list[RichText]:
    """The inline nodes with each line on its own."""
    lines: list[list[Node]] = [[]]
    for child in children:
        if not isinstance(child, Plain):
            lines[-1].append(child)
            continue
        for number, piece in enumerate(child.text.split("\n")):
            if number:
                lines.append([])
            if piece:
                lines[-1].append(Plain(piece))
    return [tuple(line) for line in lines]


def _nodes(units: Sequence[_Unit]) -> RichText:
    """The units put together again."""
    found: list[Node] = []
    for _, group in groupby(units, lambda unit: (unit.origin, unit.paragraph, unit.line and not unit.paragraph)):
        lines = list(group)
        if not lines[0].line:
            found.extend(node for unit in lines for node in unit.nodes)
            continue
        inline: list[Node] = []
        for number, unit in enumerate(lines):
            if number:
                _add(inline, Plain("\n"))
            for node in unit.nodes:
                _add(inline, node)
        if inline and lines[0].paragraph:
            found.append(Paragraph(tuple(inline)))
        else:
            found.extend(inline)
    return tuple(found)


def _add(nodes: list[Node], node: Node) -> None:
    if isinstance(node, Plain) and nodes and isinstance(nodes[-1], Plain):
        node = Plain(nodes.pop().text + node.text)  # type: ignore[union-attr]
    nodes.append(node)
