"""Lines of HTML mails: programs write each line as a block of its own, and an empty one where a paragraph ends."""

from dataclasses import replace
from typing import Final

from bridge_core.api.content import Link, ListBlock, Node, Paragraph, Picture, Plain, Quote, RichText, Rule, Span, Table
from bridge_core.content import words
from bridge_core.content.tree import changed, nodes_of

LINE: Final = "\ufdd9"
"""Stands at the end of a block that is only a line. A noncharacter, as the other marks."""
_BLANK: Final = " \t\n\u00a0" + LINE


def joined(text: RichText) -> RichText:
    """The text with lines made paragraphs, without empty paragraphs, without marks. Recursive, as deep as the tree."""
    found: list[Node] = []
    open_line = False
    for node in text:
        if isinstance(node, Paragraph):
            said = words(node.children)
            if not said.strip(_BLANK) and not _pictures(node):
                # The end of a block that held others says nothing; a block of its own is an empty line.
                open_line = open_line and not said.strip(LINE)
                continue
            line = LINE in said
            children = _stripped(changed(node.children, _unmarked))
            if line and open_line and found and isinstance(last := found[-1], Paragraph):
                found[-1] = Paragraph(_merged((*last.children, Plain("\n"), *children)))
            else:
                found.append(Paragraph(children))
            open_line = line
            continue
        open_line = False
        match node:
            case Quote():
                if children := joined(node.children):
                    found.append(Quote(children))
            case ListBlock():
                found.append(replace(node, items=tuple(joined(item) for item in node.items)))
            case Table():
                found.append(replace(node, rows=tuple(tuple(joined(cell) for cell in row) for row in node.rows)))
            case _:
                found.extend(changed((node,), _unmarked))
    return tuple(found)


def _unmarked(node: Node) -> RichText | None:
    if isinstance(node, Plain) and LINE in node.text:
        bare = node.text.replace(LINE, "")
        return (Plain(bare),) if bare else ()
    return None


def _pictures(node: Node) -> bool:
    return any(isinstance(one, Picture | Rule) for one in nodes_of((node,)))


def _stripped(children: RichText) -> RichText:
    """The inline nodes without blanks at both ends of the line."""
    while children and isinstance(last := children[-1], Plain) and not last.text.rstrip(" \n"):
        children = children[:-1]
    if children and isinstance(last := children[-1], Plain):
        children = (*children[:-1], Plain(last.text.rstrip(" \n")))
    if children and isinstance(first := children[0], Plain) and first.text.startswith("\n"):
        children = (Plain(first.text.lstrip("\n")), *children[1:])
    return tuple(node for node in children if not (isinstance(node, Span | Link) and not node.children))


def _merged(children: RichText) -> RichText:
    found: list[Node] = []
    for node in children:
        if isinstance(node, Plain) and found and isinstance(last := found[-1], Plain):
            found[-1] = Plain(last.text + node.text)
        else:
            found.append(node)
    return tuple(found)
