"""Names and topics as networks give them, made fit for an event: strangers choose them. Pure."""

import re
from typing import Final

NAME: Final = 255
"""Characters of a name: more does no client show."""
TOPIC: Final = 8_192
"""Characters of a topic; at most twice as many bytes, since homeservers put it twice into an event of 64 KiB."""
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060\u2066-\u206f\ufeff\ufff9-\uffff]"
)
"""Control characters, and those that turn the direction of what follows."""


def label(text: str, limit: int) -> str:
    """A text of one line, without what cannot be seen, of at most `limit` characters."""
    # Far longer than needed is cut first, so that nobody can make the rest slow.
    return _cut(" ".join(_UNPRINTABLE.sub("", text[: 4 * limit]).split()), limit)


def lines(text: str, limit: int) -> str:
    """As `label`, with its line ends, and of at most twice as many bytes."""
    cleaned = _cut(_UNPRINTABLE.sub("", text[: 4 * limit].replace("\r\n", "\n")).strip(), limit)
    data = cleaned.encode("utf-8", "replace")
    return cleaned if len(data) <= 2 * limit else f"{data[: 2 * limit - 3].decode('utf-8', 'ignore')}\u2026"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}\u2026"
