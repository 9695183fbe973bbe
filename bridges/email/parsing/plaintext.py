"""Plain text to a tree: format=flowed undone (RFC 3676), `>` made quotes."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from bridge_core.api.content import Node, Plain, Quote, RichText

_DEEPEST: Final = 8
_QUOTED = re.compile(r">(?: ?>)*+")
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufeff\ufffe\uffff]")
_BLANKS = re.compile(r"\n{4,}")


def printable(text: str) -> str:
    """The text with line ends as LF, without control characters and those that turn text round."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub("", text.replace("\u2028", "\n").replace("\u2029", "\n"))


def plain_tree(text: str, *, flowed: bool = False, delsp: bool = False) -> RichText:
    """The tree of a text/plain part. `text` is printable. Linear."""
    lines = text.split("\n")
    levels = _flowed(lines, delsp=delsp) if flowed else map(_level, lines)
    return _nodes(levels, 0)


def _level(line: str) -> tuple[int, str]:
    """How deep a line is quoted, and what it says. `>From` is what mailboxes make of a line that begins so."""
    if not line.startswith(">") or line.startswith(">From "):
        return 0, line
    found = _QUOTED.match(line)
    assert found is not None
    return min(found[0].count(">"), _DEEPEST), line[found.end() :].removeprefix(" ")


def _flowed(lines: Iterable[str], *, delsp: bool) -> Iterator[tuple[int, str]]:
    """The lines with soft breaks undone: RFC 3676, 4.1 to 4.4. A signature line is never flowed."""
    open_depth, pieces = -1, list[str]()
    for raw in lines:
        depth = len(raw) - len(raw.lstrip(">"))
        line = raw[depth:].removeprefix(" ")
        depth = min(depth, _DEEPEST)
        signature = line == "-- "
        if pieces and (depth != open_depth or signature):
            yield open_depth, "".join(pieces)
            pieces = []
        if signature or not line.endswith(" "):
            pieces.append(line)
            yield depth, "".join(pieces)
            pieces = []
        else:
            pieces.append(line[:-1] if delsp else line)
        open_depth = depth
    if pieces:
        yield open_depth, "".join(pieces)


def _nodes(levels: Iterable[tuple[int, str]], depth: int) -> RichText:
    found: list[Node] = []
    for quoted, group in groupby(levels, lambda level: level[0] > depth):
        if quoted:
            if inner := _nodes(group, depth + 1):
                found.append(Quote(inner))
        else:
            text = "\n".join(line if line == "-- " else line.rstrip() for _, line in group)
            text = _BLANKS.sub("\n\n\n", text)
            text = text.strip("\n") if depth else text
            if text.strip():
                found.append(Plain(text))
    return tuple(found)
