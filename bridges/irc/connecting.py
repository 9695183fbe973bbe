"""How one Matrix user's connection comes to be, ends, and comes to be again."""

import asyncio
import random
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from bridge_core.api.network import Login, LoginStatus
from bridges.irc.access.approach import Approach
from bridges.irc.amends import Amends
from bridges.irc.endings import UNWANTED, Cause, Ending, RefusedError
from bridges.irc.schedule import Turn, Urgency
from bridges.irc.scheduler import Scheduler
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_STEADY: Final = 60.0
"""Seconds of connection after which the next loss counts as a first one."""
_AGAIN: Final = frozenset((Cause.LOST, Cause.THROTTLED, Cause.FULL, Cause.SERVER_FULL))
"""What passes by itself: who was active lately is connected again."""


class Connecting(Amends):
    """The part of a puppet that gets it a connection; each is made when the scheduler says so."""

    def __init__(self, state: NetworkState, login: Login, scheduler: Scheduler) -> None:
        super().__init__(state)
        self._login = login
        self._scheduler = scheduler
        self._turn: Turn | None = None
        self._session: Session | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._used_at = 0.0
        self._opened_at = 0.0
        self._stopped = False

    @abstractmethod
    def _make(self, approach: Approach) -> Session:
        """A session that is not open yet."""

    @abstractmethod
    def _opened(self, session: Session) -> None:
        """The session is registered."""

    @abstractmethod
    def _report(self, status: LoginStatus, reason: str = "") -> None:
        """Tells the core."""

    @abstractmethod
    def _spawn(self, chore: Coroutine[Any, Any, None]) -> None:
        """Runs something short."""

    def _address(self) -> str:
        """What stands for the address that this user's connection comes from; empty for the one that all share."""
        return self._login.user if self._state.config.addresses is not None else ""

    def _begin(self, urgency: Urgency) -> None:
        """Asks for a connection, unless there is one or it is asked for already."""
        if self._session is not None or self._stopped:
            return
        if self._turn is not None:
            self._scheduler.hurry(self._turn, urgency, self._used_at)
            return
        if self._scheduler.banned(self._login.id, self._address()) is None:
            self._turn = self._scheduler.ask(self._address(), urgency, self._used_at, self._go, self._retry_at)

    def _go(self) -> None:
        """It is this connection's turn."""
        self._connecting = self._state.running.tasks.spawn(self._open(), f"irc {self._state.network} puppet")

    def _give_back(self) -> None:
        """Leaves the line, and the place to others."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._scheduler.gone(turn)

    async def _open(self) -> None:
        try:
            session = self._make(await self._state.access.approach(self._login))
            self._session = session
            self._report(LoginStatus.CONNECTING)
            try:
                await session.open()
            except BaseException:
                self._session = None
                raise
        except RefusedError as error:
            await self._failed(error.ending)
            return
        except Exception:
            log.exception("irc_puppet_failed", network=self._state.network, user=self._login.user)
            await self._failed(Ending(Cause.LOST, "the bridge made a mistake, which its log describes"))
            return
        except BaseException:
            self._give_back()
            raise
        if session.up:
            self._opened(session)

    async def _failed(self, ending: Ending) -> None:
        """There is no connection: asks for the next one where that makes sense, unless the network bans this user."""
        config, now = self._state.config, self._state.running.clock.monotonic()
        self._state.meter.users.endings[ending.cause] += 1
        if self._opened_at and now - self._opened_at > _STEADY:
            self._failures = 0
        self._opened_at = 0.0
        delay = min(config.reconnect_max, config.reconnect_min * 2 ** min(self._failures, 20))
        if ending.cause is Cause.CREDENTIALS:
            delay = max(delay, config.reconnect_max / 4)
        self._failures += 1
        self._retry_at = now + delay * random.uniform(0.8, 1.2)
        log.info(
            "irc_puppet_disconnected",
            network=self._state.network,
            user=self._login.user,
            cause=ending.cause.value,
            kind=ending.ban,
            reason=ending.reason,
        )
        turn, self._turn = self._turn, None
        if turn is not None:
            await self._scheduler.failed(turn, self._login.id, ending)
        if ending.cause in UNWANTED or (ending.cause is Cause.ADDRESS and self._address()):
            self._report(LoginStatus.BANNED, ending.reason)
        elif ending.cause is Cause.CREDENTIALS:
            self._report(LoginStatus.BAD_CREDENTIALS, ending.reason)
        else:
            self._report(LoginStatus.DISCONNECTED, ending.reason)
            if ending.cause in _AGAIN:
                self._again(now)

    def _again(self, now: float) -> None:
        """Who was active lately is connected again soon, others when they are needed, as it is configured."""
        connects = self._state.config.connects
        active = bool(self._used_at) and now - self._used_at <= connects.active
        if active and connects.again != "needed":
            self._begin(Urgency.ACTIVE)
        elif connects.again == "all":
            self._begin(Urgency.LATER)
