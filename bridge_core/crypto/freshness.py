"""Whether the database is the newest copy of itself: if not, no session in it may be spoken in any more.

The homeserver keeps a number in the bot's account data, which grows with each start and, while something is encrypted,
every ten minutes. Where it has a higher one than the database, another copy of the database has spoken since this one
was made: a backup, a snapshot of the whole machine, or a clone that runs. Source: client-server API, "Client Config".
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, TransientError
from bridge_core.api.host import Clock
from bridge_core.crypto.ports import CryptoStore, KeyServer, Owner, SecretRow
from bridge_core.engine.matrix_ports import MatrixRejectedError

__all__ = ["NUMBER", "Freshness"]

NUMBER: Final = "dev.matrix_bridge.number"
"""Type of the bot's account data."""
_NUMBER: Final = "number"
_RESTORED: Final = "restored"
_EVERY: Final = 600_000
"""Milliseconds. A copy that is put back within this time, without a start in between, may be taken for a crash."""
_EXPLAINS: Final = 30 * 24 * 3_600_000
_MOST: Final = 2**52
_NOT_SUPPORTED: Final = "M_UNRECOGNIZED"

_log = structlog.get_logger(__name__)


class Freshness:
    """Asked before anything is encrypted. `told` gets the time in ms until which sessions count as used (-1: none)."""

    def __init__(
        self, store: CryptoStore, server: KeyServer, bot: Owner, clock: Clock, told: Callable[[int], None]
    ) -> None:
        self._store = store
        self._server = server
        self._bot = bot
        self._clock = clock
        self._told = told
        self._number = 0
        self._restored_at = -1
        self._asked_at = -_EVERY
        self._lock = asyncio.Lock()
        self._failures = 0
        self._failure = ""

    async def start(self, *, restored: bool) -> None:
        """Read what is known. `restored`: the database is known to be an older copy. Raises as CryptoStore."""
        self._number = int(await self._store.secret(_NUMBER) or b"0")
        if restored:
            await self.restored()
        else:
            self._restored_at = int(await self._store.secret(_RESTORED) or b"-1")
            self._told(self._restored_at)

    async def doubted(self) -> None:
        """As `restored`, for signs that come late and for each account: what was noted within a month explains them."""
        if self._restored_at < 0 or self._clock.now_ms() - self._restored_at > _EXPLAINS:
            _log.error("database_is_an_older_copy", number=self._number)
            await self.restored()

    async def restored(self) -> None:
        """All sessions until now may have been used further than the database knows. Raises as CryptoStore."""
        before = self._clock.now_ms() - 1  # what is made from now on is new
        await self._store.commit([SecretRow(_RESTORED, b"%d" % before)])
        self._restored_at = before
        self._told(before)

    async def ready(self) -> None:
        """Return when it is known how far sessions were used. Raises TransientError, also where that cannot be known.

        Costs nothing but for two requests every ten minutes.
        """
        if self._is_known():
            return
        failures = self._failures
        async with self._lock:
            if self._is_known():
                return
            if failures != self._failures:
                raise TransientError(self._failure)  # who has waited for another's question waits for no second one
            try:
                await self._compared()
            except BridgeError as error:
                self._failures += 1
                self._failure = f"the homeserver does not say whether the database is the newest: {error}"
                raise TransientError(self._failure) from error

    def _is_known(self) -> bool:
        return 0 <= self._clock.now_ms() - self._asked_at < _EVERY

    async def _compared(self) -> None:
        now = self._clock.now_ms()
        try:
            theirs = _number(await self._server.account_data(self._bot, NUMBER))
            if theirs > self._number:
                await self._older(theirs)
            # Stored first: the homeserver never has a higher number than the copy that speaks.
            number = max(theirs, self._number) + 1
            await self._store.commit([SecretRow(_NUMBER, b"%d" % number)])
            self._number = number
            await self._server.put_account_data(self._bot, NUMBER, {"number": number})
        except MatrixRejectedError as error:
            if error.errcode != _NOT_SUPPORTED:
                raise
            _log.warning("database_age_not_known", error=str(error))
        self._asked_at = now

    async def _older(self, theirs: int) -> None:
        # A new database has nothing that could be used twice; other one-time keys under its ids are no further sign.
        if await self._store.owners():
            _log.error("database_is_an_older_copy", number=self._number, number_of_homeserver=theirs)
        await self.restored()


def _number(content: Mapping[str, Any] | None) -> int:
    found = content.get("number") if content is not None else None
    return found if type(found) is int and 0 <= found < _MOST else 0
