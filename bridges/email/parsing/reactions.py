"""Mails that are reactions: RFC 9078, and the form of Gmail."""

import json
import unicodedata
from typing import Final

from bridges.email.mail import MailReaction
from bridges.email.parsing.charsets import Decoder
from bridges.email.parsing.tree import Part

GMAIL: Final = "text/vnd.google.email-reaction+json"
_SYMBOLS: Final = frozenset({"So", "Sm", "Po", "Me", "Cn"})
_JOINERS: Final = frozenset({"Sk", "Mn", "Cf"})
_LONGEST: Final = 64
_LARGEST: Final = 4096


def reaction_of(part: Part, *, delta: bool) -> MailReaction | None:
    """The reaction that the part is, or None. With `delta` (Delta Chat) it takes the place of earlier ones."""
    if part.mime == GMAIL:
        return _gmail(part)
    if part.disposition != "reaction" or part.main != "text" or part.end - part.start > _LARGEST:
        return None
    text = Decoder(0).decode(part.body(), part.parameters.get("charset"))
    keys = text.split()
    if not keys:
        return MailReaction("", replaces=True) if delta else None
    if not all(is_emoji(key) for key in keys):
        return None
    return MailReaction(keys[0], replaces=delta)


def _gmail(part: Part) -> MailReaction | None:
    if part.end - part.start > _LARGEST:
        return None
    try:
        given = json.loads(part.body())
    except (ValueError, RecursionError):
        return None
    key = given.get("emoji") if isinstance(given, dict) else None
    if not isinstance(key, str) or given.get("version") != 1 or not is_emoji(key):
        return None
    return MailReaction(key)


def is_emoji(text: str) -> bool:
    """Whether the text may be shown as a reaction: short, and of symbols, no words."""
    if not 0 < len(text.encode("utf-8", "replace")) <= _LONGEST or text.isascii():
        return False
    kinds = [unicodedata.category(character) for character in text]
    return any(kind in _SYMBOLS for kind in kinds) and all(
        kind in _SYMBOLS or kind in _JOINERS or character in "0123456789#*"
        for kind, character in zip(kinds, text, strict=True)
    )
