"""What each HTML element becomes, once its children are known."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from bridge_core.api.content import (
    Colored,
    Details,
    Heading,
    Link,
    ListBlock,
    Mention,
    Node,
    Paragraph,
    Plain,
    Quote,
    RichText,
    RoomMention,
    Span,
    Spoiler,
    Style,
    Table,
)
from bridge_core.api.ids import UserId
from bridge_core.content.addresses import safe_link, target_of
from bridge_core.content.colors import parse_color
from bridge_core.content.plain import BLOCKS as BLOCK_NODES
from bridge_core.content.plain import clean, words

STYLES: Final[Mapping[str, Style]] = {
    "b": Style.BOLD,
    "strong": Style.BOLD,
    "i": Style.ITALIC,
    "em": Style.ITALIC,
    "cite": Style.ITALIC,
    "var": Style.ITALIC,
    "u": Style.UNDERLINE,
    "ins": Style.UNDERLINE,
    "s": Style.STRIKE,
    "del": Style.STRIKE,
    "strike": Style.STRIKE,
    "code": Style.CODE,
    "tt": Style.CODE,
    "kbd": Style.CODE,
    "samp": Style.CODE,
    "sup": Style.SUPERSCRIPT,
    "sub": Style.SUBSCRIPT,
}
HEADINGS: Final[Mapping[str, int]] = {f"h{level}": level for level in range(1, 7)}
INLINE: Final = frozenset({*STYLES, "a", "span", "font"})
PLAIN_BLOCKS: Final = frozenset(
    {
        "address",
        "article",
        "aside",
        "center",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "main",
        "nav",
        "section",
    }
)
TABLE_PARTS: Final = frozenset({"thead", "tr", "td", "th", "caption"})
BLOCKS: Final = frozenset(
    {*HEADINGS, *PLAIN_BLOCKS, *TABLE_PARTS, "p", "blockquote", "pre", "ul", "ol", "li", "hr", "table"}
    | {"details", "summary"}
)
DROPPED: Final = frozenset({"mx-reply", "head", "template"})
"""Elements that go with all they hold: the fallback of a reply, and what browsers do not show."""
SCOPES: Final = frozenset({"blockquote", "li", "td", "th", "table", "caption", "details", "summary"})
"""Elements across whose border the end of an inline element or paragraph does not reach."""

_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,9})")
_CELLS = frozenset({"td", "th"})
_BOUNDS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(BLOCKS, _CELLS),
    "p": SCOPES,
    "li": frozenset({"ul", "ol", "td", "th"}),
    "tr": frozenset({"table"}),
    "td": frozenset({"table"}),
    "th": frozenset({"table"}),
    "table": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A finished list item, table row, cell or summary, until its parent takes it."""

    tag: str
    nodes: RichText
    cells: tuple["Part", ...] = ()


Child: TypeAlias = str | Node | Part


@dataclass(slots=True)
class Frame:
    """An open element. `children` holds pieces of text, finished nodes and parts."""

    tag: str
    attributes: Mapping[str, str]
    children: list[Child] = field(default_factory=list)
    language: str | None = None
    head: bool = False


def bounds(tag: str) -> frozenset[str]:
    """The elements that an end tag of this kind does not reach across."""
    return _BOUNDS.get(tag, SCOPES)


def merged(children: Sequence[Child]) -> RichText:
    """The children with neighbouring pieces of text made one node. Parts that have no parent give their nodes."""
    nodes: list[Node] = []
    texts: list[str] = []
    for child in children:
        if isinstance(child, str):
            texts.append(child)
            continue
        if texts:
            _add_text(nodes, texts)
        if isinstance(child, Part):
            nodes.extend(child.nodes)
            for cell in child.cells:
                nodes.extend(cell.nodes)
        else:
            nodes.append(child)
    if texts:
        _add_text(nodes, texts)
    return tuple(nodes)


def finished(frame: Frame) -> Sequence[Child]:
    """What the element becomes. Elements without anything in them become nothing."""
    tag, children = frame.tag, frame.children
    if tag in _CELLS or tag == "li":
        return (Part(tag, merged(children)),)
    if not children:
        return ()
    if (style := STYLES.get(tag)) is not None:
        return (Span(style, inner),) if (inner := merged(children)) else ()
    match tag:
        case "a":
            return _anchor(frame)
        case "span" | "font":
            return _span(frame)
        case "p":
            return _blocks(children)
        case "blockquote":
            return (Quote(inner),) if (inner := merged(children)) else ()
        case "ul" | "ol":
            return _list(frame)
        case "table":
            return _table(frame)
        case "tr":
            return _row(children)
        case "details":
            return _details(children)
        case "summary":
            return (Part(tag, merged(children)),)
    if (level := HEADINGS.get(tag)) is not None:
        return (Heading(level, inner),) if (inner := merged(children)) else ()
    return _blocks(children)


