"""Walking over rich text, and changing parts of it. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from bridge_core.api.content import (
    Colored,
    Details,
    Heading,
    Link,
    ListBlock,
    Node,
    Paragraph,
    Quote,
    RichText,
    Span,
    Spoiler,
    Table,
)

Change: TypeAlias = Callable[[Node], RichText | None]
"""What stands instead of a node; None leaves it, and goes on with what it holds."""


def nodes_of(text: RichText) -> Iterator[Node]:
    """All nodes at any depth, in order, without recursion."""
    waiting: list[Node] = list(reversed(text))
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case Span() | Colored() | Spoiler() | Link() | Paragraph() | Heading() | Quote():
                waiting.extend(reversed(node.children))
            case ListBlock():
                waiting.extend(child for item in reversed(node.items) for child in reversed(item))
            case Table():
                cells = [cell for row in node.rows for cell in row]
                waiting.extend(child for cell in reversed(cells) for child in reversed(cell))
            case Details():
                waiting.extend(reversed((*node.summary, *node.children)))


def changed(text: RichText, change: Change) -> RichText:
    """The text with `change` applied to each node from the outside in.

    What stands instead of a node is not looked at again. Recursive: the tree must be as shallow as the content
    parsers make it.
    """
    found: list[Node] = []
    for node in text:
        instead = change(node)
        found.extend((_inside(node, change),) if instead is None else instead)
    return tuple(found)


def _inside(node: Node, change: Change) -> Node:
    match node:
        case Span() | Colored() | Spoiler() | Link() | Paragraph() | Heading() | Quote():
            return replace(node, children=changed(node.children, change))
        case ListBlock():
            return replace(node, items=tuple(changed(item, change) for item in node.items))
        case Table():
            return replace(node, rows=tuple(tuple(changed(cell, change) for cell in row) for row in node.rows))
        case Details():
            return replace(node, summary=changed(node.summary, change), children=changed(node.children, change))
        case _:
            return node
