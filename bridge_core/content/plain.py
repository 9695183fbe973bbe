"""Rich text to readable plain text, and plain text to rich text."""

import re

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
from bridge_core.content.limits import LIMITS

BLOCKS = (Paragraph, Heading, Quote, CodeBlock, ListBlock, Rule, Table, Details)
"""The nodes that stand on lines of their own."""

_UNSAFE = re.compile("\r\n?|[\x00\ud800-\udfff]")
_MARKS = {
    Style.STRIKE: ("~~", "~~"),
    Style.CODE: ("`", "`"),
    Style.SUPERSCRIPT: ("^", ""),
    Style.SUBSCRIPT: ("_", ""),
}


def clean(text: str) -> str:
    """The text with line ends as `\\n`, without NUL (PostgreSQL refuses it) and lone surrogates (UTF-8 has none)."""
    if text.isascii() and "\r" not in text and "\x00" not in text:
        return text
    return _UNSAFE.sub(lambda found: "\n" if found[0][0] == "\r" else "\ufffd" if found[0] != "\x00" else "", text)


def from_plain(text: str) -> RichText:
    """The text as one Plain node; empty text has no node."""
    text = clean(text)
    return (Plain(text),) if text else ()


def to_plain(text: RichText) -> str:
    """The text as a person would type it: `> ` before quotes, `- ` before items, `text (url)` for links.

    Bold, italic, underline and colours leave no mark. Deeper than the default limit only the words are kept.
    """
    if len(text) == 1 and type(only := text[0]) is Plain:
        return clean(only.text)
    return clean(_plain(text, LIMITS.depth))


def words(text: RichText) -> str:
    """Only the words of the text, in order, without marks. Works at any depth, without recursion."""
    found: list[str] = []
    waiting: list[Node] = list(reversed(text))
    while waiting:
        node = waiting.pop()
        match node:
            case Plain() | CodeBlock():
                found.append(node.text)
            case Mention() | RoomMention():
                found.append(node.name)
            case Picture():
                found.append(node.alt)
            case Math():
                found.append(node.latex)
            case ListBlock():
                waiting.extend(child for item in reversed(node.items) for child in reversed(item))
            case Table():
                cells = [cell for row in node.rows for cell in row]
                waiting.extend(child for cell in reversed(cells) for child in reversed(cell))
            case Details():
                waiting.extend(reversed((*node.summary, *node.children)))
            case Rule():
                pass
            case _:
                waiting.extend(reversed(node.children))
    return "".join(found)


def _plain(nodes: RichText, depth: int) -> str:
    if depth <= 0:
        return words(nodes)
    parts: list[str] = []
    before: Node | None = None
    for node in nodes:
        if before is not None and (isinstance(node, BLOCKS) or isinstance(before, BLOCKS)):
            apart = isinstance(node, Paragraph) and isinstance(before, Paragraph)
            # A break of its own already ends the line of text before a block.
            if apart or not (isinstance(before, Plain) and before.text.endswith("\n")):
                parts.append("\n\n" if apart else "\n")
        parts.append(_one(node, depth - 1))
        before = node
    return "".join(parts)


def _one(node: Node, depth: int) -> str:
    match node:
        case Plain():
            return node.text
        case Span():
            opening, closing = _MARKS.get(node.style, ("", ""))
            return f"{opening}{_plain(node.children, depth)}{closing}"
        case Mention() | RoomMention():
            return node.name
        case Link():
            return _link(node, depth)
        case Picture():
            return node.alt
        case Math():
            return node.latex
        case Spoiler():
            reason = f"({node.reason}) " if node.reason else ""
            return f"{reason}||{_plain(node.children, depth)}||"
        case Heading():
            return f"{'#' * node.level} {_plain(node.children, depth)}"
        case Quote():
            return "> " + _plain(node.children, depth).replace("\n", "\n> ")
        case CodeBlock():
            return f"```{node.language or ''}\n{node.text}\n```"
        case ListBlock():
            return _list(node, depth)
        case Rule():
            return "---"
        case Table():
            rows = (" | ".join(_plain(cell, depth).replace("\n", " ") for cell in row) for row in node.rows)
            return "\n".join(rows)
        case Details():
            return f"{_plain(node.summary, depth)}\n{_plain(node.children, depth)}"
        case Paragraph() | Colored():
            return _plain(node.children, depth)


def _link(node: Link, depth: int) -> str:
    """`text (url)`, or the text alone when it says the same."""
    text = _plain(node.children, depth)
    said = text.strip()
    if not said:
        return node.url
    if said.rstrip("/") in (node.url.rstrip("/"), node.url.partition(":")[2].lstrip("/").rstrip("/")):
        return text
    return f"{text} ({node.url})"


def _list(node: ListBlock, depth: int) -> str:
    lines: list[str] = []
    for number, item in enumerate(node.items, node.start or 0):
        mark = "- " if node.start is None else f"{number}. "
        lines.append(mark + _plain(item, depth).replace("\n\n", "\n").replace("\n", "\n" + " " * len(mark)))
    return "\n".join(lines)
