"""A connection that nobody uses is closed; its user stays in every room, and the relay speaks for them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.network import Login
from bridges.irc.session import Session
from bridges.irc.standings import Standings
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_LOOK: Final = 3600.0
"""Seconds between looks: a connection that is closed is not kept in memory for longer."""


class Rest:
    """Of one login. `used_at` is when its connection was used last; `spawn` runs something that its owner awaits."""

    __slots__ = ("_login", "_spawn", "_standings", "_state", "_used_at")

    def __init__(
        self,
        state: NetworkState,
        login: Login,
        standings: Standings,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        used_at: Callable[[], float],
    ) -> None:
        self._state = state
        self._login = login
        self._standings = standings
        self._spawn = spawn
        self._used_at = used_at

    def watch(self, session: Session) -> None:
        """Closes a connection that nobody has used for `idle` seconds (0: never)."""
        idle = self._state.config.idle
        if idle <= 0 or not session.up:
            return
        left = self._used_at() + idle - self._state.running.clock.monotonic()
        if left > 0:
            asyncio.get_running_loop().call_later(min(left, _LOOK), self.watch, session)
        else:
            self._spawn(self._close(session))

    async def _close(self, session: Session) -> None:
        try:
            await self._standings.idle(self._login.id)
        except BridgeError as error:
            log.info("irc_standing_not_stored", network=self._state.network, error=str(error))
        await session.close("Idle")
