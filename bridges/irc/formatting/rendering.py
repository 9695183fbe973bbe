"""The neutral tree to lines of text with control codes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from bridge_core.api.content import (
    CodeBlock,
    Colored,
    Details,
    Heading,
    Link,
    ListBlock,
    Math,
    Mention,
    Node,
    Paragraph,
    Picture,
    Plain,
    Quote,
    RichText,
    RoomMention,
    Rule,
    Span,
    Spoiler,
    Style,
    Table,
)
from bridges.irc.formatting.codes import CONTROLS, PLAIN, Look, Run, encode

_Line: TypeAlias = list[Run]
_MARKS: Final = {Style.SUPERSCRIPT: "^", Style.SUBSCRIPT: "_"}


@dataclass(frozen=True, slots=True)
class Rendering:
    """How text is written for one network or channel.

    `nick` gives the nick a mention stands for now, `channel` the channel a room stands for; None keeps the name.
    Without `styles` no control codes are written at all (channels that strip or refuse them). `colors` is how many
    palette colours clients there know: 0, 16 or 99. `keep_blank` keeps empty lines, which only multi-line messages
    can carry.
    """

    nick: Callable[[Mention], str | None] = lambda mention: None
    channel: Callable[[RoomMention], str | None] = lambda mention: None
    styles: bool = True
    colors: int = 16
    hex_colors: bool = False
    keep_blank: bool = False


def to_lines(text: RichText, rendering: Rendering | None = None) -> list[str]:
    """The lines of a text. No style crosses a line; no text is lost; lines are not split by length here.

    A mention that opens the text gets the colon IRC addresses people with. Controls in the text are dropped.
    """
    rendering = rendering or Rendering()
    if len(text) == 1 and isinstance(text[0], Plain):
        plain = text[0].text
        if "\n" not in plain and CONTROLS.search(plain) is None:
            return [plain] if plain.strip() or (plain and rendering.keep_blank) else []
    writer = _Writer(rendering)
    lines: list[str] = []
    for runs in _addressed(text, writer.block(text, PLAIN)):
        if rendering.styles:
            line = encode(runs, colors=rendering.colors, hex_colors=rendering.hex_colors)
        else:
            line = "".join(run.text for run in runs)
        if rendering.keep_blank or any(not run.text.isspace() for run in runs if run.text):
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _addressed(text: RichText, lines: list[_Line]) -> list[_Line]:
    """Puts a colon behind a mention that opens the text and is followed by a space."""
    first = text[0] if text else None
    if isinstance(first, Paragraph) and first.children:
        first = first.children[0]
    if isinstance(first, Mention) and lines and len(lines[0]) > 1 and lines[0][1].text.startswith(" "):
        lines[0].insert(1, Run(PLAIN, ":"))
    return lines


class _Writer:
    """Walks a tree. Every method returns lines of runs: at least one for inline nodes, any number for blocks."""

    __slots__ = ("_rendering",)

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering

    def block(self, nodes: Iterable[Node], look: Look) -> list[_Line]:
        """Lines of nodes in order: inline ones go on in a line, blocks have lines of their own."""
        lines: list[_Line] = []
        open_line: _Line | None = None
        for node in nodes:
            block = self._block(node, look)
            if block is not None:
                if open_line is not None:
                    lines.append(open_line)
                    open_line = None
                lines.extend(block)
                continue
            pieces = self._inline(node, look)
            if open_line is None:
                open_line = pieces[0]
            else:
                open_line.extend(pieces[0])
            if len(pieces) > 1:
                lines.append(open_line)
                lines.extend(pieces[1:-1])
                open_line = pieces[-1]
        if open_line is not None:
            lines.append(open_line)
        return lines

    def _block(self, node: Node, look: Look) -> list[_Line] | None:
        """Lines of a block, None when the node is inline."""
        match node:
            case Paragraph(children=children):
                return self.block(children, look)
            case Heading(children=children):
                return self.block(children, look._replace(bold=True))
            case Quote(children=children):
                return [[Run(PLAIN, "> "), *line] for line in self.block(children, look)]
            case CodeBlock(text=text):
                return self._text(text.removesuffix("\n"), look._replace(mono=True))
            case ListBlock():
                return self._list(node, look)
            case Table():
                return self._table(node, look)
            case Rule():
                return [[Run(look, "---")]]
            case Details(summary=summary, children=children):
                return self.block(summary, look._replace(bold=True)) + self.block(children, look)
            case Math(latex=latex, block=True):
                return self._text(f"$${latex}$$", look)
            case _:
                return None

    def _inline(self, node: Node, look: Look) -> list[_Line]:
        """Lines of an inline node."""
        match node:
            case Plain(text=text):
                return self._text(text, look)
            case Span(style=style, children=children):
                return self._span(style, children, look)
            case Colored(foreground=foreground, background=background, children=children):
                changed = look._replace(
                    foreground=look.foreground if foreground is None else foreground,
                    background=look.background if background is None else background,
                )
                return self._children(children, changed)
            case Spoiler(reason=reason, children=children):
                return self._spoiler(reason, children, look)
            case Link(url=url, children=children):
                return self._link(url, children, look)
            case Mention(name=name):
                return [[Run(look, _clean(self._rendering.nick(node) or name))]]
            case RoomMention(name=name):
                return [[Run(look, _clean(self._rendering.channel(node) or name))]]
            case Picture(alt=alt):
                return [[Run(look, _clean(alt) or "(image)")]]
            case Math(latex=latex):
                return self._text(f"${latex}$", look)
            case _:  # a block where only inline nodes belong
                return self._block(node, look) or [[]]

    def _children(self, children: Sequence[Node], look: Look) -> list[_Line]:
        """Lines of the children of an inline node."""
        return self.block(children, look) or [[]]

    def _text(self, text: str, look: Look) -> list[_Line]:
        """Lines of plain text."""
        lines = text.replace("\r\n", "\n").split("\n")
        return [[Run(look, CONTROLS.sub("", line))] if line else [] for line in lines]

    def _span(self, style: Style, children: Sequence[Node], look: Look) -> list[_Line]:
        """Lines of a styled span; raised and lowered text gets a mark."""
        match style:
            case Style.BOLD:
                return self._children(children, look._replace(bold=True))
            case Style.ITALIC:
                return self._children(children, look._replace(italic=True))
            case Style.UNDERLINE:
                return self._children(children, look._replace(underline=True))
            case Style.STRIKE:
                return self._children(children, look._replace(strike=True))
            case Style.CODE:
                return self._children(children, look._replace(mono=True))
            case _:
                mark = _MARKS[style]
        lines = self._children(children, look)
        short = len(lines) == 1 and sum(len(run.text) for run in lines[0]) == 1
        lines[0].insert(0, Run(look, mark if short else f"{mark}("))
        if not short:
            lines[-1].append(Run(look, ")"))
        return lines

    def _spoiler(self, reason: str | None, children: Sequence[Node], look: Look) -> list[_Line]:
        """Lines whose text is hidden by its colour; in words where there are no colours."""
        hides = self._rendering.styles and self._rendering.colors > 0
        label = _clean(reason or "")
        lines = self._children(children, look._replace(spoiler=hides))
        if not hides:
            label = f"spoiler: {label}" if label else "spoiler"
        if label:
            lines[0].insert(0, Run(look, f"({label}) "))
        return lines

    def _link(self, url: str, children: Sequence[Node], look: Look) -> list[_Line]:
        """The children and, unless they say the same, the address."""
        lines = self._children(children, look)
        text = "\n".join("".join(run.text for run in line) for line in lines).strip()
        url = _clean(url).replace(" ", "%20")
        if text and not _same(text, url):
            lines[-1].append(Run(look, f" <{url}>"))
            return lines
        return [[Run(look, url if "://" in url or not text else text)]]

    def _list(self, node: ListBlock, look: Look) -> list[_Line]:
        """One line or more per item, nested ones indented."""
        lines: list[_Line] = []
        for index, item in enumerate(node.items):
            marker = "- " if node.start is None else f"{node.start + index}. "
            content = self.block(item, look) or [[]]
            for place, line in enumerate(content):
                lines.append([Run(PLAIN, " " * len(marker) if place else marker), *line])
        return lines

    def _table(self, node: Table, look: Look) -> list[_Line]:
        """One line per row, cells between bars; lines within a cell are joined."""
        rows: list[_Line] = []
        for index, row in enumerate(node.rows):
            cell_look = look._replace(bold=True) if node.head and not index else look
            runs: _Line = []
            for place, cell in enumerate(row):
                if place:
                    runs.append(Run(look, " | "))
                for number, line in enumerate(self.block(cell, cell_look)):
                    if number:
                        runs.append(Run(look, " "))
                    runs.extend(line)
            rows.append(runs)
        return rows


def _clean(text: str) -> str:
    """Text of one line without controls."""
    return CONTROLS.sub("", text.replace("\n", " "))


def _same(text: str, url: str) -> bool:
    """Whether a link's text is its address, but for scheme and final slash."""
    bare = url.partition("://")[2] or url.partition(":")[2]
    return text.rstrip("/") in (url.rstrip("/"), bare.rstrip("/"))
