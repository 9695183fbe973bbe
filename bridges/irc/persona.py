"""How one Matrix user appears on the network: under which nick, and logged in to which account."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, NotConnectedError, RejectedError
from bridge_core.api.ids import ChatId
from bridge_core.api.network import Login
from bridges.irc import logins
from bridges.irc.answer import Answer
from bridges.irc.codec.message import Line
from bridges.irc.codec.sasl import Mechanism
from bridges.irc.codec.serializer import UnsafeLine, serialize
from bridges.irc.inquiries import Whois
from bridges.irc.private import PrivateMessages
from bridges.irc.regain import Regain
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.transport import WriteBufferFull

log = structlog.get_logger(__name__)
_PATIENCE: Final = 10.0
_NICK_REFUSED: Final = frozenset(("431", "432", "433", "436", "437", "438", "447", "484"))


class Persona:
    """Of one login; it outlives connections. `spawn` runs something that its owner waits for at the end."""

    __slots__ = (
        "_asked",
        "_had",
        "_login",
        "_private",
        "_regain",
        "_session",
        "_settled",
        "_spawn",
        "_state",
        "answer",
    )

    def __init__(
        self,
        state: NetworkState,
        login: Login,
        private: PrivateMessages,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._state = state
        self._login = login
        self._private = private
        self._spawn = spawn
        self._session: Session | None = None
        self._regain: Regain | None = None
        self._had = ""
        """The wanted nick, once this connection had it: when it is taken away then, somebody does not want us to."""
        self._asked: asyncio.Future[None] | None = None
        self.answer: Answer | None = None
        """What is said in answer to a line of the user's own, while it is waited for."""
        self._settled: asyncio.Future[None] | None = None

    # For the next connection

    def nicks(self) -> Iterator[str]:
        """What to be called, in this order."""
        return self._state.nickbook.candidates(self._login, self._state.nicklen)

    def mechanisms(self, secure: bool) -> list[Mechanism]:
        """The ways to log in, made anew for each connection."""
        return logins.mechanisms(self._login.secrets, self._login.settings, secure=secure)

    @property
    def settled(self) -> bool:
        """Whether channels may be joined: no login is waited for."""
        return self._settled is None

    @property
    def nick(self) -> str | None:
        """The nick of the connection; None when there is none."""
        return self._session.nick if self._session is not None and self._session.up else None

    @property
    def account(self) -> str | None:
        """The account it is logged in to; None for none."""
        return self._session.account if self._session is not None and self._session.up else None

    @property
    def certificate(self) -> str | None:
        """The certificate of the login, as PEM."""
        return self._login.secrets.get(logins.CERTIFICATE)

    # Of this connection

    def opened(self, session: Session, then: Callable[[], None]) -> None:
        """The connection is registered: goes on with `then` (the joins) when the user is logged in, or cannot be.

        Without a login that is still to come, at once.
        """
        self._session, self._had = session, ""
        self._named(session)
        session.logged_in = self._logged_in
        late = self._mechanisms_left(session)
        if not late and not self._state.autocommands.has(self._login.user):
            then()
            return
        self._settled = asyncio.get_running_loop().create_future()
        self._spawn(self._introduce(session, then))

    def closed(self) -> None:
        """The connection is gone."""
        self._session = None
        if self._regain is not None:
            self._regain.stop()
            self._regain = None
        for waiting in (self._asked, self._settled):
            if waiting is not None and not waiting.done():
                waiting.set_exception(NotConnectedError("the connection broke"))
                waiting.exception()  # nobody may be waiting

    def renamed(self) -> None:
        """Our own nick changed, by our wish or not."""
        session = self._session
        if session is None:
            return
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        self._named(session)

    def joined(self, session: Session, chat: ChatId) -> None:
        """The connection is in a channel: services are told what the user wants them told there."""
        if self._state.autocommands.has(self._login.user):
            self._spawn(self._greet(session, chat))

    async def _greet(self, session: Session, chat: ChatId) -> None:
        for command, params in await self._state.autocommands.commands(self._login.user, chat):
            session.tell(command, *params)

    def heard(self, line: Line) -> bool:
        """Takes what answers us; whether it is nobody else's."""
        if self._asked is not None and not self._asked.done() and line.command in _NICK_REFUSED:
            self._asked.set_exception(RejectedError(line.param(-1) or "the network refuses that nick"))
            return True
        if self._settled is not None and not self._settled.done():
            service = line.command == "NOTICE" and line.source is not None and self._serves(line.source.nick)
            registered = line.command == "MODE" and "r" in line.param(1).lower() and line.param(1)[:1] == "+"
            if service or registered:
                self._settled.set_result(None)
        return False

    # What users do

    async def rename(self, nick: str) -> None:
        """Takes another nick now. Raises RejectedError in the server's words; NotConnectedError."""
        session = self._session
        if session is None or not session.up:
            raise NotConnectedError("you are not connected to the network")
        if session.nick == nick:
            return
        if self._asked is not None and not self._asked.done():
            raise RejectedError("your nick is being changed already")
        self._asked = asyncio.get_running_loop().create_future()
        session.tell("NICK", nick)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._asked
        except TimeoutError:
            raise RejectedError("the network did not answer in time") from None
        finally:
            self._asked = None

    async def whois(self, nick: str) -> Whois | None:
        """What the server tells of a nick. Raises NotConnectedError, TransientError."""
        session = self._session
        if session is None or not session.up:
            raise NotConnectedError("you are not connected to the network")
        return await self._private.inquiries(session).whois(nick)

    async def say(self, command: str, params: Sequence[str]) -> list[str]:
        """Sends a line; what the server says until it answers a PING that follows. Raises BridgeErrors in words."""
        session = self._session
        if session is None or not session.up:
            raise NotConnectedError("you are not connected to the network")
        if self.answer is not None:
            raise RejectedError("an answer is waited for already")
        self.answer = answer = Answer()
        try:
            session.write(serialize(command, *params))
            if session.barrier(answer.complete):
                async with asyncio.timeout(_PATIENCE):
                    await answer.done
        except UnsafeLine as error:
            raise RejectedError(f"that cannot be sent: {error}") from None
        except (TimeoutError, WriteBufferFull):
            raise RejectedError("the network did not answer in time") from None
        finally:
            self.answer = None
        return answer.lines

    def reconsider(self) -> None:
        """The wanted nick is another now."""
        if self._session is not None:
            self._named(self._session)

    # Behind

    def _named(self, session: Session) -> None:
        """The nick of the connection is known: the wanted one, or another."""
        book, nicklen = self._state.nickbook, self._state.nicklen
        wanted = book.wanted(self._login, nicklen)
        if self._regain is not None and (session.nick == wanted or self._regain.nick != wanted):
            self._regain.stop()
            self._regain = None
        if session.nick == wanted:
            self._had = wanted
        elif self._had != wanted and self._regain is None and self._state.config.nicks.regain:
            self._regain = Regain(wanted, self._state.config.nicks, self._state.watch, self._take_back)
            self._regain.start()
        self._spawn(self._remember(session.nick))

    async def _remember(self, nick: str) -> None:
        try:
            await self._state.nickbook.have(self._login, nick, self._state.nicklen)
        except BridgeError as error:
            log.info("irc_nick_not_stored", network=self._state.network, user=self._login.user, error=str(error))

    def _take_back(self, nick: str) -> None:
        if self._session is not None:
            self._session.tell("NICK", nick)

    def _mechanisms_left(self, session: Session) -> bool:
        """Whether there is a login that this connection has not made."""
        has = logins.PASSWORD in self._login.secrets or logins.CERTIFICATE in self._login.secrets
        return has and session.account is None

    async def _introduce(self, session: Session, then: Callable[[], None]) -> None:
        """Tells services what they are to know, and waits for what comes of it, at most `logins.wait` seconds."""
        config = self._state.config
        settled = self._settled
        assert settled is not None
        password = self._login.secrets.get(logins.PASSWORD)
        offers_sasl = "sasl" in session.caps.available
        nickserv = config.logins.nickserv if session.secure and not offers_sasl else None
        if password is not None and session.account is None and nickserv is not None:
            session.tell("PRIVMSG", nickserv, f"IDENTIFY {self._login.settings.get(logins.ACCOUNT, '')} {password}")
        for command, params in await self._state.autocommands.commands(self._login.user):
            session.tell(command, *params)
        try:
            async with asyncio.timeout(config.logins.wait):
                await asyncio.shield(settled)
        except TimeoutError:
            log.info("irc_login_takes_time", network=self._state.network, user=self._login.user)
        except BridgeError:
            return
        finally:
            self._settled = None
        if session.up:
            then()

    def _logged_in(self, done: bool, reason: str) -> None:
        """A login after registration has ended."""
        log.info("irc_late_login", network=self._state.network, user=self._login.user, done=done, reason=reason)
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _serves(self, nick: str) -> bool:
        fold = self._state.isupport.fold
        services = (*self._state.config.logins.services, self._state.config.logins.nickserv or "")
        return fold(nick) in {fold(service.partition("@")[0]) for service in services}
