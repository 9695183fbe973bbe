"""Who comes and goes in channels, and with which modes: events for the core, and the roster behind them."""

from collections.abc import Iterable
from typing import Protocol

from bridge_core.api.events import (
    MemberPower,
    Membership,
    RemoteEvent,
    RemoteMember,
    RemoteMembers,
    RemotePower,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, LoginId
from bridges.irc.codec.message import Line, parse_source
from bridges.irc.codec.modes import ModeKind, parse_modes
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.to_matrix import person_id


class Events(Protocol):
    """Where the findings go."""

    def offer(self, event: RemoteEvent) -> None:
        """An event for the core."""


class Attendance:
    """The people of the observer's channels. Our own connections come and go as Matrix users do: that is no news."""

    def __init__(self, state: NetworkState, session: Session, events: Events) -> None:
        self._state = state
        self._session = session
        self._events = events
        self._roster = state.roster

    def sender(self, nick: str) -> RemoteSender:
        """Somebody by their nick, with the login where it is one of our own."""
        person = self._roster.get(nick)
        sender = person.sender if person is not None and person.nick == nick else None
        user = self._state.user_of(nick)
        if user is not None:
            return RemoteSender(person_id(self._state, nick), nick, LoginId(user))
        return sender or RemoteSender(person_id(self._state, nick), nick)

    def came(self, chat: ChatId, nick: str) -> None:
        """Somebody joined."""
        self._roster.joined(chat, nick)
        if not self._ours(nick):
            self._offer(chat, nick, Membership.JOIN)

    def went(self, chat: ChatId, nick: str, reason: str) -> None:
        """Somebody left a channel."""
        ours = self._ours(nick)
        self._roster.left(chat, nick)
        if not ours:
            self._offer(chat, nick, Membership.LEAVE, reason)

    def kicked(self, chat: ChatId, nick: str, by: str | None, reason: str) -> None:
        """Somebody was thrown out, perhaps a connection of ours."""
        self._roster.left(chat, nick)
        self._offer(chat, nick, Membership.KICK, reason, self.sender(by) if by is not None else None)

    def quit(self, nick: str, reason: str) -> None:
        """Somebody left the network."""
        person = self._roster.get(nick)
        chats = () if person is None or self._ours(nick) else tuple(person.channels)
        self._roster.gone(nick)
        for chat in chats:
            self._offer(chat, nick, Membership.LEAVE, reason)

    def listed(self, chat: ChatId, members: Iterable[str]) -> None:
        """A part of the list of members (numeric 353), each with the symbols of their modes."""
        for member in members:
            modes, nick = self._state.isupport.split_prefixes(member)
            who = parse_source(nick)  # with IRCv3 userhost-in-names the whole mask
            if who.nick:
                self._roster.joined(chat, who.nick, modes)
                self._roster.seen(*who)

    def complete(self, chat: ChatId) -> None:
        """The list of members is complete (numeric 366)."""
        everybody = [person for person in self._roster.people(chat) if person.nick != self._session.nick]
        senders = {person.nick: self.sender(person.nick) for person in everybody}
        self._events.offer(RemoteMembers(chat, tuple(senders.values())))
        powers = tuple(
            MemberPower(senders[person.nick], level)
            for person in everybody
            if (level := self._level(person.channels[chat]))
        )
        self._events.offer(RemotePower(chat, powers, complete=True))

    def modes(self, chat: ChatId, line: Line) -> None:
        """Modes of people changed. What cannot be told for sure is asked for again (CVE-2022-39202)."""
        found = parse_modes(self._state.isupport, line.params[1:])
        if found.doubtful:
            self._session.tell("NAMES", chat)
        changed: dict[str, None] = {}
        for change in found.changes:
            if change.kind is ModeKind.PREFIX and change.arg is not None:
                self._roster.mode(chat, change.arg, change.mode, adding=change.adding)
                changed[change.arg] = None
        people = [self._roster.get(nick) for nick in changed]
        powers = tuple(
            MemberPower(self.sender(person.nick), self._level(person.channels[chat]))
            for person in people
            if person is not None and chat in person.channels and person.nick != self._session.nick
        )
        if powers:
            by = self.sender(line.source.nick) if line.source is not None and line.source.user else None
            self._events.offer(RemotePower(chat, powers, by))

    def _level(self, modes: str) -> int:
        powers = self._state.config.mode_powers
        return max((powers.get(mode, 0) for mode in modes), default=0)

    def _ours(self, nick: str) -> bool:
        return nick == self._session.nick or self._state.own(nick.encode("utf-8", "surrogateescape")) is not None

    def _offer(
        self,
        chat: ChatId,
        nick: str,
        membership: Membership,
        reason: str | None = None,
        by: RemoteSender | None = None,
    ) -> None:
        self._events.offer(RemoteMember(chat, self.sender(nick), membership, by, reason or None))