def without_last_space(child: Child) -> Child | None:
    """The child less the space its text ends with; None when nothing is left. Depth is that of the tree so far."""
    if isinstance(child, str):
        return child.removesuffix(" ") or None
    if isinstance(child, Plain):
        return Plain(child.text[:-1]) if child.text != " " else None
    if isinstance(child, Span | Colored | Spoiler | Link):
        last = without_last_space(child.children[-1])
        kept = child.children[:-1] if last is None or isinstance(last, str | Part) else (*child.children[:-1], last)
        return replace(child, children=kept) if kept else None
    return child


def _add_text(nodes: list[Node], texts: list[str]) -> None:
    text = "".join(texts)
    texts.clear()
    if text:
        nodes.append(Plain(text))


def _blocks(children: Sequence[Child]) -> Sequence[Child]:
    """The children with each run of inline ones made a paragraph."""
    found: list[Child] = []
    run: list[Child] = []
    for child in children:
        if isinstance(child, (Part, *BLOCK_NODES)):
            _add_paragraph(found, run)
            found.append(child)
        else:
            run.append(child)
    _add_paragraph(found, run)
    return found


def _add_paragraph(found: list[Child], run: list[Child]) -> None:
    if run and (inner := merged(run)):
        found.append(Paragraph(inner))
    run.clear()


def _anchor(frame: Frame) -> Sequence[Child]:
    address = frame.attributes.get("href", "").strip(" \t\n\r\f")
    url = safe_link(address)
    inner = merged(frame.children)
    if url is None or not inner:
        return inner
    target = target_of(url)
    if target is None:
        return (Link(url, inner),)
    name = clean(words(inner)).strip() or target
    if target.startswith("@"):
        return (Mention(name, matrix=UserId(target)),)
    return (RoomMention(name, target),)


def _span(frame: Frame) -> Sequence[Child]:
    attributes = frame.attributes
    foreground = parse_color(attributes.get("data-mx-color") or attributes.get("color"))
    background = parse_color(attributes.get("data-mx-bg-color"))
    reason = attributes.get("data-mx-spoiler")
    if foreground is None and background is None and reason is None:
        return frame.children
    inner = merged(frame.children)
    if inner and (foreground is not None or background is not None):
        inner = (Colored(foreground, background, inner),)
    if inner and reason is not None:
        inner = (Spoiler(clean(reason) or None, inner),)
    return inner


def _list(frame: Frame) -> Sequence[Child]:
    """Items; what stands between items belongs to the one before."""
    items: list[list[Node]] = []
    for child in frame.children:
        if isinstance(child, Part) and child.tag == "li":
            items.append(list(child.nodes))
        elif nodes := merged((child,)):
            if not items:
                items.append([])
            items[-1].extend(nodes)
    if not items:
        return ()
    start = None
    if frame.tag == "ol":
        number = _NUMBER.match(frame.attributes.get("start", ""))
        start = int(number[1]) if number is not None else 1
    return (ListBlock(tuple(tuple(item) for item in items), start),)


def _row(children: Sequence[Child]) -> Sequence[Child]:
    """The row of the cells; what stands between cells goes before it."""
    cells = tuple(child for child in children if isinstance(child, Part) and child.tag in _CELLS)
    strays = [child for child in children if not (isinstance(child, Part) and child.tag in _CELLS)]
    return (*strays, Part("tr", (), cells)) if cells else strays


def _table(frame: Frame) -> Sequence[Child]:
    """The table; what stands in it outside cells (a caption, say) goes before it."""
    rows = [child for child in frame.children if isinstance(child, Part) and child.tag == "tr"]
    strays = _blocks([child for child in frame.children if not (isinstance(child, Part) and child.tag == "tr")])
    if not rows:
        return strays
    head = frame.head or all(cell.tag == "th" for cell in rows[0].cells)
    return (*strays, Table(tuple(tuple(cell.nodes for cell in row.cells) for row in rows), head))


def _details(children: Sequence[Child]) -> Sequence[Child]:
    """The folded block; of several summaries the first counts, the others are children."""
    first = next((child for child in children if isinstance(child, Part) and child.tag == "summary"), None)
    rest = merged([child for child in children if child is not first])
    summary = first.nodes if first is not None else ()
    return (Details(summary, rest),) if summary or rest else ()
