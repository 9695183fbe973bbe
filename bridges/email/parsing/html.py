"""HTML of mails to a tree of the content model: nothing is run, nothing is fetched, nothing hidden is shown."""

import html as entities
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

import nh3

from bridge_core.api.content import CodeBlock, Link, Mention, Node, Picture, Plain, RichText, RoomMention
from bridge_core.content import from_html
from bridge_core.content.addresses import pill
from bridge_core.content.limits import ContentLimitError, Limits
from bridge_core.content.tree import changed
from bridges.email.parsing import dom
from bridges.email.parsing.clients import (
    FILE_END,
    FILE_START,
    QUOTE_END,
    QUOTE_START,
    SIGN_END,
    SIGN_START,
    Role,
    role_of,
)
from bridges.email.parsing.dom import Element
from bridges.email.parsing.lines import LINE, joined
from bridges.email.parsing.links import host_of, real_host, safe_url
from bridges.email.parsing.tables import is_data, rows_of

_KEPT: Final = frozenset(
    {"p", "div", "blockquote", "ul", "ol", "li", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "b", "strong", "i", "em"}
    | {"u", "ins", "s", "del", "strike", "code", "tt", "kbd", "samp", "sup", "sub", "cite", "var", "br", "hr"}
)
_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "center", "dd", "details", "dl", "dt", "fieldset", "figcaption", "figure", "footer"}
    | {"form", "header", "main", "nav", "section", "summary", "table", "tbody", "thead", "tfoot", "tr", "td", "th"}
    | {"caption", "body", "html"}
)
_ALLOWED: Final = {*_KEPT, "a", "table", "tr", "td", "th"}
_FILLER = re.compile("(?:[\u034f\u200b\u200c\u200d\u2060\ufeff\u00ad\u2007][\\s\u00a0]*){2,}")
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufeff\ufffe\uffff\ud800-\udfff\u2028\u2029]"
)
_SIZE = re.compile(r"\s*([0-9]{1,6})(?:\.[0-9]+)?(?:px)?\s*$")
_STYLE_SIZE = re.compile(r"(?:^|;)\s*(?:max-)?(width|height)\s*:\s*([0-9]{1,6})px", re.IGNORECASE)
_FILE = re.compile(f"{FILE_START}([0-9]{{1,4}}){FILE_END}")
_MARKUP: Final = str.maketrans("&<>", "\ufdd6\ufdd7\ufdd8")
"""What text looks like on its way: nh3 takes quadratic time for entities (25 s for a million), so there are none."""
_TEXT: Final = str.maketrans("\ufdd6\ufdd7\ufdd8", "&<>")
_MOST_BLOCKED: Final = 30
_LONGEST_ALT: Final = 200


@dataclass(frozen=True, slots=True)
class Html:
    """What the HTML of a mail says. `files` are those that stand in it; `cut`: the rest was left out at a limit.

    `nodes` is how many tags and pieces of text were read.
    """

    text: RichText
    files: frozenset[int]
    cut: bool
    nodes: int


def html_tree(text: str, places: Mapping[str, int], limits: dom.Limits) -> Html:
    """The tree that the HTML says, with marks for the quotes and signatures of mail programs still in it.

    `places` says which file has which Content-ID or Content-Location: such an image becomes
    `Picture("", "file:N")`, the first time. Never raises.
    """
    root, cut, nodes = dom.parse_html(text, limits)
    writer = _Writer(places)
    writer.children(root)
    safe = nh3.clean(
        "".join(writer.out),
        tags=_ALLOWED,
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto", "matrix"},
        link_rel=None,
        strip_comments=True,
    )
    try:
        tree = from_html(safe, Limits(chars=8 * limits.chars, depth=4 * limits.depth, nodes=8 * limits.nodes))
    except ContentLimitError:
        words = _UNSAFE.sub("", root.text(limits.chars))
        return Html((Plain(words),) if words.strip() else (), frozenset(), True, nodes)
    return Html(joined(changed(tree, _changed)), frozenset(writer.files), cut, nodes)


def _changed(node: Node) -> RichText | None:
    """Pictures put where their marks are; nobody is notified by a stranger's mail."""
    if isinstance(node, Plain):
        text = node.text.translate(_TEXT)
        if FILE_START not in text:
            return (Plain(text),)
        found: list[Node] = []
        for number, piece in enumerate(_FILE.split(text)):
            if number % 2:
                found.append(Picture("", f"file:{piece}"))
            elif piece:
                found.append(Plain(piece))
        return tuple(found)
    if isinstance(node, CodeBlock):
        return (replace(node, text=_FILE.sub("", node.text.translate(_TEXT)).replace(LINE, "")),)
    if isinstance(node, Mention):
        return (Link(pill(node.matrix or ""), (Plain(node.name.translate(_TEXT).replace(LINE, "")),)),)
    if isinstance(node, RoomMention):
        return (Link(pill(node.target), (Plain(node.name.translate(_TEXT).replace(LINE, "")),)),)
    if isinstance(node, Picture):
        return (replace(node, source=None),) if node.source is not None else None
    return None


