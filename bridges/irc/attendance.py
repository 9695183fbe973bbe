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
    RemoteRename,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, LoginId
from bridges.irc.codec.message import Line, parse_source
from bridges.irc.codec.modes import ModeKind, parse_modes
from bridges.irc.roster import Person
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
        user = self._state.user_of(nick)
        if user is not None:
            return RemoteSender(person_id(self._state, nick), nick, LoginId(user))
        person = self._roster.get(nick)
        known = person is not None and person.nick == nick
        return person.sender if person is not None and known else RemoteSender(person_id(self._state, nick), nick)

    def came(self, chat: ChatId, nick: str, account: str | None = None) -> None:
        """Somebody joined; `account` as the server tells it at once (IRCv3 extended-join): empty for none."""
        person = self._roster.joined(chat, nick)
        if account is not None and account != person.account:
            self.identified(person, account, told=chat)
        if not self._ours(nick) and not self._roster.others(person, chat):
            self._offer(chat, nick, Membership.JOIN)

    def went(self, chat: ChatId, nick: str, reason: str) -> None:
        """Somebody left a channel."""
        silent = self._ours(nick) or self._still_there(nick, chat)
        sender = self.sender(nick)
        self._roster.left(chat, nick)
        if not silent:
            self._tell(chat, sender, Membership.LEAVE, reason)

    def kicked(self, chat: ChatId, nick: str, by: str | None, reason: str) -> None:
        """Somebody was thrown out, perhaps a connection of ours."""
        sender, kicker = self.sender(nick), self.sender(by) if by is not None else None
        silent = sender.login is None and self._still_there(nick, chat)
        self._roster.left(chat, nick)
        if not silent:
            self._tell(chat, sender, Membership.KICK, reason, kicker)

    def quit(self, nick: str, reason: str) -> None:
        """Somebody left the network."""
        person = self._roster.get(nick)
        if person is None:
            return
        sender, ours = self.sender(nick), self._ours(nick)
        chats = [] if ours else [chat for chat in person.channels if not self._roster.others(person, chat)]
        self._roster.gone(nick)
        for chat in chats:
            self._tell(chat, sender, Membership.LEAVE, reason)

    def identified(self, person: Person, account: str, *, told: ChatId | None = None, silent: bool = False) -> None:
        """Somebody logged in or out, or the server tells only now what account they have (empty: none).

        Where that makes another person of them, one leaves and the other comes; not in `told`, where they are new.
        With `silent` nobody is told: a list of all members follows.
        """
        before = person.sender
        chats = [chat for chat in person.channels if chat != told]
        stays = [chat for chat in chats if self._roster.others(person, chat)]
        self._roster.identified(person, account)
        after = person.sender
        if silent or self._ours(person.nick):
            return
        if after.id == before.id:
            if after != before:
                self._events.offer(RemoteRename(before.id, after))
            return
        how = f"is logged in as {account}" if account else "is logged out"
        self._changed(person, before, [chat for chat in chats if chat not in stays], chats, how)

    def looks(self, person: Person, *, shown: str | None = None, avatar: str | None = None) -> None:
        """Somebody wants to be shown otherwise (empty: not any more; None: no news)."""
        if self._roster.looks(person, shown=shown, avatar=avatar) and not self._ours(person.nick):
            self._events.offer(RemoteRename(person.sender.id, person.sender))

    def renamed(self, old: str, new: str) -> Person | None:
        """Somebody has another nick; None when they are in none of the channels."""
        person = self._roster.get(old)
        if person is None:
            return None
        before = person.sender
        self._roster.renamed(old, new)
        if self._ours(new) or person.sender == before:
            return person
        self._events.offer(RemoteRename(before.id, person.sender))
        if person.sender.id != before.id:
            self._changed(person, before, list(person.channels), list(person.channels), f"is called {new} now")
        return person

    def _changed(self, person: Person, before: RemoteSender, left: list[ChatId], there: list[ChatId], how: str) -> None:
        """Somebody is another person for the core from now on: nothing of the old one stays in the channels."""
        for chat in left:
            self._tell(chat, before, Membership.LEAVE, how)
        for chat in there:
            if not self._roster.others(person, chat):
                self._tell(chat, person.sender, Membership.JOIN)
            if level := self._level(self._roster.modes(person, chat)):
                self._events.offer(RemotePower(chat, (MemberPower(person.sender, level),)))

    def _still_there(self, nick: str, chat: ChatId) -> bool:
        """Whether another connection of the same account stays in a channel that this one leaves."""
        person = self._roster.get(nick)
        return person is not None and self._roster.others(person, chat)

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
        everyone = {sender.id: sender for sender in senders.values()}
        self._events.offer(RemoteMembers(chat, tuple(everyone.values())))
        levels = {
            senders[person.nick].id: level
            for person in everybody
            if (level := self._level(self._roster.modes(person, chat)))
        }
        powers = tuple(MemberPower(everyone[one], level) for one, level in levels.items())
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
            MemberPower(self.sender(person.nick), self._level(self._roster.modes(person, chat)))
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

    def _offer(self, chat: ChatId, nick: str, membership: Membership) -> None:
        self._tell(chat, self.sender(nick), membership)

    def _tell(
        self,
        chat: ChatId,
        member: RemoteSender,
        membership: Membership,
        reason: str | None = None,
        by: RemoteSender | None = None,
    ) -> None:
        self._events.offer(RemoteMember(chat, member, membership, by, reason or None))
