"""Text of networks that do not all speak UTF-8."""

from typing import Final

_ASCII: Final = bytes(range(0x20, 0x7F))
_LIKELY_CUT: Final = 300
"""Bytes from which a broken last character means that a server cut the line, rather than an old encoding."""


class Decoder:
    """Bytes to text: UTF-8 when it is that, else the network's fallback encoding. Never raises on data.

    A multi-byte character that a server cut off at the end of a line is trimmed, so that the rest stays UTF-8. With
    `utf8_only` (ISUPPORT UTF8ONLY) the fallback is not used. Holds no state; share one per network.
    """

    __slots__ = ("_fallback", "_utf8_only")

    def __init__(self, fallback: str = "cp1252", *, utf8_only: bool = False) -> None:
        """Raises ValueError for an encoding that is unknown or does not contain ASCII (UTF-7, UTF-16, EBCDIC)."""
        try:
            known = _ASCII.decode(fallback) == _ASCII.decode("ascii")
        except (LookupError, UnicodeError):
            known = False
        if not known:
            raise ValueError(f"{fallback!r} is not an encoding that contains ASCII")
        self._fallback = fallback
        self._utf8_only = utf8_only

    def __call__(self, data: bytes) -> str:
        """The text of one parameter."""
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            whole = data[: error.start]
            if error.end == len(data) and error.reason == "unexpected end of data" and self._cut(whole):
                return whole.decode()
        if self._utf8_only:
            return data.decode("utf-8", "replace")
        text = data.decode(self._fallback, "replace")
        # Stateful encodings may yield controls from bytes that were none.
        return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")

    def _cut(self, whole: bytes) -> bool:
        """Whether an unfinished character behind `whole`, which is UTF-8, was cut rather than meant otherwise."""
        return self._utf8_only or not whole.isascii() or len(whole) >= _LIKELY_CUT
