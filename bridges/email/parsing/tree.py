"""The tree of a mail's parts (RFC 2045, 2046), as spans of its bytes: nothing is copied, and nothing is decoded yet."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from bridges.email.parsing.headers import Headers, split
from bridges.email.parsing.parameters import parse_value
from bridges.email.parsing.transfer import decode, encoding_of

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
_LF: Final = 10
_CR: Final = 13
_GUESS = re.compile(rb"(?<![^\n])--([^\r\n]{1,70}?)[ \t]*\r?\n")


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """How much of a tree is read. A multipart deeper than `depth` is taken as a file; parts over `parts` are left."""

    depth: int = 30
    parts: int = 1000


@dataclass(slots=True)
class Part:
    """One part: its header, and where its body is in the bytes of the whole mail."""

    headers: Headers
    data: bytes
    start: int
    end: int
    mime: str
    parameters: dict[str, str]
    disposition: str
    children: list["Part"] = field(default_factory=list)

    @property
    def main(self) -> str:
        """The type before the slash."""
        return self.mime.partition("/")[0]

    @property
    def encoded(self) -> bytes:
        """The body as it was sent."""
        return self.data[self.start : self.end]

    @property
    def name(self) -> str:
        """What the part is called as a file, raw; empty where it is not called anything."""
        _, given = parse_value(self.headers.get("content-disposition"))
        return given.get("filename") or self.parameters.get("name") or ""

    @property
    def cid(self) -> str:
        """Its Content-ID without brackets."""
        return self.headers.get("content-id").strip("<> ")[:500]

    def body(self) -> bytes:
        """The body decoded. Costs its size."""
        return decode(self.encoded, encoding_of(self.headers.get("content-transfer-encoding")))

    def beginning(self, size: int) -> bytes:
        """The first bytes of the body decoded, about so many."""
        piece = self.data[self.start : min(self.end, self.start + 2 * size)]
        return decode(piece, encoding_of(self.headers.get("content-transfer-encoding")))[:size]


@dataclass(frozen=True, slots=True)
class Tree:
    """A mail's parts. `cut` says in words what was not read."""

    root: Part
    cut: tuple[str, ...]

    def parts(self) -> Iterator[Part]:
        """All parts, in order."""
        waiting = [self.root]
        while waiting:
            part = waiting.pop()
            yield part
            waiting.extend(reversed(part.children))


LIMITS: Final = TreeLimits()


def parse_tree(data: bytes, limits: TreeLimits = LIMITS) -> Tree:
    """The tree of a mail. Costs its size times its depth at most; recursion is not used; never raises."""
    root = _part(data, 0, len(data), "text/plain")
    cut: dict[str, None] = {}
    if root.headers.cut:
        cut["The header of this mail is too large: only its beginning was read."] = None
    waiting, count = [(root, 0)], 1
    while waiting:
        part, depth = waiting.pop()
        if part.main != "multipart":
            continue
        if depth >= limits.depth:
            cut[f"Parts of this mail are nested more than {limits.depth} deep: what is deeper was not taken apart."] = (
                None
            )
            part.mime = "application/octet-stream"
            continue
        default = "message/rfc822" if part.mime == "multipart/digest" else "text/plain"
        for start, end in _spans(part):
            if count >= limits.parts:
                cut[f"This mail has more than {limits.parts} parts: the others were left out."] = None
                break
            count += 1
            part.children.append(_part(data, start, end, default))
        if not part.children:
            part.mime = "text/plain"
            part.parameters.pop("name", None)
        waiting.extend((child, depth + 1) for child in reversed(part.children))
    return Tree(root, tuple(cut))


def _part(data: bytes, start: int, end: int, default: str) -> Part:
    headers, body = split(data, start, end)
    mime, parameters = parse_value(headers.get("content-type"))
    if not mime:
        mime = default
    elif not _TYPE.fullmatch(mime):
        mime = "text/plain" if mime in ("text", "plain", "text/") else "application/octet-stream"
    disposition, _ = parse_value(headers.get("content-disposition"))
    return Part(headers, data, body, end, mime, parameters, disposition)


def _spans(part: Part) -> Iterator[tuple[int, int]]:
    """Where the children of a multipart are. The line end before a delimiter belongs to the delimiter."""
    boundary = part.parameters.get("boundary", "").encode("utf-8", "replace")[:500].rstrip()
    if not boundary:
        guess = _GUESS.search(part.data, part.start, min(part.end, part.start + 65_536))
        if guess is None:
            return
        boundary = guess[1]
    delimiter = re.compile(rb"--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\r?\Z)")
    opened = -1
    for found in delimiter.finditer(part.data, part.start, part.end):
        at = found.start()
        if at != part.start and part.data[at - 1] != _LF:
            continue
        if opened >= 0:
            yield opened, _line_end(part.data, opened, at)
        if found[1]:
            return
        opened = found.end()
    if opened >= 0:
        yield opened, part.end


def _line_end(data: bytes, start: int, at: int) -> int:
    """Where a part ends whose delimiter is at `at`."""
    if at > start and data[at - 1] == _LF:
        at -= 1
        if at > start and data[at - 1] == _CR:
            at -= 1
    return at
