"""The network-wide client: reads every channel, speaks for those without a connection of their own."""

import asyncio
import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.events import RemoteChatGone, RemoteEvent, RemoteGap, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId, UserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.matrix import MatrixMessage
from bridge_core.api.network import Attempt, History, Inbox, LoginState, LoginStatus, Sent
from bridges.irc.amends import Amends
from bridges.irc.archive import Archive, cursor_of
from bridges.irc.endings import Cause, Ending, RefusedError
from bridges.irc.floor import UNANSWERED
from bridges.irc.hearing import Hearing
from bridges.irc.introduction import bot_mark, introduction
from bridges.irc.joins import Places, Stage, join_lines
from bridges.irc.logins import bot_commands, bot_mechanisms
from bridges.irc.nicks import alternatives
from bridges.irc.outlet import Rank, join_cost
from bridges.irc.presence import PartnerPresence
from bridges.irc.present import absent
from bridges.irc.pump import Pump
from bridges.irc.regime import described, with_rules
from bridges.irc.registration import observer_capabilities
from bridges.irc.relaymsg import RelayMsg
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.survey import Survey
from bridges.irc.transport import WriteBufferFull

log = structlog.get_logger(__name__)
_STEADY: Final = 60.0
"""Seconds of connection after which the next loss counts as a first one."""
_FLUSH: Final = 5.0
_JOINS_SENT: Final = 10.0
_BUG: Final = "the bridge made a mistake, which its log describes"
_STATUS: Final = {
    Cause.BANNED: LoginStatus.BANNED,
    Cause.USERINFO: LoginStatus.BANNED,
    Cause.ADDRESS: LoginStatus.BANNED,
    Cause.CREDENTIALS: LoginStatus.BAD_CREDENTIALS,
}


