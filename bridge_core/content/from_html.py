"""Matrix HTML to rich text. Source: client-server API, `m.room.message`, "org.matrix.custom.html"."""

import re
from collections.abc import Mapping

from bridge_core.api.content import CodeBlock, Math, Picture, Plain, RichText, Rule
from bridge_core.content import elements
from bridge_core.content.addresses import is_mxc
from bridge_core.content.elements import Frame
from bridge_core.content.limits import LIMITS, ContentLimitError, Limits
from bridge_core.content.plain import clean
from bridge_core.content.tokens import tokens

_FOLDED = re.compile(r"[ \t\n\r\f]+")
_LANGUAGE = re.compile(r"(?:^|\s)language-(\S{1,40})")


def from_html(html: str, limits: Limits = LIMITS) -> RichText:
    """The text that the HTML says: what is unknown is left out and its children kept; nothing is ever run or fetched.

    Costs time linear in the input, and stops at the limits. Raises only ContentLimitError.
    """
    if len(html) > limits.chars:
        raise ContentLimitError(f"the formatted text is longer than {limits.chars} characters")
    reader = _Reader(limits)
    for tag, text, attributes in tokens(clean(html)):
        if not tag:
            reader.text(text)
        elif attributes is None:
            reader.end(tag)
        else:
            reader.start(tag, attributes)
    return reader.close()


