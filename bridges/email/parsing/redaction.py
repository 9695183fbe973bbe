"""Our own tokens taken out of texts: who reads a room must not be able to write as somebody else, or to unsubscribe."""

import re
from dataclasses import replace

from bridge_core.api.content import CodeBlock, Link, Node, Plain, RichText
from bridge_core.content.tree import changed


class Redactor:
    """Knows what is ours: addresses with a token at our domains, and links of ours. Linear."""

    __slots__ = ("_address", "_link", "_links")

    def __init__(self, domains: tuple[str, ...], links: tuple[str, ...]) -> None:
        ours = "|".join(re.escape(domain) for domain in domains)
        # A token is long; what people write behind a plus is short.
        self._address = re.compile(rf"(?<=\+)[A-Za-z0-9._=-]{{12,64}}(?=(?:@|%40)(?:{ours})\b)", re.I) if ours else None
        self._links = tuple(link for link in links if link)
        starts = "|".join(re.escape(link) for link in self._links)
        self._link = re.compile(rf"(?:{starts})[^\s<>\"]*", re.IGNORECASE) if starts else None

    def text(self, text: str) -> str:
        """The text without tokens and links of ours."""
        if self._address is not None and "+" in text:
            text = self._address.sub("\u2026", text)
        return self._link.sub("[link]", text) if self._link is not None else text

    def tree(self, text: RichText) -> RichText:
        """The same for a tree; a link of ours becomes its words."""
        return changed(text, self._change) if self._address is not None or self._link is not None else text

    def _change(self, node: Node) -> RichText | None:
        if isinstance(node, Plain | CodeBlock):
            return (replace(node, text=self.text(node.text)),)
        if isinstance(node, Link):
            children = changed(node.children, self._change)
            url = self.text(node.url)
            return (Link(url, children),) if url == node.url else children
        return None
