"""Masks: how users are named in rules, one by one, by server, or by pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from bridge_core.config.globs import Glob, is_everything, is_glob
from bridge_core.config.types import Words

_SERVER = r"([A-Za-z0-9.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?"
_SERVERS = r"([A-Za-z0-9.*?-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?"
_EXACT = re.compile(rf"\*|local|{_SERVER}|@[^:\s\x00*?]{{1,255}}:{_SERVER}")
_MASK = re.compile(rf"\*|local|{_SERVERS}|@[^:\s\x00]{{1,255}}:{_SERVERS}")
_USER = re.compile(rf"@[^:\s\x00]{{1,255}}:(?P<server>{_SERVER})")


def _exact(value: str) -> str:
    if not _EXACT.fullmatch(value):
        raise ValueError(f"{value!r} names no user and no server")
    return value


def check_mask(value: str) -> str:
    """The mask itself. Raises ValueError in words when it names no user and no server."""
    if not _MASK.fullmatch(value):
        raise ValueError(f"{value!r} names no user and no server")
    if is_glob(value):
        Glob.parse(value)
    return value


ExactMask = Annotated[str, AfterValidator(_exact), Words("*, local, a server name, or @user:server")]
Mask = Annotated[
    str,
    AfterValidator(check_mask),
    Words("*, local, a server name, or @user:server, with * and ? as wildcards in both"),
]


def names_everybody(mask: str) -> bool:
    """Whether a mask names all users there are."""
    return is_everything(mask)


class Masks:
    """Masks made ready: which of them name a user. `domain` is the homeserver's, which `local` stands for."""

    def __init__(self, masks: Mapping[str, object] | tuple[str, ...], domain: str) -> None:
        self._domain = domain
        self._exact = {mask: _rank(mask) for mask in masks if not is_glob(mask)}
        self._globs = [(mask, _rank(mask), Glob.parse(_short(mask))) for mask in masks if is_glob(mask)]

    def naming(self, user_id: str) -> list[tuple[tuple[int, int], str]]:
        """The masks that name a user, the closest first, each with its rank. None for what is no user id."""
        parsed = _USER.fullmatch(user_id)
        if parsed is None:
            return []
        server = parsed["server"]
        exact = [user_id, server, *(["local"] if server == self._domain else [])]
        found = [(self._exact[mask], mask) for mask in exact if mask in self._exact]
        found += [
            (rank, mask)
            for mask, rank, glob in self._globs
            if glob.matches(user_id if glob.text.startswith("@") else server)
        ]
        return sorted(found, reverse=True)


def _rank(mask: str) -> tuple[int, int]:
    """How closely a mask names a user: everybody, many servers, one server, many users, one user."""
    short = _short(mask)
    if not is_glob(short):
        return (5, 0) if short.startswith("@") else (3, int(short != "local"))
    if names_everybody(short):
        return (1, 0)
    return (4 if short.startswith("@") else 2, Glob.parse(short).literals)


def _short(mask: str) -> str:
    """All users of some servers are those servers: `@*:example.org` is `example.org`."""
    return mask.removeprefix("@*:") if mask.startswith("@*:") else mask
