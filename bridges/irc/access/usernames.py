"""User names (ident) of our users: one for each, and theirs for good."""

import asyncio
import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from bridge_core.api.host import KV
from bridge_core.api.ids import UserId
from bridges.irc.nicks import fill

LONGEST: Final = 9
"""Servers cut at ten and put a `~` in front of names that no ident server vouches for."""
_OF: Final = "username/of/"
_IS: Final = "username/is/"
_UNFIT: Final = re.compile(r"[^a-z0-9]+")
_VALID: Final = re.compile(rb"[a-z][a-z0-9]{0,8}")
_COUNTED: Final = 20
_DIGESTS: Final = 100


class Usernames:
    """Which user name each Matrix user has. A name is given once, so that a ban of it meets one person only."""

    def __init__(self, kv: KV, template: str, reserved: str) -> None:
        self._kv = kv
        self._template = template
        self._reserved = reserved.lower()
        self._giving = asyncio.Lock()

    async def name(self, user: UserId, display: str) -> str:
        """A user's name: at most nine small letters and digits. The same at every call. Raises errors of the store."""
        found = await self._kv.get(_OF + user)
        if found is None or not _VALID.fullmatch(found):
            async with self._giving:
                found = await self._give(user, display)
        return found.decode()

    async def known(self, user: UserId) -> str | None:
        """A user's name, if they have one already."""
        found = await self._kv.get(_OF + user)
        return found.decode() if found is not None and _VALID.fullmatch(found) else None

    async def _give(self, user: UserId, display: str) -> bytes:
        for candidate in candidates(fill(self._template, user, display), user):
            if candidate == self._reserved:
                continue
            holder = await self._kv.get(_IS + candidate)
            if holder is None or holder == user.encode():
                # The name is taken first: after a crash between the writes it is still this user's.
                await self._kv.put(_IS + candidate, user.encode())
                await self._kv.put(_OF + user, candidate.encode())
                return candidate.encode()
        raise LookupError("no user name is left")  # 100 digests of 40 bits: not before the sun is cold


def candidates(text: str, user: UserId) -> Iterator[str]:
    """Names to try for a user, the plain one first, then with a number, then from digests of the Matrix id."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    base = _UNFIT.sub("", folded).lstrip("0123456789")[:LONGEST] or "matrix"
    yield base
    for number in range(2, _COUNTED):
        suffix = str(number)
        yield base[: LONGEST - len(suffix)] + suffix
    for number in range(_DIGESTS):
        digest = base64.b32encode(hashlib.sha256(f"{number} {user}".encode()).digest()[:5]).decode().lower()
        yield "m" + digest
