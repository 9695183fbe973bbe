"""Canonical forms of a mail, as signatures are made over them (RFC 6376 section 3.4). Pure."""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

_BLANKS: Final = re.compile(rb"[ \t]+")
_EMPTY: Final = b"\r\n" * 4096


class BodyHash:
    """SHA-256 of a body, simple or relaxed, fed in chunks with CRLF line ends. Holds one line at most, and counts."""

    __slots__ = ("_any", "_empty", "_hash", "_left", "_relaxed")

    def __init__(self, *, relaxed: bool) -> None:
        self._relaxed = relaxed
        self._hash = sha256()
        self._left: list[bytes] = []
        self._empty = 0
        self._any = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes. Time linear in all that was fed."""
        if not chunk:
            return
        if b"\n" not in chunk:
            self._left.append(chunk)
            return
        data = b"".join((*self._left, chunk))
        cut = data.rfind(b"\r\n") + 2
        if cut < 2:
            self._left = [data]
            return
        self._left = [data[cut:]] if cut < len(data) else []
        self._lines(data[:cut])

    def _lines(self, lines: bytes) -> None:
        if self._relaxed:
            # In this order: each step is linear, whatever a stranger's text holds.
            lines = _BLANKS.sub(b" ", lines).replace(b" \r\n", b"\r\n")
        end = len(lines)
        while lines.endswith(_EMPTY, 0, end):
            end -= len(_EMPTY)
        while lines.endswith(b"\r\n", 0, end):
            end -= 2
        if not end:
            self._empty += len(lines) // 2
            return
        self._flush()
        self._any = True
        self._hash.update(lines[:end])
        self._hash.update(b"\r\n")
        self._empty = (len(lines) - end) // 2 - 1

    def _flush(self) -> None:
        """Empty lines that turned out not to be at the end."""
        whole, rest = divmod(self._empty, len(_EMPTY) // 2)
        for _ in range(whole):
            self._hash.update(_EMPTY)
        self._hash.update(b"\r\n" * rest)

    def digest(self) -> bytes:
        """The hash of all of it: empty lines at its end do not count. Call it once."""
        if self._left:
            data, self._left = b"".join(self._left), []
            self._lines(data + b"\r\n")
        if not self._any and not self._relaxed:
            self._hash.update(b"\r\n")
        return self._hash.digest()


def field_name(field: bytes) -> str:
    """A header field's name in lower case."""
    return field.partition(b":")[0].strip().lower().decode("latin-1")


def canonical_field(field: bytes, *, relaxed: bool) -> bytes:
    """One raw header field, which ends with CRLF, in canonical form."""
    if not relaxed:
        return field
    name, _, value = field.partition(b":")
    value = _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t")
    return name.strip().lower() + b":" + value + b"\r\n"


_SIGNED: Final = re.compile(rb"((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")


def signed_bytes(fields: Sequence[bytes], names: Iterable[str], own: bytes, *, relaxed: bool) -> bytes:
    """What the signature `own` (a raw field) signs: the named fields, from the last of each, and itself without b=."""
    left: dict[str, list[bytes]] = {}
    for field in fields:
        left.setdefault(field_name(field), []).append(field)
    pieces = [canonical_field(left[name].pop(), relaxed=relaxed) for name in names if left.get(name)]
    pieces.append(unsigned(own, relaxed=relaxed))
    return b"".join(pieces)


def unsigned(own: bytes, *, relaxed: bool) -> bytes:
    """A signature field in canonical form with an empty b=, without the CRLF at its end."""
    name, colon, value = own.partition(b":")
    bare = name + colon + _SIGNED.sub(rb"\1", value, count=1)
    if own.endswith(b"\r\n") and not bare.endswith(b"\r\n"):
        bare += b"\r\n"
    return canonical_field(bare, relaxed=relaxed).removesuffix(b"\r\n")
