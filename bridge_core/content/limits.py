"""How much of a stranger's message is read, and why that much."""

from dataclasses import dataclass

from bridge_core.api.errors import RejectedError


class ContentError(RejectedError):
    """A message cannot be read. The text is the reason, in words for its sender."""


class ContentLimitError(ContentError):
    """A message is larger, deeper or more intricate than is read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one message. The defaults fit Matrix events; mail, whose HTML is larger, passes its own."""

    chars: int = 65_536
    """Characters of one text or of its HTML. A whole event is at most 65,536 bytes (client-server API, size limits)."""
    depth: int = 100
    """Elements within one another: the depth the specification recommends for `org.matrix.custom.html`."""
    nodes: int = 5_000
    """Tags and pieces of text. Real messages hold tens; this many cost at most about 30 ms, however they are put."""
    event_bytes: int = 60_000
    """JSON bytes of text in one event: 65,536 less what ids, relations, hashes and signatures take."""
    encrypted_event_bytes: int = 42_000
    """The same for encrypted rooms, where base64 makes four bytes of three."""


LIMITS = Limits()
"""The default limits."""
