"""Rich text to Matrix HTML: only elements and attributes of the specification's list, well nested, all text escaped.

Source: client-server API, `m.room.message`, "org.matrix.custom.html".
"""

import re
from collections.abc import Callable
from html import escape
from typing import NamedTuple

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
from bridge_core.api.ids import UserId
from bridge_core.content.addresses import is_mxc, is_room, is_user, pill, safe_link
from bridge_core.content.limits import LIMITS
from bridge_core.content.plain import clean, to_plain, words

MentionResolver = Callable[[Mention], UserId | None]
"""Who a mention of somebody on the network is on Matrix; None when nobody there."""


class Rendered(NamedTuple):
    """A text for an event: `html` is None when plain text says all; `mentions` are the users named, each once."""

    body: str
    html: str | None = None
    mentions: tuple[UserId, ...] = ()


_TAGS = {
    Style.BOLD: "strong",
    Style.ITALIC: "em",
    Style.UNDERLINE: "u",
    Style.STRIKE: "del",
    Style.CODE: "code",
    Style.SUPERSCRIPT: "sup",
    Style.SUBSCRIPT: "sub",
}
_COLOR = re.compile(r"[0-9a-fA-F]{6}")
_LANGUAGE = re.compile(r"\S{1,40}")
# Browsers fold these: a space after another, and one that begins a line.
_FOLDED = re.compile(r"(?<= ) |(?<=\n) ")


def to_html(text: RichText, resolver: MentionResolver | None = None) -> Rendered:
    """The text as `formatted_body`, `body` and the users it mentions. Blocks nothing, raises nothing.

    A mention becomes a pill when it names a Matrix user or `resolver` knows one, else its name. Links with other
    schemes than `LINK_SCHEMES` are written out, colours that are none and pictures that are not on Matrix leave only
    their text.
    """
    if len(text) == 1 and type(only := text[0]) is Plain:
        return Rendered(clean(only.text))
    writer = _Writer(resolver)
    writer.nodes(text, LIMITS.depth)
    body = to_plain(text)
    if not writer.rich:
        return Rendered(body)
    return Rendered(body, "".join(writer.parts), tuple(writer.mentions))


def escaped(text: str) -> str:
    """Text as HTML that shows the same: line ends as `<br>`, runs of spaces kept."""
    text = escape(clean(text), quote=False)
    if "  " in text or "\n " in text:
        text = _FOLDED.sub("\u00a0", text)
    return text.replace("\n", "<br>")


