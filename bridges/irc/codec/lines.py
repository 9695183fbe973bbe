"""Lines out of a stream of bytes, bounded."""

from typing import Final

TAG_LIMIT: Final = 8191
"""Bytes of the tag section a server may send, `@` and the space behind it included (IRCv3 message-tags)."""
LINE_LIMIT: Final = 512
"""Bytes of a line without its tags, CR LF included (RFC 1459 section 2.3)."""


class LineBuffer:
    """Cuts a stream into lines; the same lines come out however the stream is cut into pieces.

    A line ends at LF; CRs before it are dropped, empty lines too. A line whose body is longer than `limit` is cut
    there, one whose tag section never ends is dropped; both are counted in `overlong`. At most `TAG_LIMIT + limit`
    bytes are held. Set `limit` to ISUPPORT LINELEN once it is known.
    """

    __slots__ = ("_skipping", "_tail", "limit", "overlong")

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self.limit = limit
        self.overlong = 0
        self._tail = b""
        self._skipping = False

    @property
    def held(self) -> int:
        """Bytes of the unfinished line that are held."""
        return len(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the next bytes and returns the lines that are now complete, without their line ends."""
        pieces = data.split(b"\n")
        if self._skipping:
            if len(pieces) == 1:
                return []
            pieces[0] = self._tail  # the rest of this overlong line is passed over
            self._skipping = False
        elif self._tail:
            pieces[0] = self._tail + pieces[0]
        tail = pieces.pop()
        limit = self.limit - 2
        bound = TAG_LIMIT + self.limit
        lines: list[bytes] = []
        for piece in pieces:
            line = piece.rstrip(b"\r") if len(piece) <= bound else piece[:bound].rstrip(b"\r")
            if len(line) > limit:
                line = self._cut(line)
            if line:
                lines.append(line)
        if len(tail) > bound:
            # A longer tail changes nothing in what `_cut` keeps, so it is not kept.
            tail = tail[:bound]
            self._skipping = True
        self._tail = tail
        return lines

    def _cut(self, line: bytes) -> bytes:
        """The part of a long line that the limits allow."""
        limit = self.limit - 2
        if not line.startswith(b"@"):
            self.overlong += 1
            return line[:limit]
        space = line.find(b" ", 0, TAG_LIMIT)
        if space < 0:
            self.overlong += 1
            return b""
        end = space + 1 + limit
        if len(line) > end:
            self.overlong += 1
            return line[:end].rstrip(b"\r")
        return line
