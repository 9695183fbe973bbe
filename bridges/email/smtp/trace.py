"""What a server notes on a mail that passes, and what earlier ones noted: Received headers, and the mail without them.

Sources: RFC 5321 section 4.4, RFC 6531 section 4.3, RFC 3848.
"""

import hashlib
from email.utils import formatdate
from typing import Final

from bridges.email.codec.smtp import proper_name
from bridges.email.mail import Door, Envelope

_HEAD: Final = 256 * 1024
"""Bytes of header that are looked at."""
_TRACE: Final = (
    b"received:",
    b"return-path:",
    b"delivered-to:",
    b"x-original-to:",
    b"x-received:",
    b"received-spf:",
    b"authentication-results:",
    b"arc-",
)


def received_header(envelope: Envelope, name: str) -> bytes:
    """The Received header that goes on top, with CRLF. The address of who gave a password is nobody's business."""
    utf8 = "UTF8" if envelope.utf8 else ""
    if envelope.door is Door.LMTP:
        protocol = f"{utf8}LMTP" + "S" * envelope.tls
    elif envelope.door is Door.LOCAL:
        protocol = "local"
    else:
        protocol = (f"{utf8}SMTP" if utf8 else "ESMTP") + "S" * envelope.tls + "A" * (envelope.login is not None)
    lines = []
    if envelope.login is None:
        helo = envelope.helo if proper_name(envelope.helo) else "unknown"
        lines.append(f"from {helo} ([{'IPv6:' * (':' in envelope.peer)}{envelope.peer or 'local'}])")
    lines.append(f"by {name} with {protocol} id {envelope.id}")
    if len(envelope.recipients) == 1 and str(envelope.recipients[0]).isascii():
        lines.append(f"for <{envelope.recipients[0]}>")
    lines[-1] += f"; {formatdate(envelope.received_at / 1000)}"
    return b"Received: " + "\r\n\t".join(lines).encode("ascii") + b"\r\n"


class Passing:
    """Looks at a mail's bytes on their way: its size, how many servers it has passed, and what it is without them."""

    def __init__(self) -> None:
        self.size = 0
        self.hops = 0
        self._head: bytearray | None = bytearray()
        self._hash = hashlib.sha256()
        self.has_id = False

    def see(self, piece: bytes) -> None:
        """One more piece."""
        self.size += len(piece)
        if self._head is None:
            self._hash.update(piece)
            return
        before = max(0, len(self._head) - 3)
        self._head += piece
        if self._head.find(b"\r\n\r\n", before) >= 0 or len(self._head) > _HEAD:
            self._finish_head()

    def digest(self) -> str:
        """SHA-256 in hex of the mail without the trace headers on top. No more may be seen then."""
        if self._head is not None:
            self._finish_head()
        return self._hash.hexdigest()

    def _finish_head(self) -> None:
        data = bytes(self._head or b"")
        self._head = None
        end = data.find(b"\r\n\r\n")
        head = data[: end + 2].lower() if end >= 0 else data.lower()
        self.hops = head.count(b"\r\nreceived:") + head.startswith(b"received:")
        self.has_id = b"\r\nmessage-id:" in head or head.startswith(b"message-id:")
        self._hash.update(data[_trace_end(head) :])


def _trace_end(head: bytes) -> int:
    """Where the first header starts that is no trace."""
    start = 0
    while head.startswith(_TRACE, start):
        end = head.find(b"\r\n", start)
        while end >= 0 and head[end + 2 : end + 3] in (b" ", b"\t"):
            end = head.find(b"\r\n", end + 2)
        if end < 0:
            break
        start = end + 2
    return start
