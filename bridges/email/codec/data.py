"""The bytes of a mail as they come over the wire: its end found, dots taken out, bare line ends seen (RFC 5321 4.5.2).

Pure, and streaming: what is held back between two pieces are at most four bytes.
"""

from dataclasses import dataclass
from typing import Final

END: Final = b"\r\n.\r\n"


class BareLineEnd(Exception):  # noqa: N818 - it is a finding
    """A CR without LF or an LF without CR: servers disagree about what these end (SMTP smuggling).

    From here on it is not sure what is mail and what is commands.
    """


class LongLine(Exception):  # noqa: N818 - it is a finding
    """A line over the limit."""


@dataclass(slots=True)
class LineCheck:
    """Looks at a mail's bytes piece by piece. Pieces may end anywhere but between CR and LF."""

    longest: int
    _since: int = 0

    def see(self, piece: bytes) -> None:
        """One more piece. Raises BareLineEnd or LongLine."""
        ends = piece.count(b"\r\n")
        if piece.count(b"\n") != ends or piece.count(b"\r") != ends:
            raise BareLineEnd
        first = piece.find(b"\n")
        head = len(piece) if first < 0 else first
        if self._since + head > self.longest:
            raise LongLine
        if len(piece) > self.longest and max(map(len, piece.split(b"\n"))) > self.longest:
            raise LongLine
        self._since = self._since + head if first < 0 else len(piece) - piece.rfind(b"\n") - 1


@dataclass(slots=True)
class DataDecoder:
    """What follows DATA. `feed` until it says that the mail has ended; `rest` is then what came behind it."""

    check: LineCheck
    rest: bytes = b""
    ended: bool = False
    _held: bytes = b"\r\n"
    _begun: bool = False

    def feed(self, piece: bytes) -> bytes:
        """The mail's bytes in this piece, dots taken out. Raises BareLineEnd or LongLine: then feed no more."""
        data = self._held + piece
        end = data.find(END)
        if end >= 0:
            self.ended = True
            self._held = b""
            self.rest = data[end + len(END) :]
            data = data[: end + 2]
        else:
            keep = _hold(data)
            self._held = data[len(data) - keep :]
            data = data[: len(data) - keep]
        self.check.see(data)
        found = data.replace(b"\r\n.", b"\r\n")
        if not self._begun and found:
            # The line end before the first line is ours: with it, a dot on the first line is like all others.
            self._begun = True
            found = found[2:]
        return found


@dataclass(slots=True)
class ChunkDecoder:
    """What follows BDAT: bytes as they are, but for the line ends, which are looked at all the same (RFC 3030)."""

    check: LineCheck
    _held: bytes = b""

    def feed(self, piece: bytes) -> bytes:
        """The mail's bytes in this piece. Raises BareLineEnd or LongLine."""
        data = self._held + piece
        self._held = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r")
        self.check.see(data)
        return data

    def finish(self) -> None:
        """The mail has ended. Raises BareLineEnd where its last byte is a CR."""
        if self._held:
            raise BareLineEnd


def _hold(data: bytes) -> int:
    """How many bytes at the end may be the beginning of the end."""
    for length in range(len(END) - 1, 0, -1):
        if data.endswith(END[:length]):
            return length
    return 0
