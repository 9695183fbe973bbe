"""Mails that are packed into their signature (S/MIME, RFC 8551, 3.5.2): taken out of it. The signature is not checked.

Reads the few elements of CMS (RFC 5652, 5.1) that lie around the content, in DER and in BER without lengths.
"""

from typing import Final

_SIGNED: Final = bytes.fromhex("2a864886f70d010702")
_SEQUENCE: Final = 0x30
_OID: Final = 0x06
_OCTETS: Final = 0x04
_OCTETS_IN_PIECES: Final = 0x24
_CONTENT: Final = 0xA0
_DEEPEST: Final = 12
_MOST_PIECES: Final = 100_000


class _DamagedError(Exception):
    """This is not what it should be."""


def signed_content(data: bytes) -> bytes | None:
    """What was signed, None where there is none in it. Linear; never raises."""
    try:
        at = _enter(data, 0, _SEQUENCE)
        at, oid = _value(data, at, _OID)
        if oid != _SIGNED:
            return None
        at = _enter(data, _enter(data, at, _CONTENT), _SEQUENCE)
        at = _skip(data, _skip(data, at, 0), 0)  # version, digest algorithms
        at = _skip(data, _enter(data, at, _SEQUENCE), 0)  # what kind of content
        return _octets(data, _enter(data, at, _CONTENT))
    except (_DamagedError, IndexError):
        return None


def _head(data: bytes, at: int) -> tuple[int, int, int | None]:
    """The tag at this place, where its value begins, and how long it is (None: until an end mark)."""
    tag, first = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise _DamagedError
    if first < 0x80:
        return tag, at + 2, first
    if first == 0x80:
        return tag, at + 2, None
    count = first & 0x7F
    if count > 8:
        raise _DamagedError
    size = int.from_bytes(data[at + 2 : at + 2 + count], "big")
    start = at + 2 + count
    if start + size > len(data):
        raise _DamagedError
    return tag, start, size


def _enter(data: bytes, at: int, wanted: int) -> int:
    tag, start, _ = _head(data, at)
    if tag != wanted:
        raise _DamagedError
    return start


def _value(data: bytes, at: int, wanted: int) -> tuple[int, bytes]:
    tag, start, size = _head(data, at)
    if tag != wanted or size is None:
        raise _DamagedError
    return start + size, data[start : start + size]


def _skip(data: bytes, at: int, depth: int) -> int:
    _, start, size = _head(data, at)
    if size is not None:
        return start + size
    if depth > _DEEPEST:
        raise _DamagedError
    while data[start] or data[start + 1]:
        start = _skip(data, start, depth + 1)
    return start + 2


def _octets(data: bytes, at: int) -> bytes:
    tag, start, size = _head(data, at)
    if tag == _OCTETS:
        return _value(data, at, _OCTETS)[1]
    if tag != _OCTETS_IN_PIECES:
        raise _DamagedError
    end = len(data) if size is None else start + size
    pieces: list[bytes] = []
    while start < end and len(pieces) < _MOST_PIECES:
        if size is None and not (data[start] or data[start + 1]):
            break
        start, piece = _value(data, start, _OCTETS)
        pieces.append(piece)
    return b"".join(pieces)
