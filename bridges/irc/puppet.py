"""The client of one Matrix user: writes as them, and reads only what is meant for them."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.ids import ChatId, RemoteUserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.matrix import MatrixMessage, MatrixRedaction, MatrixSignal
from bridge_core.api.network import Attempt, Inbox, Login, LoginState, LoginStatus, Sent
from bridges.irc.access.approach import Approach
from bridges.irc.archive import Archive
from bridges.irc.codec.masks import Effect
from bridges.irc.codec.multiline import CAPABILITY
from bridges.irc.connecting import Connecting
from bridges.irc.ears import Ears
from bridges.irc.endings import Cause, Ending
from bridges.irc.homecoming import come_home
from bridges.irc.invitations import Invitations
from bridges.irc.letterbox import Letterbox
from bridges.irc.membership import Membership
from bridges.irc.missed import Missed
from bridges.irc.modelists import Judgement
from bridges.irc.observer import Observer
from bridges.irc.persona import Persona
from bridges.irc.private import PrivateMessages
from bridges.irc.registration import puppet_capabilities
from bridges.irc.rest import Rest
from bridges.irc.schedule import Urgency
from bridges.irc.scheduler import Scheduler
from bridges.irc.session import Session
from bridges.irc.signals import Signals
from bridges.irc.standing import Standing
from bridges.irc.standings import Standings
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_RETIRED: Final = 120.0
"""Seconds for which lines of a connection that is gone are still taken for ours, unless its QUIT is seen before."""


class Puppet(Connecting):
    """One Matrix user's connection. Connects when it is needed first, and again when it is needed next."""

    def __init__(
        self,
        state: NetworkState,
        login: Login,
        inbox: Inbox,
        observer: Observer,
        scheduler: Scheduler,
        standings: Standings,
    ) -> None:
        super().__init__(state, login, scheduler)
        self._inbox = inbox
        self._observer = observer
        self._standings = standings
        self._chores: set[asyncio.Task[None]] = set()
        self._letterbox = Letterbox(state, inbox, self._pause, self._resume)
        self._archive: Archive | None = None
        self._private = PrivateMessages(state, login.id, self._letterbox.offer)
        self._missed = Missed(state, login.id, self._private, self._letterbox)
        self._channels = Membership(state)
        self._invitations = Invitations(state, login, self._channels, self._letterbox.offer, observer.tell_operators)
        self._signals = Signals(state, login, self._channels)
        self._persona = Persona(state, login, self._private, self._spawn)
        self._standing = Standing(state, login)
        self._rest = Rest(state, login, standings, self._spawn, lambda: self._used_at)
        self._hold_until = 0.0
        """Until then a login that a user made is waited for rather than relayed."""
        self._ears = Ears(
            self._channels,
            self._persona,
            self._private,
            self._missed,
            self._standing,
            self._invitations,
            self._used,
        )
        state.inboxes[login.id] = self._letterbox.offer
        state.puppets.add(self)

    # The contract

    async def connect(self, cursor: bytes | None) -> None:
        """Starts connecting and returns."""
        self._stopped = False
        self._state.inboxes[self._login.id] = self._letterbox.offer
        self._hold_until = self._state.running.clock.monotonic() + self._state.config.join_timeout
        self._begin(Urgency.ACTIVE)

    async def disconnect(self) -> None:
        """Leaves the network; received messages are committed first, within two seconds."""
        self._stopped = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._session is not None:
            await self._session.close("The bridge closes this connection")
        self._give_back()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._state.inboxes.get(self._login.id) == self._letterbox.offer:  # no client has come in its place
            del self._state.inboxes[self._login.id]
        await self._letterbox.close()

    async def log_out(self) -> None:
        """Nothing is kept of whom the login met and what it has read. Its connection goes with `disconnect`."""
        await self._missed.forget()
        await self._state.partners.forget(self._login.id)

    def ready(self, chat: ChatId) -> bool:
        """Whether a message to the chat would be written now."""
        session = self._session
        if session is None or not session.up:
            return False
        return chat in self._channels or not self._state.is_channel(chat)

    async def prepare(self, chat: ChatId) -> None:
        """Starts connecting, or joining. Raises RejectedError where the network or the channel shuts this user out:
        the relay must not speak for someone who is banned."""
        barred = self._channels.barred(chat)
        if barred is not None:
            raise RejectedError(barred)
        against = self._refuse_banned(chat)
        # In private chats nobody else can speak for them.
        relayable = self._session is None and self._login.provided and self._state.is_channel(chat)
        if relayable and not await self._standings.spoke(self._login.id):
            if against is not None:  # whether an exception holds, only a connection of their own would find out
                raise RejectedError(against.reason)
            return
        now = self._state.running.clock.monotonic()
        if chat not in self._channels.wanted and self._state.is_channel(chat):
            self._hold_until = now + self._state.config.join_timeout
        self._channels.want(chat)
        if self._session is not None and self._session.up:
            if self._persona.settled:
                self._channels.join(self._session, [chat])
        else:
            self._used_at = now
            self._begin(Urgency.NOW)
        if against is not None:  # perhaps an exception holds, or they are silenced only: their own connection finds out
            raise RejectedError(against.reason)
        if not self._login.provided and now < self._hold_until:
            # Who has logged in speaks in their own name, if that can be had soon.
            raise NotConnectedError("your connection is being made")

    def _refuse_banned(self, chat: ChatId) -> Judgement | None:
        """Raises RejectedError where the network or the channel shuts this user out; else what may be against them."""
        banned = self._scheduler.banned(self._login.id, self._address())
        if banned is not None:
            raise RejectedError(f"you are banned from this network: {banned}")
        if chat in self._state.consents.closed:
            raise RejectedError(self._state.consents.closed[chat])
        self._standing.expect(self._persona.nicks())
        against = self._standing.against(chat)
        if against is not None and against.sure and against.effect is Effect.BAN:
            raise RejectedError(against.reason)
        return against

    async def enter(self, chat: ChatId) -> None:
        """Joins the channel if there is a connection; without one the user connects when they first speak."""
        if self._session is not None and self._session.up and self._state.is_channel(chat):
            with contextlib.suppress(NotConnectedError):  # it is on its way
                await self.prepare(chat)

    async def knock(self, chat: ChatId, reason: str | None) -> None:
        """As `Knocks.knock`: joins; where only invited people may, the server's KNOCK asks the channel."""
        self._refuse_banned(chat)
        self._invitations.ask(chat, reason)
        self._used_at = self._state.running.clock.monotonic()
        if self._session is None or not self._session.up:
            self._begin(Urgency.NOW)
        elif self._persona.settled:
            self._channels.join(self._session, [chat])

    async def leave(self, chat: ChatId, reason: str | None) -> None:
        """Leaves the channel: the user left its room."""
        self._channels.drop(self._session, chat, " ".join((reason or "left on Matrix").split())[:200])

    def clear_out(self, chat: ChatId, reason: str) -> None:
        """As `Leaver.clear_out`."""
        self._channels.drop(self._session, chat, reason)

    async def signal(self, signal: MatrixSignal) -> None:
        """As `Signals.take`."""
        self._signals.take(signal)

    @property
    def persona(self) -> Persona:
        """How its user appears: nick, account, and what they ask the network."""
        return self._persona

    async def chat_info(self, chat: ChatId) -> ChatInfo | None:
        """As the observer knows it."""
        return await self._observer.chat_info(chat)

    async def user_info(self, user: RemoteUserId) -> UserInfo:
        """As the observer knows them."""
        return await self._observer.user_info(user)

    # Speaking

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        """As `Voice.send`; others see who speaks first."""
        self._signals.spoke(message.sender)
        return await super().send(message, attempt)

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        """As `Amends.redact`; what the relay said for a Matrix user, and only it may take back, it takes back."""
        sent = await super().redact(redaction, attempt)
        if sent.confirmation is None or not self._observer.may_have_said(redaction):
            return sent
        try:
            return await asyncio.shield(sent.confirmation)
        except RejectedError as refused:
            try:
                again = await self._observer.redact(redaction, attempt)
                return again if again.confirmation is None else await asyncio.shield(again.confirmation)
            except RejectedError:
                raise refused from None

    async def _line(self, chat: ChatId) -> Session:
        session = self._session
        if session is None or not session.up:
            raise NotConnectedError("your connection to the network is not ready")
        if self._state.is_channel(chat) and chat not in self._channels:
            barred = self._channels.barred(chat)
            barred = barred or self._state.consents.closed.get(chat)
            if barred is not None:
                raise RejectedError(barred)
            raise NotConnectedError("your connection is not in the channel yet")
        against = self._standing.against(chat)
        if against is not None and against.sure:
            raise RejectedError(against.reason)
        self._used_at = self._state.running.clock.monotonic()
        if not self._state.is_channel(chat):
            await self._private.reach(session, chat)
        return session

    def _addressee(self, chat: ChatId) -> str | None:
        return self._private.nick(chat)

    def _current(self) -> Session | None:
        return self._session if self._session is not None else self._observer._current()

    def _observed(self, chat: ChatId) -> bool:
        return self._observer.joined(chat)

    # The connection

    def _opened(self, session: Session) -> None:
        """The session is registered: goes where it is wanted."""
        self._opened_at = self._state.running.clock.monotonic()
        if self._turn is not None:
            self._scheduler.opened(self._turn)
        self._ears.opened(session)
        self._signals.opened(session)
        log.info("irc_puppet_connected", network=self._state.network, user=self._login.user, nick=session.nick)
        self._report(LoginStatus.CONNECTED)
        self._standing.shown(session)
        self._persona.opened(session, lambda: self._settled(session))
        self._rest.watch(session)

    def _settled(self, session: Session) -> None:
        """Nothing is waited for any more: goes where it is wanted; who has logged in, where its user is."""
        self._channels.join(session, list(self._channels))
        if session.account:
            self._archive = Archive(self._state, session)
            self._spawn(self._missed.fetch(session, self._archive))
        if not self._login.provided:
            self._spawn(come_home(self._state, self._login.user, session, self._channels))

    def _spawn(self, chore: Coroutine[Any, Any, None]) -> None:
        """Runs something short that `disconnect` waits for."""
        task = self._state.running.tasks.spawn(chore, f"irc {self._state.network} puppet")
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _make(self, approach: Approach) -> Session:
        login, state = self._login, self._state
        session = Session(
            state,
            self,
            approach,
            nicks=self._persona.nicks(),
            real=state.access.realname(login),
            wanted=puppet_capabilities(state.config.people),
            login=self._persona.mechanisms,
            matrix_user=login.user,
            away=lambda: self._signals.away,
        )
        session.remarked = lambda text: self._inbox.report(
            LoginState(state.network, login.id, LoginStatus.CONNECTED, remark=text)
        )
        session.batches.on(CAPABILITY, lambda batch: self._ears.several(session, batch))
        return session

    def closed(self, ending: Ending) -> None:
        """The session is over; who is active is connected again, unless the network said no."""
        session, self._session = self._session, None
        self._private.closed()
        self._signals.closed()
        if self._archive is not None and session is not None:
            self._archive.closed()
            self._archive = None
            self._missed.away(session)
        self._persona.closed()
        self._channels.disconnected()
        if session is not None and session.own is not None:
            own = session.own
            self._state.retire(own)
            asyncio.get_running_loop().call_later(_RETIRED, self._state.forget, own)
        if ending.cause is Cause.CLOSED:
            self._state.meter.users.endings[ending.cause] += 1
            self._give_back()
            self._report(LoginStatus.DISCONNECTED, ending.reason)
        else:
            self._spawn(self._failed(ending))

    # Reading

    def heard(self, lines: list[bytes]) -> None:
        """Lines of the session; what others do in channels is not even parsed."""
        session = self._session
        if session is not None:
            self._ears.heard(session, lines)

    def _used(self) -> None:
        self._used_at = self._state.running.clock.monotonic()

    def _pause(self) -> None:
        if self._session is not None:
            self._session.pause_reading()

    def _resume(self) -> None:
        if self._session is not None:
            self._session.resume_reading()

    def _report(self, status: LoginStatus, reason: str = "") -> None:
        self._inbox.report(LoginState(self._state.network, self._login.id, status, reason))
