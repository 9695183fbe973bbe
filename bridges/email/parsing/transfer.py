"""Transfer encodings undone (RFC 2045, 6; uuencode of POSIX), with whatever junk is between."""

import binascii
import re
from typing import Final

_TOKEN = re.compile(r"[a-z0-9-]+")
_NO_BASE64: Final = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_PADDING = re.compile(b"=+")
_MOST_PIECES: Final = 1000
_UU_BEGIN = re.compile(r"^begin[ \t]+[0-7]{3,4}[ \t]+([^\r\n]{1,200}?)[ \t]*\r?$", re.MULTILINE)
_UU_END = re.compile(r"^end[ \t]*\r?$", re.MULTILINE)


def encoding_of(text: str) -> str:
    """The name of an encoding out of a Content-Transfer-Encoding header."""
    found = _TOKEN.search(text.lower())
    return found[0] if found is not None else ""


def decode(data: bytes, encoding: str) -> bytes:
    """The bytes that were encoded; as they are where the encoding is none that is known. Never raises; linear."""
    if encoding in ("base64", "b", "base-64"):
        return decode_base64(data)
    if encoding in ("quoted-printable", "q", "qp", "quotedprintable"):
        return binascii.a2b_qp(data)
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        text = data.decode("latin-1")
        begin = _UU_BEGIN.search(text)
        return decode_uu(text[begin.end() :] if begin is not None else text)
    return data


def decode_base64(data: bytes) -> bytes:
    """Base64 with junk passed over, missing padding, and padding in the middle (mailers that join texts)."""
    letters = data.translate(None, _NO_BASE64).rstrip(b"=")
    if b"=" not in letters:
        return _whole(letters)
    pieces = _PADDING.split(letters, maxsplit=_MOST_PIECES)[: _MOST_PIECES + 1]
    return b"".join(_whole(piece.replace(b"=", b"")) for piece in pieces)


def _whole(letters: bytes) -> bytes:
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def decode_uu(text: str) -> bytes:
    """The lines of a uuencoded file up to its end; lines that are damaged are passed over."""
    found = []
    for line in text.lstrip("\r\n").split("\n"):
        line = line.rstrip("\r")
        if line.strip() == "end":
            break
        try:
            found.append(binascii.a2b_uu(line.encode("latin-1", "replace")))
        except binascii.Error:
            continue
    return b"".join(found)


def without_uu(text: str, most: int = 20) -> tuple[str, list[tuple[str, bytes]]]:
    """The text without the uuencoded files in it, and these: name and bytes. An end must follow each beginning."""
    kept: list[str] = []
    files: list[tuple[str, bytes]] = []
    at = 0
    for begin in _UU_BEGIN.finditer(text):
        if begin.start() < at or len(files) >= most:
            continue
        end = _UU_END.search(text, begin.end())
        if end is None:
            break
        data = decode_uu(text[begin.end() : end.start()])
        if not data:
            continue
        kept.append(text[at : begin.start()])
        files.append((begin[1], data))
        at = end.end()
    kept.append(text[at:])
    return "".join(kept), files