class _Reader:
    """Builds the tree from tokens, on a stack of its own: depth costs no recursion.

    White space is folded as browsers do: `_fresh` says that a space would be at the start of a line (and is dropped),
    `_spaced` that the last text ended with a space (which is cut off again should the line end here).
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._root = Frame("", {})
        self._stack = [self._root]
        self._open: dict[str, int] = {}
        self._nodes = 0
        self._fresh = True
        self._spaced = False
        self._pre = False
        self._dropped = ""
        self._drops = 0

    def close(self) -> RichText:
        """The finished tree."""
        self._pop_to(1)
        self._line_end()
        return elements.merged(self._root.children)

    def text(self, text: str) -> None:
        """Text between tags."""
        if self._drops:
            return
        self._count()
        if self._pre:
            # The newline right after the start tag is not part of the lines (HTML standard, 13.1.2.5).
            self._stack[-1].children.append(clean(text.removeprefix("\n") if self._fresh else text))
            self._fresh = False
            return
        text = _FOLDED.sub(" ", text)
        if (self._fresh or self._spaced) and text.startswith(" "):
            text = text[1:]
        if text:
            self._stack[-1].children.append(clean(text))
            self._fresh = False
            self._spaced = text.endswith(" ")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """A start tag."""
        if self._drops:
            if tag == self._dropped:
                self._drops += 1
            elif tag == "body" and self._dropped == "head":
                self._drops = 0
            return
        self._count()
        if tag in elements.DROPPED:
            self._dropped, self._drops = tag, 1
        elif tag == "br":
            self._line_end()
            self._fresh = not self._pre
            self._stack[-1].children.append("\n")
        elif tag == "img":
            self._picture(attributes)
        elif self._pre:
            self._fresh = False
            if tag == "code" and (language := _LANGUAGE.search(attributes.get("class", ""))) is not None:
                self._stack[-1].language = language[1]
        elif tag in elements.INLINE:
            self._start_inline(tag, attributes)
        elif tag in elements.BLOCKS:
            self._start_block(tag, attributes)

    def end(self, tag: str) -> None:
        """An end tag: closes the nearest such element, and what was left open in it. Strays are passed over."""
        if self._drops:
            if tag == self._dropped:
                self._drops -= 1
            return
        if self._open.get(tag) and not (self._pre and tag in elements.INLINE):
            index = self._nearest((tag,), elements.bounds(tag))
            if index:
                self._pop_to(index)
            else:
                self._count()  # a search in vain is paid for, or end tags would cost depth times their number

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > self._limits.nodes:
            raise ContentLimitError(f"the formatted text has more than {self._limits.nodes} parts")

    def _start_inline(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "a" and self._open.get("a"):
            self.end("a")
        latex = attributes.get("data-mx-maths")
        if latex and tag == "span":
            self._formula(tag, latex, block=False)
        else:
            self._push(tag, attributes)

    def _start_block(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._open.get("p"):
            self._pop_to(self._nearest(("p",), elements.SCOPES))
        self._line_end()
        latex = attributes.get("data-mx-maths")
        if tag == "hr":
            self._stack[-1].children.append(Rule())
        elif latex and tag == "div":
            self._formula(tag, latex, block=True)
        elif tag == "thead":
            table = self._nearest(("table",), frozenset())
            if table:
                self._stack[table].head = True
        else:
            self._push(self._placed(tag), attributes)
            self._pre = tag == "pre"

    def _placed(self, tag: str) -> str:
        """The tag as it may stand here: parts of lists and tables go straight into theirs, else they count as `div`."""
        if tag == "li":
            parent = self._nearest(("ul", "ol"), elements.SCOPES - {"li"})
        elif tag == "tr":
            parent = self._nearest(("table",), elements.SCOPES - {"table", "td", "th"})
        elif tag in ("td", "th"):
            parent = self._nearest(("tr",), elements.SCOPES - {"td", "th"})
            if not parent and (table := self._nearest(("table",), elements.SCOPES - {"table", "td", "th"})):
                self._pop_to(table + 1)
                self._push("tr", {})
                parent = len(self._stack) - 1
        elif tag == "summary":
            parent = self._nearest(("details",), elements.SCOPES - {"details"})
        else:
            return tag
        if not parent:
            return "div"
        self._pop_to(parent + 1)
        return tag

    def _formula(self, tag: str, latex: str, *, block: bool) -> None:
        """The formula; what the element holds is only its fallback and is dropped."""
        self._stack[-1].children.append(Math(clean(latex), block))
        self._fresh = self._spaced = False
        self._dropped, self._drops = tag, 1

    def _picture(self, attributes: Mapping[str, str]) -> None:
        alt = clean(attributes.get("alt") or attributes.get("title") or "")
        source = attributes.get("src")
        if self._pre:
            self._stack[-1].children.append(alt)
        elif alt or is_mxc(source):
            self._stack[-1].children.append(Picture(alt, source if is_mxc(source) else None))
            self._fresh = self._spaced = False

    def _push(self, tag: str, attributes: Mapping[str, str]) -> None:
        if len(self._stack) > self._limits.depth:
            raise ContentLimitError(f"the formatted text is nested more than {self._limits.depth} deep")
        self._stack.append(Frame(tag, attributes))
        self._open[tag] = self._open.get(tag, 0) + 1

    def _nearest(self, tags: tuple[str, ...], bounds: frozenset[str]) -> int:
        """Where on the stack the nearest of the tags is, 0 when there is none this side of the bounds."""
        for index in range(len(self._stack) - 1, 0, -1):
            tag = self._stack[index].tag
            if tag in tags:
                return index
            if tag in bounds:
                break
        return 0

    def _pop_to(self, index: int) -> None:
        """Finish the elements from `index` (above 0) of the stack on."""
        while index and len(self._stack) > index:
            frame = self._stack[-1]
            if frame.tag == "pre":
                self._pre = False
                self._fresh, self._spaced = True, False
                self._stack.pop()
                self._stack[-1].children.append(_code(frame))
            else:
                if frame.tag in elements.BLOCKS:
                    self._line_end()
                self._stack.pop()
                self._stack[-1].children.extend(elements.finished(frame))
            self._open[frame.tag] -= 1

    def _line_end(self) -> None:
        """A line ends here: a space at its end goes, and so will one at the start of the next."""
        if self._spaced:
            for frame in reversed(self._stack):
                if frame.children:
                    last = elements.without_last_space(frame.children.pop())
                    if last is not None:
                        frame.children.append(last)
                    break
        self._fresh, self._spaced = True, False


def _code(frame: Frame) -> CodeBlock:
    """The lines of a `pre`, without the newline that Markdown puts before its end."""
    text = "".join(part for part in (_words(child) for child in frame.children))
    return CodeBlock(text.removesuffix("\n"), frame.language)


def _words(child: object) -> str:
    return child if isinstance(child, str) else child.text if isinstance(child, Plain) else ""
