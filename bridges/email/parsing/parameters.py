"""Values with parameters: Content-Type, Content-Disposition (RFC 2045, 2183, 2231), as tolerant as they are met."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from bridges.email.parsing.charsets import codec_of, word_text
from bridges.email.parsing.words import decode_words

_VALUE = re.compile(r"[^;]*+")
_PARAMETER = re.compile(
    r"[;\s]*+([^=;\s\"]{1,100})[ \t]*+(?:=[ \t]*+(?:\"((?:[^\"\\]|\\.)*+)\"?+|([^;]*+)))?+[^;]*+", re.DOTALL
)
_ESCAPED = re.compile(r"\\([\\\"])")
_PIECE = re.compile(r"([^*]+)(?:\*([0-9]{1,3}))?(\*)?")
_MOST: Final = 100


def parse_value(text: str) -> tuple[str, dict[str, str]]:
    """The value in lower case and its parameters by lower-case name. Of two of one name the first counts.

    Reads RFC 2231 (charsets, continuations), encoded words where they do not belong, quotes that do not end, file
    names with back slashes. Never raises; linear.
    """
    head = _VALUE.match(text)
    assert head is not None
    value = head[0].partition("(")[0].strip().strip('"').lower()
    simple: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    at = head.end()
    for _ in range(_MOST):
        found = _PARAMETER.match(text, at)
        if found is None or found.end() == at:
            break
        at = found.end()
        quoted, bare = found[2], found[3]
        given = _ESCAPED.sub(r"\1", quoted) if quoted is not None else (bare or "").strip()
        piece = _PIECE.fullmatch(found[1].lower())
        if piece is None:
            continue
        name, number, encoded = piece.groups()
        if number is None and not encoded:
            simple.setdefault(name, decode_words(given))
        else:
            pieces.setdefault(name, {}).setdefault(int(number or 0), (encoded is not None, given))
    for name, parts in pieces.items():
        if joined := _joined(parts):
            simple[name] = joined
    return value, simple


def _joined(parts: Mapping[int, tuple[bool, str]]) -> str:
    label, data = "", bytearray()
    for place, (_, (encoded, text)) in enumerate(sorted(parts.items())):
        if not encoded:
            data += text.encode("utf-8", "replace")
            continue
        if place == 0 and text.count("'") >= 2:
            label, _, text = text.split("'", 2)
        data += unquote_to_bytes(text.encode("utf-8", "replace"))
    text = word_text(bytes(data), label if codec_of(label) else "utf-8")
    return decode_words(text)
