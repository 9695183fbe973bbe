"""Which users the bridge's own homeserver has: asked of it, remembered for a while, and never asked too much."""

import asyncio
import re
from collections import OrderedDict
from typing import Final

from bridge_core.api.errors import TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names

_MOST: Final = 10_000
_THERE: Final = 3600.0
"""Seconds for which a user who is there is remembered."""
_ABSENT: Final = 300.0
"""The same for one who is not: they may be made meanwhile."""
_RATE: Final = (5.0, 50.0)
"""Questions a second, and how many at once after a pause: strangers choose the names."""
_PATIENCE: Final = 20.0
_LOCALPART: Final = re.compile(r"[a-z0-9._=/+-]{1,200}")


class LocalUsers:
    """One for all networks."""

    def __init__(self, matrix: MatrixSide, names: Names, clock: Clock) -> None:
        self._matrix = matrix
        self._names = names
        self._clock = clock
        self._known: OrderedDict[UserId, tuple[bool, float]] = OrderedDict()
        self._left = _RATE[1]
        self._at = clock.monotonic()

    @property
    def server(self) -> str:
        """The homeserver's name."""
        return self._names.server

    async def find(self, localpart: str) -> UserId | None:
        """As `Host.local_user`."""
        user = UserId(f"@{localpart}:{self._names.server}")
        if not _LOCALPART.fullmatch(localpart) or self._names.is_ours(user):
            return None
        known = self._known.get(user)
        if known is not None and known[1] > self._clock.monotonic():
            return user if known[0] else None
        self._spend()
        try:
            async with asyncio.timeout(_PATIENCE):
                there = await self._matrix.exists(user)
        except TimeoutError as error:
            raise TransientError("the homeserver does not say whether there is such a user") from error
        self._known[user] = there, self._clock.monotonic() + (_THERE if there else _ABSENT)
        self._known.move_to_end(user)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return user if there else None

    def _spend(self) -> None:
        """Raises TransientError where too much was asked lately: nobody waits in a line that strangers make longer."""
        now = self._clock.monotonic()
        self._left = min(_RATE[1], self._left + (now - self._at) * _RATE[0])
        self._at = now
        if self._left < 1:
            raise TransientError("the homeserver was asked for too many users")
        self._left -= 1