class _Writer:
    """Writes the tree as HTML of the few tags that are kept. Recursive: the tree is as shallow as its limit says."""

    def __init__(self, places: Mapping[str, int]) -> None:
        self.out: list[str] = []
        self.files: set[int] = set()
        self._places = places
        self._blocked = 0
        self._last_blocked = ""
        self._marked = False

    def children(self, element: Element) -> None:
        for node in element.children:
            if isinstance(node, str):
                self._text(node)
            else:
                self._element(node)

    def _text(self, text: str) -> None:
        text = _FILLER.sub(" ", _UNSAFE.sub("", text))
        if self._last_blocked and text.strip():
            self._last_blocked = ""
        self.out.append(text.translate(_MARKUP))

    def _element(self, element: Element) -> None:
        role = Role.OWN if self._marked else role_of(element)
        if role is Role.OWN:
            self._plain(element)
            return
        self._marked = True
        start, end = (SIGN_START, SIGN_END) if role is Role.SIGNATURE else (QUOTE_START, QUOTE_END)
        self.out.append(f"<p>{start}</p>")
        self._plain(element)
        if role is not Role.REST:
            self.out.append(f"<p>{end}</p>")
            self._marked = False

    def _plain(self, element: Element) -> None:
        tag = element.tag
        if tag == "a":
            self._link(element)
        elif tag == "img":
            self._image(element)
        elif tag == "table":
            self._table(element)
        elif tag in ("br", "hr"):
            self.out.append(f"<{tag}>")
        elif tag in _KEPT:
            start = element.get("start")
            counted = tag == "ol" and start.isascii() and start.isdecimal() and len(start) < 9
            self.out.append(f'<ol start="{int(start)}">' if counted else f"<{tag}>")
            self.children(element)
            if tag == "div" or (tag == "p" and "msonormal" in element.classes):
                self.out.append(LINE)
            self.out.append(f"</{tag}>")
        elif tag in _BLOCKS:
            self.out.append("<div>")
            self.children(element)
            self.out.append(f"{LINE}</div>")
        else:
            self.children(element)

    def _table(self, element: Element) -> None:
        if is_data(element):
            self.out.append("<table>")
            for row in rows_of(element):
                self.out.append("<tr>")
                for cell in row:
                    tag = "th" if cell.tag == "th" else "td"
                    self.out.append(f"<{tag}>")
                    self.children(cell)
                    self.out.append(f"</{tag}>")
                self.out.append("</tr>")
            self.out.append("</table>")
            return
        self.out.append("<div>")
        self.children(element)
        self.out.append("</div>")

    def _link(self, element: Element) -> None:
        url = safe_url(element.get("href"))
        if url is None:
            self.children(element)
            return
        self.out.append(f'<a href="{entities.escape(url)}">')
        self.children(element)
        self.out.append("</a>")
        if real := real_host(url, element.text()):
            self.out.append(f" [{real}]".translate(_MARKUP))

    def _image(self, element: Element) -> None:
        source = element.get("src").strip()
        alt = " ".join(_UNSAFE.sub("", element.get("alt")).split())[:_LONGEST_ALT]
        kind, _, rest = source.partition(":")
        place = self._places.get(unquote(rest).strip("<> ") if kind.lower() == "cid" else source)
        if place in self.files:
            return  # once is enough: each place costs a message
        if place is not None:
            self.files.add(place)
            self.out.append(f"{FILE_START}{place}{FILE_END}")
            return
        if is_dot(element):
            return
        host = host_of(source) if kind.lower() in ("http", "https") or source.startswith("//") else ""
        if not host:
            self._text(f" {alt} " if alt else "")
            return
        said = f"{alt} [image blocked: {host}]".strip()
        if said != self._last_blocked and self._blocked < _MOST_BLOCKED:
            self.out.append(f" {said} ".translate(_MARKUP))
            self._last_blocked = said
            self._blocked += 1


def is_dot(element: Element) -> bool:
    """Whether an image is too small to be seen: it counts who reads the mail, or keeps things apart."""
    sizes = [int(found[1]) for name in ("width", "height") if (found := _SIZE.match(element.get(name))) is not None]
    sizes += [int(size) for _, size in _STYLE_SIZE.findall(element.get("style")[:1000])]
    return any(size <= 3 for size in sizes)
