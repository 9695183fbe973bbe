"""The network-wide client: reads every channel, speaks for those without a connection of their own."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import structlog

from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.events import RemoteChatGone, RemoteEvent, RemoteGap, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId, UserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.matrix import MatrixMessage, MatrixRedaction
from bridge_core.api.network import Attempt, History, Inbox, Sent
from bridges.irc.archive import cursor_of
from bridges.irc.floor import UNANSWERED
from bridges.irc.joins import Stage
from bridges.irc.logins import bot_commands
from bridges.irc.observing import Observing
from bridges.irc.presence import PartnerPresence
from bridges.irc.present import absent
from bridges.irc.pump import Pump
from bridges.irc.regime import described, with_rules
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.voice import REDACTION_CAPS

log = structlog.get_logger(__name__)
_STEADY: Final = 60.0
"""Seconds after which a stop of reading is told again."""
_FLUSH: Final = 5.0


class Observer(Observing):
    """The observer and relay. The only source of what is said in channels, so nothing is bridged twice."""

    def __init__(self, state: NetworkState, inbox: Inbox) -> None:
        super().__init__(state, inbox)
        self._tasks: list[asyncio.Task[None]] = []
        self._paused_at = 0.0

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
        return await self._archive.history(chat, after, limit)

    def reached(self, event: RemoteEvent) -> bytes | None:
        """The cursor behind what came live."""
        return cursor_of(event)

    # Channels with portals

    def want(self, chat: ChatId) -> None:
        """Joins a channel in the background."""
        if self._state.is_channel(chat):
            self._state.add(chat)
            self._places.want([chat])
            self._joining.hurry()

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
        self._joining.hurry()

    def tell_operators(self, chat: ChatId, text: str) -> bool:
        """Says something to a channel's operators only; whether that can be done there. Does not block."""
        session, status = self._session, self._state.isupport.to_operators
        if session is None or status is None or not self.joined(chat):
            return False
        session.tell("NOTICE", f"{status}{chat}", text)
        return True

    def stages(self) -> Mapping[Stage, int]:
        """How many of the channels are at which stage of joining."""
        return self._places.stages()

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
            self._target(message.chat)
            if relaymsg is self._relaymsg:
                sent = await relaymsg.send(message, self._writing(), self._reply_tags(session, message.reply_to))
                if sent is not None:
                    self._state.recent.put(message.event_id, self._writing().words(message.content))
                    return sent
        return await super().send(message, attempt)

    def may_have_said(self, redaction: MatrixRedaction) -> bool:
        """Whether a message that is to be taken back may be one that this connection said for a Matrix user, and can
        take back (IRCv3 message-redaction)."""
        session, target = self._session, redaction.target
        return (
            redaction.reaction is None
            and target.id is not None
            and target.matrix_sender is not None
            and session is not None
            and session.up
            and not session.caps.enabled.isdisjoint(REDACTION_CAPS)
            and self.joined(redaction.chat)
        )

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

    # What the session and the hearing tell

    def offer(self, event: RemoteEvent) -> None:
        """An event for the core. From a channel that has not agreed comes nothing but that it has not."""
        if self._state.consents.hides(event):
            return
        if self._pump is not None:
            self._pump.offer(event)

    def entered(self, chat: ChatId) -> None:
        """We are in a channel: tells services what they are to do there, and the core what was missed."""
        if self._survey is not None:
            self._survey.entered(chat)
        place = self._places.get(chat)
        if self._session is not None and place is not None and chat not in self._state.consents.closed:
            for command, params in bot_commands(self._state.config, place.name or chat):
                self._session.tell(command, *params)
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
        self._joining.hurry()

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
