"""Bytes to text, whatever charset they are said to be in (RFC 2045, 2978; WHATWG Encoding for what labels mean).

Only codecs of a fixed list ever run: Python's own registry also holds such as `rot13` (no text), `idna` and `punycode`
(quadratic) and `unicode_escape`, and which of them runs must not be a stranger's choice.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NAMES: Final = (
    "utf-8 utf-7 utf-16 utf-16-le utf-16-be utf-32 utf-32-le utf-32-be cp1252 iso8859-2 iso8859-3 iso8859-4 iso8859-5 "
    "iso8859-6 iso8859-7 iso8859-8 iso8859-9 iso8859-10 iso8859-11 iso8859-13 iso8859-14 iso8859-15 iso8859-16 cp437 "
    "cp737 cp775 cp850 cp852 cp855 cp857 cp858 cp860 cp861 cp862 cp863 cp864 cp865 cp866 cp869 cp874 cp1125 cp1250 "
    "cp1251 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 koi8-r koi8-u koi8-t kz1048 mac-roman mac-cyrillic mac-greek "
    "mac-latin2 mac-turkish mac-iceland gb18030 hz big5 big5hkscs cp950 cp932 shift_jis shift_jisx0213 euc_jp "
    "euc_jis_2004 iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_3 iso2022_jp_ext iso2022_kr cp949 euc_kr johab "
    "tis-620 ptcp154 cp037 cp500 cp1140"
)
_ALIASES: Final[Mapping[str, str]] = {
    "ascii": "cp1252",
    "usascii": "cp1252",
    "ansix341968": "cp1252",
    "ansix341986": "cp1252",
    "ansix3110": "cp1252",
    "ansix31101983": "cp1252",
    "iso88591": "cp1252",
    "iso885911987": "cp1252",
    "latin1": "cp1252",
    "l1": "cp1252",
    "8859": "cp1252",
    "88591": "cp1252",
    "windows1252": "cp1252",
    "xcp1252": "cp1252",
    "ansi": "cp1252",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "latin9": "iso8859-15",
    "iso885911": "cp874",
    "iso88598i": "iso8859-8",
    "iso88598e": "iso8859-8",
    "iso88596i": "iso8859-6",
    "iso88599": "cp1254",
    "utf8": "utf-8",
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8bom": "utf-8",
    "utf8sig": "utf-8",
    "unicode11utf8": "utf-8",
    "unicode": "utf-16",
    "ucs2": "utf-16",
    "utf16": "utf-16",
    "utf16le": "utf-16-le",
    "utf16be": "utf-16-be",
    "unicode11utf7": "utf-7",
    "utf7": "utf-7",
    "csunicode11utf7": "utf-7",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "xgbk": "gb18030",
    "cp936": "gb18030",
    "windows936": "gb18030",
    "euccn": "gb18030",
    "gb231280": "gb18030",
    "hzgb2312": "hz",
    "ksc56011987": "cp949",
    "ksc5601": "cp949",
    "ksc56011989": "cp949",
    "euckr": "cp949",
    "windows949": "cp949",
    "uhc": "cp949",
    "sjis": "cp932",
    "xsjis": "cp932",
    "shiftjis": "cp932",
    "xshiftjis": "cp932",
    "mskanji": "cp932",
    "windows31j": "cp932",
    "eucjp": "euc_jp",
    "xeucjp": "euc_jp",
    "iso2022jp": "iso2022_jp_ext",
    "csiso2022jp": "iso2022_jp_ext",
    "xbig5": "big5hkscs",
    "big5": "big5hkscs",
    "cnbig5": "big5hkscs",
    "macintosh": "mac-roman",
    "xmacroman": "mac-roman",
    "xmaccyrillic": "mac-cyrillic",
    "koi8": "koi8-r",
    "koi8ru": "koi8-u",
    "xkoi8r": "koi8-r",
    "tis620": "cp874",
    "windows874": "cp874",
    "cskoi8r": "koi8-r",
    "ibm1047": "cp500",
}
_BY_LETTERS: Final[Mapping[str, str]] = {re.sub(r"[^a-z0-9]", "", codec): codec for codec in _NAMES.split()} | dict(
    _ALIASES
)
_NOISE = re.compile(r"[^a-z0-9]")
_NUMBERED = re.compile(r"(?:windows|xwindows|xcp|ibm|dos|cp)([0-9]{3,5})")
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_ESCAPES = re.compile(rb"\x1b(?:\$[@BA]|\([BJI])")
_SAMPLE: Final = 1024
_FEW: Final = 2


def codec_of(label: str | None) -> str | None:
    """The codec that a charset label means, None for a label that means none of ours."""
    if not label:
        return None
    letters = _NOISE.sub("", label[:64].casefold().partition(";")[0].strip("\"' "))
    if (found := _BY_LETTERS.get(letters)) is not None:
        return found
    if (numbered := _NUMBERED.fullmatch(letters)) is not None:
        return _BY_LETTERS.get(f"cp{numbered[1]}")
    if letters.startswith("iso8859"):
        return _BY_LETTERS.get(f"iso8859{letters[7:].lstrip('0')}")
    return None


@dataclass(slots=True)
class Decoder:
    """Decodes the texts of one mail. `guesses` is how often the costly guess may still be made (about 50 ms each)."""

    guesses: int = _FEW

    def decode(self, data: bytes, label: str | None = None) -> str:
        """The text: as declared, else as UTF-8, else as guessed, else with U+FFFD for what cannot be read.

        Always valid Unicode without surrogates. Never raises.
        """
        for bom, codec in _BOMS:
            if data.startswith(bom):
                return _loose(data[len(bom) :], codec)
        declared = codec_of(label)
        if declared not in (None, "cp1252", "utf-8") and (text := _strict(data, declared)) is not None:
            return text
        if (text := _strict(data, "utf-8")) is not None:
            if "\x1b" in text and _ESCAPES.search(data) and (japanese := _strict(data, "iso2022_jp_ext")) is not None:
                return japanese
            return text
        if declared == "cp1252":
            return _loose(data, declared)
        loose = _loose(data, "utf-8")
        broken = loose.count("\ufffd")
        if declared == "utf-8" and broken * 4 <= sum(character > "\x7f" for character in loose[:100_000]):
            return loose
        if declared not in (None, "utf-8"):
            assert declared is not None
            guess = _loose(data, declared)
            if guess.count("\ufffd") * 20 <= len(guess):
                return guess
        return self._guessed(data)

    def _guessed(self, data: bytes) -> str:
        if self.guesses <= 0:
            return _loose(data, "cp1252")
        self.guesses -= 1
        from charset_normalizer import from_bytes  # most mails never need it, and it takes 40 ms

        best = from_bytes(
            data[:_SAMPLE], cp_isolation=list(_GUESSED), threshold=0.15, preemptive_behaviour=False
        ).best()
        codec = codec_of(best.encoding) if best is not None else None
        return _loose(data, codec or "cp1252")


_GUESSED: Final = (
    "cp1252",
    "cp1250",
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1255",
    "cp1256",
    "cp932",
    "gb18030",
    "cp949",
    "big5",
)


def header_text(data: bytes) -> str:
    """Raw bytes of a header: UTF-8 (RFC 6532), else windows-1252. Never raises."""
    return data.decode("ascii") if data.isascii() else Decoder(0).decode(data, "us-ascii")


def word_text(data: bytes, label: str) -> str:
    """The text of an encoded word, or of an encoded parameter."""
    return Decoder(0).decode(data, label)


def _strict(data: bytes, codec: str | None) -> str | None:
    if codec is None:
        return None
    try:
        return _sound(data.decode(codec))
    except (UnicodeError, ValueError):
        return None


def _loose(data: bytes, codec: str) -> str:
    try:
        return _sound(data.decode(codec, "replace"))
    except (UnicodeError, ValueError):
        # Stateful codecs may raise in spite of "replace".
        return _sound(data.decode("utf-8", "replace"))


def _sound(text: str) -> str:
    """Text without lone surrogates (UTF-7 and UTF-16 can hold them), composed."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))
