"""Messages of several lines on the wire: limits and batches (IRCv3 draft/multiline), without input or output."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from bridges.irc.codec.serializer import serialize

CAPABILITY: Final = "draft/multiline"
CONCAT: Final = "draft/multiline-concat"
_BYTES_AT_MOST: Final = 16_384
_LINES_AT_MOST: Final = 200
"""More than a server may take is not sent at once: it has to fit into the buffer of one connection."""


class Limits(NamedTuple):
    """What one batch may hold: bytes of text, line ends between lines included, and lines."""

    size: int
    lines: int


def parse_limits(value: str) -> Limits | None:
    """The limits in the value of the capability; None where it has no `max-bytes`, which it must. Never raises."""
    found = dict(token.partition("=")[::2] for token in value.split(","))
    size = _number(found.get("max-bytes", ""))
    if size is None:
        return None
    lines = _number(found.get("max-lines", ""))
    return Limits(min(size, _BYTES_AT_MOST), min(lines or _LINES_AT_MOST, _LINES_AT_MOST))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) else None


def groups(texts: Sequence[str], joined: Sequence[bool], limits: Limits) -> Iterator[range]:
    """The lines that go into one batch each, as few batches as the limits allow; `joined` go on with the one before."""
    start = size = 0
    for place, text in enumerate(texts):
        more = len(text.encode()) + (0 if joined[place] or place == start else 1)
        if place > start and (size + more > limits.size or place - start >= limits.lines):
            yield range(start, place)
            start, size, more = place, 0, len(text.encode())
        size += more
    if start < len(texts):
        yield range(start, len(texts))


def serialize_batch(reference: str, target: str, texts: Sequence[str], joined: Sequence[bool]) -> bytes:
    """The lines of one batch, from its opening to its end. Tags of the message go in front: they are the opening's.

    Raises UnsafeLine, LineTooLong.
    """
    lines = [serialize("BATCH", f"+{reference}", CAPABILITY, target)]
    for place, text in enumerate(texts):
        tags: Mapping[str, str] = {"batch": reference}
        if joined[place] and place:
            tags = {"batch": reference, CONCAT: ""}
        lines.append(serialize("PRIVMSG", target, text, tags=tags))
    lines.append(serialize("BATCH", f"-{reference}"))
    return b"".join(lines)