class _Writer:
    """Collects HTML. `rich` is set by anything that plain text would not show."""

    def __init__(self, resolver: MentionResolver | None) -> None:
        self.parts: list[str] = []
        self.mentions: dict[UserId, None] = {}
        self.rich = False
        self._resolver = resolver

    def nodes(self, nodes: RichText, depth: int) -> None:
        """Write the nodes; below `depth` only their words."""
        if depth <= 0:
            self.parts.append(escaped(words(nodes)))
            return
        for node in nodes:
            self._node(node, depth - 1)

    def _node(self, node: Node, depth: int) -> None:
        match node:
            case Plain():
                self.parts.append(escaped(node.text))
            case Span():
                self._element(_TAGS[node.style], node.children, depth)
            case Mention():
                self._mention(node)
            case RoomMention():
                self._room(node)
            case Paragraph():
                # Paragraphs alone need no HTML: plain text has blank lines.
                self.parts.append("<p>")
                self.nodes(node.children, depth)
                self.parts.append("</p>")
            case Link():
                self._link(node, depth)
            case Colored():
                self._colored(node, depth)
            case Spoiler():
                reason = f'="{_attribute(node.reason)}"' if node.reason else ""
                self._element("span", node.children, depth, f" data-mx-spoiler{reason}")
            case Picture():
                self._picture(node)
            case Math():
                tag = "div" if node.block else "span"
                latex = clean(node.latex)
                self._add(f'<{tag} data-mx-maths="{_attribute(latex)}"><code>{escape(latex)}</code></{tag}>')
            case Heading():
                self._element(f"h{min(max(node.level, 1), 6)}", node.children, depth)
            case Quote():
                self._element("blockquote", node.children, depth)
            case CodeBlock():
                self._code(node)
            case ListBlock():
                self._list(node, depth)
            case Rule():
                self._add("<hr>")
            case Table():
                self._table(node, depth)
            case Details():
                self._add("<details>")
                self._element("summary", node.summary, depth)
                self.nodes(node.children, depth)
                self.parts.append("</details>")

    def _add(self, html: str) -> None:
        self.parts.append(html)
        self.rich = True

    def _element(self, tag: str, children: RichText, depth: int, attributes: str = "") -> None:
        self._add(f"<{tag}{attributes}>")
        self.nodes(children, depth)
        self.parts.append(f"</{tag}>")

    def _mention(self, node: Mention) -> None:
        user = node.matrix
        if user is None and self._resolver is not None:
            user = self._resolver(node)
        if user is None or not is_user(user):
            self.parts.append(escaped(node.name))
            return
        self.mentions[user] = None
        self._add(f'<a href="{_attribute(pill(user))}">{escaped(node.name)}</a>')

    def _room(self, node: RoomMention) -> None:
        if is_room(node.target):
            self._add(f'<a href="{_attribute(pill(node.target))}">{escaped(node.name)}</a>')
        else:
            self.parts.append(escaped(node.name))

    def _link(self, node: Link, depth: int) -> None:
        url = safe_link(node.url)
        if url is None:
            self.nodes(node.children, depth)
            if words(node.children).strip() != node.url:
                self.parts.append(escaped(f" ({node.url})"))
        else:
            self._element("a", node.children or (Plain(url),), depth, f' href="{_attribute(url)}"')

    def _colored(self, node: Colored, depth: int) -> None:
        attributes = ""
        for name, color in (("data-mx-color", node.foreground), ("data-mx-bg-color", node.background)):
            if color is not None and _COLOR.fullmatch(color):
                attributes += f' {name}="#{color.lower()}"'
        if attributes:
            self._element("span", node.children, depth, attributes)
        else:
            self.nodes(node.children, depth)

    def _picture(self, node: Picture) -> None:
        if is_mxc(node.source):
            alt = _attribute(node.alt)
            self._add(f'<img data-mx-emoticon src="{node.source}" alt="{alt}" title="{alt}" height="32">')
        else:
            self.parts.append(escaped(node.alt))

    def _code(self, node: CodeBlock) -> None:
        known = node.language is not None and _LANGUAGE.fullmatch(node.language)
        language = f' class="language-{_attribute(node.language or "")}"' if known else ""
        # The newline before the end is how Markdown writes it; readers take it off.
        self._add(f"<pre><code{language}>{escape(clean(node.text), quote=False)}\n</code></pre>")

    def _list(self, node: ListBlock, depth: int) -> None:
        start = "" if node.start in (None, 1) else f' start="{node.start}"'
        tag = "ul" if node.start is None else "ol"
        self._add(f"<{tag}{start}>")
        for item in node.items:
            self._element("li", item, depth)
        self.parts.append(f"</{tag}>")

    def _table(self, node: Table, depth: int) -> None:
        self._add("<table>")
        for number, row in enumerate(node.rows):
            head = node.head and number == 0
            self.parts.append("<thead><tr>" if head else "<tbody><tr>" if number == int(node.head) else "<tr>")
            for cell in row:
                self._element("th" if head else "td", cell, depth)
            self.parts.append("</tr></thead>" if head else "</tr>")
        if len(node.rows) > int(node.head):
            self.parts.append("</tbody>")
        self.parts.append("</table>")


def _attribute(text: str) -> str:
    return escape(clean(text))
