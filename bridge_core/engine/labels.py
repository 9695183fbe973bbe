"""Names and topics as networks give them, made fit for an event: strangers choose them. Pure."""

import re
from typing import Final

NAME: Final = 255
"""Characters of a name: more does no client show."""
TOPIC: Final = 8_192
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060\u2066-\u206f\ufeff\ufff9-\uffff]"
)
"""Control characters, and those that turn the direction of what follows."""


def label(text: str, limit: int) -> str:
    """A text of one line, without what cannot be seen, of at most `limit` characters."""
    # Far longer than needed is cut first, so that nobody can make the rest slow.
    cleaned = " ".join(_UNPRINTABLE.sub("", text[: 4 * limit]).split())
    return cleaned if len(cleaned) <= limit else f"{cleaned[: limit - 1]}\u2026"


def lines(text: str, limit: int) -> str:
    """As `label`, with its line ends."""
    cleaned = _UNPRINTABLE.sub("", text[: 4 * limit].replace("\r\n", "\n")).strip()
    return cleaned if len(cleaned) <= limit else f"{cleaned[: limit - 1]}\u2026"
