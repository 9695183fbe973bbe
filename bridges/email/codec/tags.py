"""Lists of tags, `name=value; ...`: of DKIM signatures and keys, of DMARC, ARC and MTA-STS (RFC 6376 section 3.2)."""

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SPACE: Final = re.compile(r"[ \t\r\n]+")
MOST: Final = 64
"""Tags of one list."""


def parse_tags(text: str) -> dict[str, str]:
    """Tags in order, names as they are written, values without space around them. Raises ValueError in words."""
    found: dict[str, str] = {}
    pieces = text.split(";", MOST + 1)
    if len(pieces) > MOST:
        raise ValueError("it has too many tags")
    if not pieces[-1].strip():
        pieces.pop()
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            raise ValueError("it is no list of tags")
        if name in found:
            raise ValueError(f"its tag {name} is there twice")
        found[name] = value.strip()
    return found


def lenient_tags(text: str) -> dict[str, str]:
    """As `parse_tags` for records whose readers pass over what is malformed: the first of each name, lower case."""
    found: dict[str, str] = {}
    for piece in text.split(";", MOST)[:MOST]:
        name, equals, value = piece.partition("=")
        name = name.strip().lower()
        if equals and _NAME.fullmatch(name):
            found.setdefault(name, value.strip())
    return found


def packed(value: str) -> str:
    """A value without any white space: Base64 and lists may be folded anywhere."""
    return _SPACE.sub("", value)
