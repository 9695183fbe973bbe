"""How the observer's connection comes to be, ends, and comes to be again, for ever."""

import asyncio
import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

import structlog

from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import ChatId
from bridge_core.api.network import Inbox, LoginState, LoginStatus
from bridges.irc.amends import Amends
from bridges.irc.archive import Archive
from bridges.irc.endings import Cause, Ending, RefusedError
from bridges.irc.hearing import Hearing
from bridges.irc.introduction import bot_mark, introduction
from bridges.irc.joining import Joining
from bridges.irc.joins import Places
from bridges.irc.logins import bot_commands, bot_mechanisms
from bridges.irc.nicks import alternatives
from bridges.irc.patience import STATUS, THROTTLE, Patience
from bridges.irc.pump import Pump
from bridges.irc.registration import observer_capabilities
from bridges.irc.relaymsg import RelayMsg
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.survey import Survey

log = structlog.get_logger(__name__)
_BUG: Final = "the bridge made a mistake, which its log describes"


class Observing(Amends):
    """The part of the observer that gets it a connection, with what lives as long as one: `_run` is its task."""

    def __init__(self, state: NetworkState, inbox: Inbox) -> None:
        super().__init__(state)
        self._inbox = inbox
        self._places = Places()
        self._patience = Patience(state.config, state.bans)
        self._joining = Joining(state, self._places)
        self._session: Session | None = None
        self._hearing: Hearing | None = None
        self._archive: Archive | None = None
        self._relaymsg: RelayMsg | None = None
        self._survey: Survey | None = None
        self._pump: Pump | None = None
        self._ended: asyncio.Future[Ending] | None = None
        self._reason = ""
        self._lost = "the network was not reachable"

    # Where the hearing's findings go

    @abstractmethod
    def offer(self, event: RemoteEvent) -> None:
        """As `Exit.offer`."""

    @abstractmethod
    def want(self, chat: ChatId) -> None:
        """As `Exit.want`."""

    @abstractmethod
    def clear_out(self, chat: ChatId, reason: str) -> None:
        """As `Exit.clear_out`."""

    @abstractmethod
    def retry(self, chat: ChatId) -> None:
        """As `Exit.retry`."""

    @abstractmethod
    def entered(self, chat: ChatId) -> None:
        """As `Sink.entered`."""

    @abstractmethod
    def thrown_out(self, chat: ChatId, reason: str) -> None:
        """As `Sink.thrown_out`."""

    @abstractmethod
    def refused(self, chat: ChatId, reason: str) -> None:
        """As `Sink.refused`."""

    async def commit(self, events: Sequence[RemoteEvent]) -> None:
        """Returns when the core has stored these. Raises BackpressureError and errors of the store."""
        await self._inbox.receive(events)

    # The session's owner

    def heard(self, lines: list[bytes]) -> None:
        """Lines of the session."""
        if self._hearing is not None:
            self._hearing.heard(lines)

    def closed(self, ending: Ending) -> None:
        """The session is over."""
        silence = self._session.silence if self._session is not None else 0.0
        self._places.disconnected(self._state.running.clock.now_ms() - int(silence * 1000))
        if self._session is not None and self._session.own is not None:
            self._state.forget(self._session.own)
        if self._archive is not None:
            self._archive.closed()
        self._session = self._archive = self._relaymsg = None
        self._state.barrier = None
        self._state.reached(False)
        self._state.watch.closed()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(ending)

    # The connection

    async def _run(self) -> None:
        """Connects, and connects again, for ever."""
        clock = self._state.running.clock
        try:
            while True:
                await self._stay_away()
                started = clock.monotonic()
                try:
                    ending = await self._once()
                except Exception:
                    # Ended, this task would leave us deaf: the next connection may go better.
                    log.exception("irc_observer_failed", network=self._state.network)
                    ending = Ending(Cause.LOST, _BUG)
                    await self._cut()
                self._state.meter.bot.endings[ending.cause] += 1
                self._reason = self._lost = ending.reason
                delay = await self._patience.after(ending, clock.monotonic() - started)
                self._report(STATUS.get(ending.cause, LoginStatus.DISCONNECTED), ending.reason)
                delay *= random.uniform(0.8, 1.2)
                log.info(
                    "irc_disconnected",
                    network=self._state.network,
                    cause=ending.cause.value,
                    reason=ending.reason,
                    again_in=round(delay, 1),
                )
                await self._patience.rest(delay)
        finally:
            await self._cut()
            self._report(LoginStatus.DISCONNECTED, "stopped")

    async def _stay_away(self) -> None:
        """Waits while the network wants no connection of the bot, also from before a restart."""
        while (ban := self._patience.standing()) is not None:
            seconds = self._state.bans.left(ban)
            self._reason = self._lost = ban.reason
            self._report(LoginStatus.DISCONNECTED if ban.kind == THROTTLE else LoginStatus.BANNED, ban.reason)
            log.warning("irc_bot_kept_away", network=self._state.network, reason=ban.reason, seconds=round(seconds))
            await self._patience.rest(seconds)

    async def _cut(self) -> None:
        """Closes the connection, if there is one."""
        session = self._session
        if session is not None:
            await session.close("The bridge stops")
            self._session = None

    async def _once(self) -> Ending:
        """One connection from beginning to end."""
        config = self._state.config
        self._report(LoginStatus.CONNECTING)
        self._state.roster.clear()
        self._state.lists.clear()
        self._state.regimes.clear()
        self._ended = asyncio.get_running_loop().create_future()
        try:
            approach = await self._state.access.approach(None)
        except RefusedError as error:
            return error.ending
        needed = config.sasl is None or config.sasl.required
        session = Session(
            self._state,
            self,
            approach,
            nicks=alternatives(config.nick, self._state.nicklen),
            real=introduction(config),
            wanted=observer_capabilities(config.people),
            sasl=bot_mechanisms(config) if needed else (),
            login=None if needed else lambda secure: bot_mechanisms(config),
        )
        session.remarked = lambda text: self._inbox.report(
            LoginState(self._state.network, None, LoginStatus.CONNECTED, remark=text)
        )
        self._survey = Survey(self._state, session)
        self._hearing = Hearing(self._state, session, self._places, self)
        self._archive = Archive(self._state, session)
        self._relaymsg = RelayMsg(self._state, session)
        self._hearing.conditions.when_promoted(self._survey.entered)
        assert self._pump is not None
        self._pump.restarted()
        self._session = session
        try:
            await session.open()
        except RefusedError as error:
            self._session = None
            return error.ending
        self._state.barrier = session.barrier
        self._state.reached(True)
        self._patience.opened()
        self._state.watch.opened(session, session.isupport.tokens.get("MONITOR"), session.isupport.fold)
        self._state.relay_nick = session.nick
        self._state.learned(session.isupport)
        if mark := bot_mark(session.isupport):
            session.tell("MODE", session.nick, f"+{mark}")
        self._hearing.opened()
        for command, params in bot_commands(config):
            session.tell(command, *params)
        log.info("irc_connected", network=self._state.network, nick=session.nick, channels=len(self._places))
        self._joining.begin()
        spawn = self._state.running.tasks.spawn
        joining = spawn(self._joining.run(session), f"irc {self._state.network} joins")
        asking = spawn(self._survey.run(), f"irc {self._state.network} survey")
        try:
            await self._joining.asked()
            if session.up:
                self._reason = ""
                self._report(LoginStatus.CONNECTED)
            return await self._ended
        finally:
            joining.cancel()
            asking.cancel()
            await asyncio.gather(joining, asking, return_exceptions=True)

    def _report(self, status: LoginStatus, reason: str = "") -> None:
        self._inbox.report(LoginState(self._state.network, None, status, reason))