class Observer(Amends):
    """The observer and relay. The only source of what is said in channels, so nothing is bridged twice."""

    def __init__(self, state: NetworkState, inbox: Inbox) -> None:
        super().__init__(state)
        self._inbox = inbox
        self._places = Places()
        self._session: Session | None = None
        self._hearing: Hearing | None = None
        self._archive: Archive | None = None
        self._relaymsg: RelayMsg | None = None
        self._survey: Survey | None = None
        self._pump: Pump | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[Ending] | None = None
        self._paused_at = 0.0
        self._reason = ""
        self._lost = "the network was not reachable"
        self._wake = asyncio.Event()
        self._asked_all = asyncio.Event()

    # The contract

    async def connect(self, cursor: bytes | None) -> None:
        """Starts connecting and returns."""
        if self._tasks:
            return
        host = self._state.running
        self._pump = Pump(
            self._inbox, host.clock, self._pause, self._resume, self._heard, merge=self._state.config.messages.merge
        )
        may_enter = self._state.consents.may_enter
        chats = [chat for chat in host.chats() if self._state.is_channel(chat) and may_enter(chat)]
        self._state.bridge([*self._places, *chats])
        self._places.want(chats)
        if self._state.config.people.away:
            self._state.presence = PartnerPresence(self._state.partners, self._state.watch, self.offer)
            self._state.presence.start()
        if cursor is not None and cursor.isdigit():
            self._places.away_since(int(cursor))
            self._lost = "the bridge was not running"
        self._tasks = [
            host.tasks.spawn(self._pump.run(), f"irc {self._state.network} inbox"),
            host.tasks.spawn(self._run(), f"irc {self._state.network} observer"),
        ]

    async def disconnect(self) -> None:
        """Leaves the network; what was read is committed first, within five seconds."""
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        heard = self._heard()
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        if self._pump is not None:
            if await self._pump.drained(_FLUSH):
                await self._pump.note(heard)
            else:
                log.warning("irc_lines_not_committed", network=self._state.network, lines=len(self._pump))
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        self._state.splits.stop()

    async def chat_info(self, chat: ChatId) -> ChatInfo | None:
        """Spelling, topic and members of a channel; None when it could not be joined in time."""
        if not self._state.is_channel(chat):
            return ChatInfo(name=self._writing().nick(RemoteUserId(chat)), direct=True)
        place = await self._places.wait(chat, self._state.config.join_timeout)
        if place is None or place.stage is not Stage.JOINED:
            return None
        state = self._state
        regime = await state.regimes.wait(chat, state.config.join_timeout)
        info = ChatInfo(name=place.name, topic=place.topic, members=self._people(chat))
        return with_rules(info, described(chat, regime, state.isupport, state.config.channels))

    def _people(self, chat: ChatId) -> tuple[RemoteSender, ...]:
        """Everyone in a channel but our own connections: those are the bridge and its users."""
        people = self._state.roster.people(chat)
        own = self._session.nick if self._session is not None else ""
        return tuple(
            person.sender
            for person in people
            if person.nick != own and self._state.own(person.nick.encode("utf-8", "surrogateescape")) is None
        )

    async def user_info(self, user: RemoteUserId) -> UserInfo:
        """What a person is called, and their nick."""
        nick, person = self._writing().nick(user), self._state.roster.of(user)
        if person is None:
            return UserInfo(name=nick, identifiers=(f"irc:{nick}",))
        return UserInfo(person.sender.name, person.sender.avatar, person.bot, (f"irc:{nick}",))

    def remembers(self) -> bool:
        """Whether the server keeps what is said (IRCv3 draft/chathistory)."""
        return self._archive is not None and self._archive.offered

    async def history(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        """What was said in a channel, as the server tells those who are in it."""
        if not self._state.is_channel(chat):
            raise RejectedError("the bridge asks for the history of channels only")
        if chat in self._state.consents.closed:
            raise RejectedError(self._state.consents.closed[chat])
        place = await self._places.wait(chat, self._state.config.join_timeout)
        if place is not None and place.stage is Stage.REFUSED:
            raise RejectedError(f"the bridge cannot be in the channel: {place.reason}")
        if place is None or place.stage is not Stage.JOINED or self._archive is None:
            raise NotConnectedError(self._reason or "the bridge is not in the channel yet")
        told = await self._archive.history(chat, after, limit)
        shown = self._pump.joined if self._pump is not None else ()
        events = tuple(event for event in told.events if getattr(event, "id", None) not in shown)
        return replace(told, events=events)

    def reached(self, event: RemoteEvent) -> bytes | None:
        """The cursor behind what came live."""
        return cursor_of(event)

    # Channels with portals

    def want(self, chat: ChatId) -> None:
        """Joins a channel in the background."""
        if self._state.is_channel(chat):
            self._state.add(chat)
            self._places.want([chat])
            self._wake.set()

    def unwant(self, chat: ChatId) -> None:
        """Leaves a channel."""
        place = self._places.unwant(chat)
        self._state.regimes.gone(chat)
        self._state.remove(chat)
        if place is not None and place.stage is Stage.JOINED and self._session is not None:
            if self._hearing is not None:
                self._hearing.left(chat)
            self._session.tell("PART", chat)

    def clear_out(self, chat: ChatId, reason: str) -> None:
        """All of our connections leave a channel."""
        self.unwant(chat)
        for puppet in list(self._state.puppets):
            puppet.clear_out(chat, reason)

    def lapsed(self, chat: ChatId) -> None:
        """Nobody answered there whether it may be bridged."""
        if self._hearing is not None and self._session is not None:
            self._hearing.floor.lapse(chat)
        else:
            self.clear_out(chat, "")
            self.offer(RemoteChatGone(chat, UNANSWERED))

    def absent(self, chat: ChatId, users: Collection[UserId]) -> Mapping[UserId, str] | None:
        """Who of these is not in a channel, by the list of members that the server keeps right; None without one."""
        session = self._session
        if session is None or not session.up or not self.joined(chat):
            return None
        return absent(self._state, chat, users)

    def retry(self, chat: ChatId) -> None:
        """Enters a channel now that did not let us in."""
        self._places.hurry(chat)
        self._wake.set()

    def joined(self, chat: ChatId) -> bool:
        """Whether what is said in a channel is seen here."""
        place = self._places.get(chat)
        return place is not None and place.stage is Stage.JOINED

    # Speaking

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        """As `Voice.send`; under the sender's own nick where the channel lets us do that (draft/relaymsg)."""
        relaymsg, session = self._relaymsg, self._session
        if relaymsg is not None and relaymsg.takes(message):
            session = await self._line(message.chat)
            if relaymsg is self._relaymsg:
                sent = await relaymsg.send(message, self._writing(), self._reply_tags(session, message.reply_to))
                if sent is not None:
                    self._state.recent.put(message.event_id, self._writing().words(message.content))
                    return sent
        return await super().send(message, attempt)

    async def _line(self, chat: ChatId) -> Session:
        session = self._session
        if session is None or not session.up:
            raise NotConnectedError(self._reason or "the bridge is not connected to the network")
        if not self._state.is_channel(chat):
            raise RejectedError("private messages need a connection of your own")
        place = self._places.get(chat)
        if place is None or place.stage is not Stage.JOINED:
            place = await self._places.wait(chat, self._state.config.join_timeout)
            if place is None:
                raise RejectedError("the bridge is not in that channel")
            if place.stage is Stage.REFUSED:
                raise RejectedError(f"the bridge cannot be in the channel: {place.reason}")
            session = self._session
            if place.stage is not Stage.JOINED or session is None or not session.up:
                raise NotConnectedError(place.reason or "the bridge is not in the channel yet")
        return session

    def _current(self) -> Session | None:
        return self._session

    def _observed(self, chat: ChatId) -> bool:
        return False

    # The connection

    async def _run(self) -> None:
        """Connects, and connects again, for ever."""
        config, clock = self._state.config, self._state.running.clock
        failures = 0
        try:
            while True:
                started = clock.monotonic()
                try:
                    ending = await self._once()
                except Exception:
                    # Ended, this task would leave us deaf: the next connection may go better.
                    log.exception("irc_observer_failed", network=self._state.network)
                    ending = Ending(Cause.LOST, _BUG)
                    await self._cut()
                self._reason = self._lost = ending.reason
                if clock.monotonic() - started > _STEADY:
                    failures = 0
                delay = min(config.reconnect_max, config.reconnect_min * 2 ** min(failures, 20))
                if ending.cause in _STATUS:
                    delay = config.reconnect_max
                elif ending.cause in (Cause.THROTTLED, Cause.FULL, Cause.KILLED):
                    delay = max(delay, config.reconnect_max / 4)
                failures += 1
                status = _STATUS.get(ending.cause, LoginStatus.DISCONNECTED)
                self._report(status, ending.reason)
                delay *= random.uniform(0.8, 1.2)
                log.info(
                    "irc_disconnected",
                    network=self._state.network,
                    cause=ending.cause.value,
                    reason=ending.reason,
                    again_in=round(delay, 1),
                )
                await clock.sleep(delay)
        finally:
            await self._cut()
            self._report(LoginStatus.DISCONNECTED, "stopped")

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
        self._state.watch.opened(session, session.isupport.tokens.get("MONITOR"), session.isupport.fold)
        self._state.relay_nick = session.nick
        self._state.learned(session.isupport)
        if mark := bot_mark(session.isupport):
            session.tell("MODE", session.nick, f"+{mark}")
        self._hearing.opened()
        for command, params in bot_commands(config):
            session.tell(command, *params)
        log.info("irc_connected", network=self._state.network, nick=session.nick, channels=len(self._places))
        self._asked_all.clear()
        spawn = self._state.running.tasks.spawn
        joining = spawn(self._join(session), f"irc {self._state.network} joins")
        asking = spawn(self._survey.run(), f"irc {self._state.network} survey")
        try:
            try:
                async with asyncio.timeout(_JOINS_SENT):
                    await self._asked_all.wait()
            except TimeoutError:
                log.info("irc_joins_take_time", network=self._state.network)
            if session.up:
                self._reason = ""
                self._report(LoginStatus.CONNECTED)
            return await self._ended
        finally:
            joining.cancel()
            asking.cancel()
            await asyncio.gather(joining, asking, return_exceptions=True)

    async def _join(self, session: Session) -> None:
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

    # What the session and the hearing tell

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

    def offer(self, event: RemoteEvent) -> None:
        """An event for the core. From a channel that has not agreed comes nothing but that it has not."""
        if self._state.consents.hides(event):
            return
        if self._pump is not None:
            self._pump.offer(event)

    def entered(self, chat: ChatId) -> None:
        """We are in a channel: tells what was missed while we were not."""
        if self._survey is not None:
            self._survey.entered(chat)
        place = self._places.get(chat)
        if place is not None and place.since is not None:
            until = self._state.running.clock.now_ms()
            # What a broken connection missed the core asks for with the next one, where the server remembers.
            if place.gone or not self.remembers():
                self.offer(RemoteGap(chat, place.since, until, place.gone or self._lost))
            place.since = None

    def _heard(self) -> bytes | None:
        """The cursor: milliseconds up to which all channels were heard; None while there is no connection."""
        session = self._session
        if session is None or not session.up:
            return None
        until = self._state.running.clock.now_ms() - int(session.silence * 1000)
        return str(self._places.heard_until(until)).encode()

    def thrown_out(self, chat: ChatId, reason: str) -> None:
        """We were taken out of one channel."""
        clock = self._state.running.clock
        if self._survey is not None:
            self._survey.left(chat)
        log.info("irc_channel_left", network=self._state.network, chat=chat, reason=reason)
        self._places.left(chat, clock.now_ms(), clock.monotonic() + self._state.config.reconnect_min, reason)
        self._wake.set()

    def refused(self, chat: ChatId, reason: str) -> None:
        """A channel did not let us in: tried again later."""
        again = self._state.running.clock.monotonic() + self._state.config.join_retry
        if self._places.refused(chat, reason, again):
            log.warning("irc_join_refused", network=self._state.network, chat=chat, reason=reason)

    def _pause(self) -> None:
        now = self._state.running.clock.monotonic()
        if now - self._paused_at > _STEADY or not self._paused_at:
            # In a long backlog this comes several times a second.
            self._paused_at = now
            log.warning("irc_reading_paused", network=self._state.network)
        if self._session is not None:
            self._session.pause_reading()

    def _resume(self) -> None:
        if self._session is not None:
            self._session.resume_reading()

    def _report(self, status: LoginStatus, reason: str = "") -> None:
        self._inbox.report(LoginState(self._state.network, None, status, reason))
