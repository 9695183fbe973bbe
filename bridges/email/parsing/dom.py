"""HTML of mails to a small tree that can be changed: bounded, linear, without recursion while it is built.

On the tokenizer of `bridge_core.content`, since lxml was measured to take minutes for one tag with 130,000 attributes
and to stop reading at its depth limit, and nh3 to take 0.4 s for 13,000 nested elements: nh3 comes after this.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bridge_core.content.tokens import tokens

VOID: Final = frozenset({"br", "hr", "img", "input", "meta", "link", "base", "area", "col", "embed", "source", "wbr"})
_DROPPED: Final = frozenset(
    {
        "head",
        "template",
        "script",
        "style",
        "title",
        "object",
        "select",
        "textarea",
        "button",
        "audio",
        "video",
        "canvas",
    }
    | {"map", "datalist", "mx-reply", "svg", "math", "xml"}
)
_ATTRIBUTES: Final = frozenset(
    {
        "href",
        "src",
        "alt",
        "style",
        "class",
        "id",
        "type",
        "name",
        "width",
        "height",
        "hidden",
        "border",
        "start",
        "role",
    }
    | {"data-marker", "cellpadding", "title", "aria-hidden", "color", "colspan"}
)
_CLOSES: Final[Mapping[str, frozenset[str]]] = {
    "li": frozenset({"li"}),
    "tr": frozenset({"tr"}),
    "td": frozenset({"td", "th"}),
    "th": frozenset({"td", "th"}),
    "a": frozenset({"a"}),
    "dt": frozenset({"dt", "dd"}),
    "dd": frozenset({"dt", "dd"}),
}
_WALLS: Final = frozenset({"table", "ul", "ol", "dl", "blockquote"})
_CELLS: Final = frozenset({"td", "th"})
_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "center", "dd", "details", "div", "dl", "dt", "fieldset", "figure"}
    | {"footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"}
    | {"section", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"}
)
_HIDDEN = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all"
    r"|(?:font-size|max-height|max-width|opacity|line-height)\s*:\s*0(?:\.0+)?(?:px|pt|em|%)?\s*(?:;|!|$))",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Element:
    """An element; its children are elements and texts."""

    tag: str
    attributes: Mapping[str, str]
    children: list["Element | str"] = field(default_factory=list)

    def get(self, name: str) -> str:
        """An attribute; empty where there is none."""
        return self.attributes.get(name, "")

    @property
    def classes(self) -> frozenset[str]:
        """Its classes, in lower case."""
        return frozenset(self.get("class").lower().split())

    def text(self, longest: int = 10_000) -> str:
        """The text in it, about so many characters at most."""
        found: list[str] = []
        size = 0
        for node in self.walk():
            if isinstance(node, str):
                found.append(node)
                size += len(node)
                if size >= longest:
                    break
        return "".join(found)[:longest]

    def walk(self) -> Iterator["Element | str"]:
        """All that is in it, in order, without recursion."""
        waiting: list[Element | str] = list(reversed(self.children))
        while waiting:
            node = waiting.pop()
            yield node
            if isinstance(node, Element):
                waiting.extend(reversed(node.children))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much HTML of one mail is read."""

    chars: int = 1_048_576
    nodes: int = 20_000
    depth: int = 80


def parse_html(text: str, limits: Limits) -> tuple[Element, bool, int]:
    """The tree of the HTML without what is not shown, whether the rest was cut off at a limit, and its size in tokens.

    Never raises. What is nested too deep stands in its parent. Hidden elements (preheaders, traps) are left out with
    all they hold.
    """
    root = Element("", {})
    stack = [root]
    number = 0
    for number, (tag, words, attributes) in enumerate(tokens(text[: limits.chars], _ATTRIBUTES)):
        if number >= limits.nodes:
            return root, True, number
        if not tag:
            stack[-1].children.append(words)
        elif attributes is None:
            _end(stack, tag)
        else:
            _start(stack, Element(tag, attributes), limits.depth)
    return root, len(text) > limits.chars, number + 1


def is_hidden(attributes: Mapping[str, str]) -> bool:
    """Whether browsers and mail programs do not show the element."""
    if "hidden" in attributes:
        return True
    style = attributes.get("style", "")
    return bool(style) and _HIDDEN.search(style[:2000]) is not None


def _start(stack: list[Element], element: Element, deepest: int) -> None:
    tag = element.tag
    if tag in _CLOSES:
        _close(stack, _CLOSES[tag], _WALLS | _CELLS if tag == "a" else _WALLS)
    elif tag in _BLOCKS:
        _close(stack, frozenset({"p"}), _WALLS | _CELLS | {"li", "div"})
    elif tag == "body":
        _close(stack, frozenset({"head"}), frozenset())
    # What is not shown is read, so that it ends where it does, but hangs on nothing.
    if tag not in _DROPPED and not is_hidden(element.attributes):
        stack[-1].children.append(element)
    if tag not in VOID and len(stack) <= deepest:
        stack.append(element)


def _end(stack: list[Element], tag: str) -> None:
    walls = frozenset() if tag == "table" else frozenset({"table"}) if tag in _WALLS else _CELLS | {"table"}
    _close(stack, frozenset({tag}), walls - {tag})


def _close(stack: list[Element], tags: frozenset[str], walls: frozenset[str]) -> None:
    """End the nearest of the elements this side of the walls, and what is open in it."""
    for index in range(len(stack) - 1, 0, -1):
        if stack[index].tag in tags:
            del stack[index:]
            return
        if stack[index].tag in walls:
            return
