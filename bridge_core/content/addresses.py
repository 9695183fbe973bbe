"""Addresses in text: which links are let through, and which of them name a Matrix user or room."""

import re
from typing import Final
from urllib.parse import quote, unquote

from bridge_core.api.ids import UserId

LINK_SCHEMES: Final = frozenset({"https", "http", "ftp", "mailto", "magnet", "matrix"})
"""What a link may begin with: the specification's list for `a`, and `matrix`."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MATRIX_TO = re.compile(r"https?://matrix\.to/#/([^/?]+)/?(?:\?|$)", re.IGNORECASE)
_MATRIX_URI = re.compile(r"matrix:(u|user|r|room|roomid)/([^/?#]+)/?(?:[?#]|$)", re.IGNORECASE)
_SIGILS = {"u": "@", "user": "@", "r": "#", "room": "#", "roomid": "!"}
_USER = re.compile(r"@[^\s\x00-\x1f:]*:[^\s\x00-\x1f]+")
_ROOM = re.compile(r"(?:#[^\s\x00-\x1f:]+:[^\s\x00-\x1f]+|![^\s\x00-\x1f]+)")
_EVENT = re.compile(r"\$[^\s\x00-\x1f]+")
_MXC = re.compile(r"mxc://[A-Za-z0-9.\-:\[\]]+/[A-Za-z0-9_\-]+")
_LONGEST_ID = 255  # bytes; specification, appendices, "Common Identifier Format"


def safe_link(url: str) -> str | None:
    """The URL as it may be linked to, or None: a scheme of `LINK_SCHEMES`, nothing that browsers would skip over.

    Control characters and white space are refused (within) or dropped (around); so `java\\nscript:` cannot pass.
    """
    url = url.strip(" \t\n\r\f")
    found = _SCHEME.match(url)
    if found is None or found[1].lower() not in LINK_SCHEMES or _UNPRINTABLE.search(url):
        return None
    return url


def target_of(url: str) -> str | None:
    """The user id, room alias or room id that a matrix.to or `matrix:` address names, or None.

    Links to single events are None: they stay links. Source: specification, appendices, "Identifying users and
    rooms", and the `matrix:` URI scheme.
    """
    if (found := _MATRIX_TO.match(url)) is not None:
        target = unquote(found[1])
    elif (found := _MATRIX_URI.match(url)) is not None:
        target = _SIGILS[found[1].lower()] + unquote(found[2])
    else:
        return None
    return target if is_user(target) or is_room(target) else None


def pill(target: str) -> str:
    """The matrix.to address of a user id, room alias or room id."""
    return "https://matrix.to/#/" + quote(target, safe="@:!")


def is_user(text: object) -> bool:
    """Whether this is a user id. Historical ids are let through: any local part without white space or colon."""
    return _is(_USER, text)


def is_room(text: object) -> bool:
    """Whether this is a room alias or a room id (with or without a server: room version 12 has none)."""
    return _is(_ROOM, text)


def is_event(text: object) -> bool:
    """Whether this is an event id."""
    return _is(_EVENT, text)


def is_mxc(text: object) -> bool:
    """Whether this is a content address, `mxc://server/id`, with nothing in it that could leave its path."""
    return _is(_MXC, text)


def user_ids(values: object) -> tuple[UserId, ...]:
    """The user ids in a list from outside, each once, in order. Anything else in it is passed over."""
    if not isinstance(values, list | tuple):
        return ()
    return tuple(dict.fromkeys(UserId(value) for value in values if is_user(value)))


def _is(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and len(text) <= _LONGEST_ID and pattern.fullmatch(text) is not None
