"""What the bridge and a parser's process say to one another over pipes: a letter, a length, that many bytes."""

import struct
from typing import Final

HEAD: Final = struct.Struct(">cI")
LARGEST: Final = 1 << 20
"""Bytes of one frame; what is larger goes in several."""

CONTEXT: Final = b"C"
"""To the process: what is known of the next mail, as JSON."""
RAW: Final = b"R"
"""To the process: a piece of the mail. An empty one ends it."""
FILE: Final = b"F"
"""To the process: give the bytes of the file of that number (decimal)."""
MAIL: Final = b"M"
"""From the process: a piece of the mail as JSON. An empty one ends it."""
BYTES: Final = b"B"
"""From the process: a piece of the file. An empty one ends it."""
READY: Final = b"Y"
"""From the process: it has started."""


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """One frame. Raises ValueError over `LARGEST`."""
    if len(body) > LARGEST:
        raise ValueError("a frame is too large")
    return HEAD.pack(kind, len(body)) + body


def pieces(data: bytes) -> list[memoryview]:
    """The bytes in pieces that fit into frames; none of them empty."""
    view = memoryview(data)
    return [view[at : at + LARGEST] for at in range(0, len(view), LARGEST)]
