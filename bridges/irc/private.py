"""Private messages of one Matrix user: who writes to them, and under which nick somebody is reached."""

from collections.abc import Callable
from typing import Final

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import RemoteEvent, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, RemoteUserId
from bridges.irc import people
from bridges.irc.batches import Batch
from bridges.irc.codec.message import Line, Source
from bridges.irc.contexts import about
from bridges.irc.courtesy import Courtesy
from bridges.irc.inquiries import Inquiries
from bridges.irc.partners import Partner
from bridges.irc.session import Session
from bridges.irc.speech import Speech, several_lines
from bridges.irc.state import NetworkState

_CONTEXT_AT_MOST: Final = 64


class PrivateMessages:
    """The private chats of a login. `offer` takes what was said to its user."""

    __slots__ = ("_courtesy", "_inquiries", "_login", "_offer", "_state")

    def __init__(self, state: NetworkState, login: LoginId, offer: Callable[[RemoteEvent], None]) -> None:
        self._state = state
        self._login = login
        self._offer = offer
        self._courtesy: Courtesy | None = None
        self._inquiries: tuple[Session, Inquiries] | None = None

    # What others write

    def heard(self, session: Session, line: Line) -> ChatId | None:
        """Takes a PRIVMSG or NOTICE; in which chat it was said to this user, None when it was not."""
        source = line.source
        if source is None or not self._meant(session, source, line.param(0)):
            return None
        context = about(line)
        sender = self._sender(session, line, source)
        # Said to one user, it stays in their room, and names the channel that it is about (channel-context).
        context = f"[{context[:_CONTEXT_AT_MOST]}] " if context else ""
        speech = Speech(self._state, lambda _: sender, self._login)
        event = speech.message(line, ChatId(sender.id), context=context)
        self._said(session, event, line.command, line.param(1), source)
        return ChatId(sender.id)

    def several(self, session: Session, batch: Batch) -> ChatId | None:
        """A message of several lines (IRCv3 multiline); otherwise as `heard`."""
        spoken, source = several_lines(batch), batch.source
        if spoken is None or source is None or not self._meant(session, source, batch.param(0)):
            return None
        sender = self._sender(session, Line(batch.tags, source, batch.type, batch.params), source)
        event = Speech(self._state, lambda _: sender, self._login).several(batch, ChatId(sender.id))
        self._said(session, event, *spoken, source)
        return ChatId(sender.id)

    def told(self, session: Session, line: Line) -> None:
        """A reaction, typing, or a message that is taken back."""
        source = line.source
        if source is None or not self._state.config.private_messages:
            return
        if not self._meant(session, source, line.param(0)):
            return
        sender = self._sender(session, line, source)
        speech, chat = Speech(self._state, lambda _: sender, self._login), ChatId(sender.id)
        event = speech.tags(line, chat) if line.command == "TAGMSG" else speech.redaction(line, chat)
        if event is not None:
            self._offer(event)

    def _meant(self, session: Session, source: Source, target: str) -> bool:
        """Whether something is for this user: not their own echo, and not from a server."""
        fold = self._state.isupport.fold
        return bool(source.user) and source.nick != session.nick and fold(target) == fold(session.nick)

    def _said(self, session: Session, event: RemoteMessage | None, command: str, text: str, source: Source) -> None:
        """Hands on a message, or answers one that is not for people."""
        if event is None or not self._state.config.private_messages:
            self._answer(session, command, text, source, said=event is not None)
            return
        self._state.partners.met(self._login, event.chat, Partner(source.nick, f"{source.user}@{source.host}"))
        self._offer(event)

    def _answer(self, session: Session, command: str, text: str, source: Source, *, said: bool) -> None:
        """A CTCP request, or a message where private ones are off."""
        if command != "PRIVMSG":
            return
        if self._courtesy is None:
            self._courtesy = Courtesy(self._state.running.clock.monotonic)
        if not said:
            answer = self._courtesy.ctcp(text)
        elif self._courtesy.first_time(self._state.isupport.fold(source.nick)):
            answer = "Private messages do not reach me here."
        else:
            answer = None
        if answer is not None:
            session.tell("NOTICE", source.nick, answer)

    def _sender(self, session: Session, line: Line, source: Source) -> RemoteSender:
        """Who writes: by the account that the server tells with the line, else as the observer knows them."""
        person = self._state.roster.get(source.nick)
        known = person is not None and person.nick == source.nick
        if self._state.config.people.accounts and "account-tag" in session.caps.enabled:
            found = people.of(self._state.isupport.fold(source.nick), line.tags.get("account"))
            if person is not None and known and person.sender.id == found:
                return person.sender
            return RemoteSender(found, source.nick)
        if person is not None and known:
            return person.sender
        return RemoteSender(people.of_nick(self._state.isupport.fold(source.nick)), source.nick)

    # Whom we write to

    async def reach(self, session: Session, chat: ChatId) -> None:
        """Makes sure under which nick the partner of a chat is now: nobody else is to read what is meant for them.

        A nick is taken at its word. Whoever has an account is looked for: in the channels, under the nick of the last
        message, under the account's name. Raises RejectedError when they are not found.
        """
        account = people.account_of(chat)
        if account is None or self._state.roster.of(RemoteUserId(chat)) is not None:
            return
        last = self._state.partners.get(self._login, chat)
        for nick in dict.fromkeys([*([last.nick] if last is not None else []), account]):
            try:
                found = await self.inquiries(session).whois(nick)
            except TransientError as error:
                raise RejectedError(f"it cannot be found out whether {account} is there: {error}") from error
            if found is not None and found.account and people.of_account(found.account) == RemoteUserId(chat):
                self._state.partners.met(self._login, chat, Partner(found.nick, f"{found.user}@{found.host}"))
                return
        raise RejectedError(f"{account} is not there under a nick that the bridge knows")

    def nick(self, chat: ChatId) -> str | None:
        """Under which nick the partner of a chat is; `reach` comes first."""
        person = self._state.roster.of(RemoteUserId(chat))
        if person is not None:
            return person.nick
        nick = people.nick_of(chat)
        if nick is not None:
            return nick
        last = self._state.partners.get(self._login, chat)
        return last.nick if last is not None else None

    def inquiries(self, session: Session) -> Inquiries:
        """The questions of a connection; made with the first one."""
        if self._inquiries is None or self._inquiries[0] is not session:
            self._inquiries = (session, Inquiries(session.tell, self._state.isupport.fold))
        return self._inquiries[1]

    def take(self, line: Line) -> bool:
        """Takes a line that may answer a question; whether it does."""
        return self._inquiries is not None and self._inquiries[1].take(line)

    def closed(self) -> None:
        """The connection is gone."""
        if self._inquiries is not None:
            self._inquiries[1].closed()
            self._inquiries = None
