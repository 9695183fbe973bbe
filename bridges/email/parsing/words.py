"""Encoded words (RFC 2047) as they are met: in the wrong places, cut in the middle of a letter, with spaces in them."""

import binascii
import re

from bridges.email.parsing.charsets import word_text

WORD = re.compile(r"=\?([^?\s]{1,64})\?([BbQq])\?([^?]*+)\?=")
_BETWEEN = re.compile(r"[ \t\r\n]*")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def decode_words(text: str) -> str:
    """The text with its encoded words decoded; what is none stays as it is. Never raises, linear.

    White space between two encoded words is left out, and neighbours of one charset are decoded as one: mailers cut
    letters of several bytes.
    """
    if "=?" not in text:
        return text
    found: list[str] = []
    pending, label, at = bytearray(), "", 0
    for word in WORD.finditer(text):
        gap = text[at : word.start()]
        charset = word[1].partition("*")[0].lower()
        adjoins = label and _BETWEEN.fullmatch(gap)
        if label and not (adjoins and charset == label):
            found.append(word_text(bytes(pending), label))
            pending.clear()
        if not adjoins:
            found.append(gap)
        pending += _base64(word[3]) if word[2] in "Bb" else _quoted(word[3])
        label, at = charset, word.end()
    if label:
        found.append(word_text(bytes(pending), label))
    found.append(text[at:])
    return "".join(found)


def _quoted(text: str) -> bytes:
    return binascii.a2b_qp(text.replace("_", " ").encode("utf-8", "replace"), header=False)


def _base64(text: str) -> bytes:
    letters = _NO_BASE64.sub("", text)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + "=" * (-len(letters) % 4))
