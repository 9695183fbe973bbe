"""Keeps the observer in the channels that it is to be in, while its session lasts."""

import asyncio
from typing import Final

import structlog

from bridges.irc.joins import Places, join_lines
from bridges.irc.outlet import Rank, join_cost
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.transport import WriteBufferFull

log = structlog.get_logger(__name__)
_JOINS_SENT: Final = 10.0


class Joining:
    """Asks for what is due of `places`, session after session; `hurry` when something may be due sooner."""

    def __init__(self, state: NetworkState, places: Places) -> None:
        self._state = state
        self._places = places
        self._wake = asyncio.Event()
        self._asked_all = asyncio.Event()

    def hurry(self) -> None:
        """Looks again now."""
        self._wake.set()

    def begin(self) -> None:
        """A session begins in which nothing was asked for yet."""
        self._asked_all.clear()

    async def asked(self) -> None:
        """Waits until all that was due is asked for, or for ten seconds."""
        try:
            async with asyncio.timeout(_JOINS_SENT):
                await self._asked_all.wait()
        except TimeoutError:
            log.info("irc_joins_take_time", network=self._state.network)

    async def run(self, session: Session) -> None:
        """Keeps us in the wanted channels while the session lasts."""
        while session.up:
            try:
                await self._join_due(session)
            except Exception:
                log.exception("irc_joins_failed", network=self._state.network)
                await self._state.running.clock.sleep(_JOINS_SENT)
        self._asked_all.set()

    async def _join_due(self, session: Session) -> None:
        config, clock = self._state.config, self._state.running.clock
        while session.up:
            self._wake.clear()
            wanted = self._places.due(clock.monotonic())
            for chats, line in join_lines(wanted, self._state.isupport, self._state.keys.of):
                await session.turn(Rank.COMMAND, join_cost(len(chats)))
                while session.up:
                    try:
                        session.reserve(len(line))
                        session.write(line)
                        break
                    except WriteBufferFull:
                        await session.drain()
                if not session.up:
                    break
                self._places.asked(chats, clock.monotonic() + config.join_timeout)
            self._asked_all.set()
            due = self._places.next_due()
            delay = None if due is None else max(0.05, due - clock.monotonic())
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue
