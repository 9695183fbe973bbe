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
from bridge_core.api.ids import ChatId, LoginId, RemoteUserId
from bridges.irc.codec.message import Line, parse_source
from bridges.irc.codec.modes import ModeChange, ModeKind, parse_modes
from bridges.irc.roster import Person
from bridges.irc.session import Session
from bridges.irc.splits import Gone
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
        self._splits = state.splits
        self._listing: dict[ChatId, set[str]] = {}
        """Who stands in a list of members that is not complete yet, folded."""
        self._told: set[ChatId] = set()
        """Channels whose members the core knows."""
        state.splits.tell(self._gone, self._settled)

    def sender(self, nick: str) -> RemoteSender:
        """Somebody by their nick, with the login where it is one of our own."""
        user = self._state.user_of(nick)
        if user is not None:
            return RemoteSender(person_id(self._state, nick), nick, LoginId(user))
        person = self._roster.get(nick)
        known = person is not None and person.nick == nick
        return person.sender if person is not None and known else RemoteSender(person_id(self._state, nick), nick)

    def came(self, chat: ChatId, nick: str, account: str | None = None, mask: str = "") -> None:
        """Somebody joined; `account` as the server tells it at once (IRCv3 extended-join): empty for none.

        Who comes back from a split was never away.
        """
        person = self._roster.joined(chat, nick)
        if chat in self._listing:
            self._listing[chat].add(self._roster.fold(nick))
        if account is not None and account != person.account:
            self.identified(person, account, told=chat)
        returned = self._splits.came(self._roster.fold(nick), chat, mask)
        if returned is not None:
            shown, level = returned
            if shown.id == person.sender.id:
                self._rest(chat, person.sender, level)  # modes come anew, if they do
                return
            self._left(chat, shown, level, "")
        if not self._ours(nick) and not self._roster.others(person, chat):
            self._offer(chat, nick, Membership.JOIN)

    def went(self, chat: ChatId, nick: str, reason: str) -> None:
        """Somebody left a channel."""
        silent = self._ours(nick) or self._still_there(nick, chat)
        sender, level = self.sender(nick), self._power(nick, chat)
        self._roster.left(chat, nick)
        if not silent:
            self._went(chat, sender, Membership.LEAVE, level, reason)
        elif sender.login is None:
            self._rest(chat, sender, level)

    def kicked(self, chat: ChatId, nick: str, by: str | None, reason: str) -> None:
        """Somebody was thrown out, perhaps a connection of ours."""
        sender, kicker = self.sender(nick), self.sender(by) if by is not None else None
        silent = sender.login is None and self._still_there(nick, chat)
        level = self._power(nick, chat)
        self._roster.left(chat, nick)
        if not silent:
            self._went(chat, sender, Membership.KICK, level, reason, kicker)
        else:
            self._rest(chat, sender, level)

    def quit(self, nick: str, reason: str, servers: tuple[str, str] | None = None) -> None:
        """Somebody left the network; `servers` when it is told that those parted (IRCv3 netsplit)."""
        person = self._roster.get(nick)
        if person is None:
            return
        sender, ours = self.sender(nick), self._ours(nick)
        levels = {} if ours else {chat: self._power(nick, chat) for chat in person.channels}
        chats = {chat: level for chat, level in levels.items() if not self._roster.others(person, chat)}
        mask = f"{person.user}@{person.host}" if person.host else ""
        self._roster.gone(nick)
        for chat in levels.keys() - chats.keys():
            self._rest(chat, sender, levels[chat])
        if chats:
            self._splits.quit(self._roster.fold(nick), Gone(nick, sender, mask, chats, reason), servers)

    def _power(self, nick: str, chat: ChatId) -> int:
        """The power of somebody in a channel, over all connections of their account."""
        person = self._roster.get(nick)
        return self._level(self._roster.modes(person, chat)) if person is not None else 0

    def _rest(self, chat: ChatId, sender: RemoteSender, before: int) -> None:
        """What power somebody has by the connections that are in a channel now, where that is news."""
        for person in self._roster.all_of(sender.id):
            if chat in person.channels:
                level = self._level(self._roster.modes(person, chat))
                if level != before:
                    self._events.offer(RemotePower(chat, (MemberPower(sender, level),)))
                return

    def _gone(self, gone: Gone) -> None:
        """Somebody who quit does not come back."""
        for chat, level in gone.chats.items():
            self._left(chat, gone.sender, level, gone.reason)

    def _left(self, chat: ChatId, sender: RemoteSender, level: int, reason: str) -> None:
        """Who the rooms show is not there, unless another connection of theirs is."""
        if any(chat in person.channels for person in self._roster.all_of(sender.id)):
            self._rest(chat, sender, level)
        else:
            self._went(chat, sender, Membership.LEAVE, level, reason)

    def _settled(self, chats: frozenset[ChatId]) -> None:
        """A split is over: the core works off who is not there, beside the messages."""
        if self._session.up:
            for chat in chats & self._told:
                self.complete(chat)

    def closed(self, chat: ChatId) -> None:
        """We are not in the channel any more."""
        self._roster.closed(chat)
        self._splits.closed(chat)
        self._told.discard(chat)
        self._listing.pop(chat, None)

    def identified(self, person: Person, account: str, *, told: ChatId | None = None, silent: bool = False) -> None:
        """Somebody logged in or out, or the server tells only now what account they have (empty: none).

        Where that makes another person of them, one leaves and the other comes; not in `told`, where they are new.
        With `silent` nobody is told: a list of all members follows.
        """
        before = person.sender
        chats = [chat for chat in person.channels if chat != told]
        stays = {chat: self._power(person.nick, chat) for chat in chats if self._roster.others(person, chat)}
        self._roster.identified(person, account)
        after = person.sender
        if silent or self._ours(person.nick):
            return
        if after.id == before.id:
            if after != before:
                self._events.offer(RemoteRename(before.id, after))
            return
        for chat, level in stays.items():
            self._rest(chat, before, level)
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
        folded = self._roster.fold(new)
        if folded != self._roster.fold(old):
            self._splits.dropped(folded)
        for listing in self._listing.values():
            if self._roster.fold(old) in listing:
                listing.add(folded)
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
                folded = self._roster.fold(who.nick)
                self._listing.setdefault(chat, set()).add(folded)
                person = self._roster.folded(folded)
                held = person.channels.get(chat, "") if person is not None else ""
                self._roster.joined(chat, who.nick, self._all_modes(modes, held))
                self._roster.seen(*who)

    def _all_modes(self, shown: str, held: str) -> str:
        """The modes of somebody on a list: without IRCv3 multi-prefix it shows the highest, and others stay."""
        if not shown or "multi-prefix" in self._session.caps.enabled:
            return shown
        lower = self._state.isupport.prefix_modes.partition(shown[0])[2]
        return shown + "".join(mode for mode in held if mode in lower)

    def listing_ends(self, chat: ChatId) -> None:
        """The list of members has ended (numeric 366): who is not on it is not there, whatever was missed."""
        listing = self._listing.pop(chat, None)
        if listing is None:
            return
        for person in self._roster.people(chat):
            if self._roster.fold(person.nick) not in listing:
                self._roster.left(chat, person.nick)

    def complete(self, chat: ChatId) -> None:
        """The list of members is complete (numeric 366)."""
        self._told.add(chat)
        everybody, senders, everyone = self._members(chat)
        levels = {
            senders[person.nick].id: level
            for person in everybody
            if (level := self._level(self._roster.modes(person, chat)))
        }
        powers = tuple(MemberPower(everyone[one], level) for one, level in levels.items())
        self._events.offer(RemotePower(chat, powers, complete=True))

    def _members(self, chat: ChatId) -> tuple[list[Person], dict[str, RemoteSender], dict[RemoteUserId, RemoteSender]]:
        """Tells who is in a channel, those among them whom a split holds. Persons, who they are by nick, and by id."""
        everybody = [person for person in self._roster.people(chat) if person.nick != self._session.nick]
        for person in everybody:
            mask = f"{person.user}@{person.host}" if person.host else ""
            self._splits.came(self._roster.fold(person.nick), chat, mask)
        senders = {person.nick: self.sender(person.nick) for person in everybody}
        everyone = {sender.id: sender for sender in senders.values()}
        shown = {gone.sender.id: gone.sender for _, gone in self._splits.held(chat)} | everyone
        self._events.offer(RemoteMembers(chat, tuple(shown.values())))
        return everybody, senders, everyone

    def modes(self, chat: ChatId, line: Line) -> None:
        """Modes of people changed. What cannot be told for sure is asked for again (CVE-2022-39202)."""
        found = parse_modes(self._state.isupport, line.params[1:])
        changed: dict[str, None] = {}
        for change in found.changes:
            if change.kind is ModeKind.PREFIX and change.arg is not None:
                self._roster.mode(chat, change.arg, change.mode, adding=change.adding)
                changed[change.arg] = None
        if found.doubtful or any(self._hidden(chat, change) for change in found.changes):
            self._session.tell("NAMES", chat)
        people = [self._roster.get(nick) for nick in changed]
        powers = tuple(
            MemberPower(self.sender(person.nick), self._level(self._roster.modes(person, chat)))
            for person in people
            if person is not None and chat in person.channels and person.nick != self._session.nick
        )
        if powers:
            by = self.sender(line.source.nick) if line.source is not None and line.source.user else None
            self._events.offer(RemotePower(chat, powers, by))

    def _hidden(self, chat: ChatId, change: ModeChange) -> bool:
        """Whether somebody may have a lower mode that was never shown: without multi-prefix the highest hid it."""
        if change.kind is not ModeKind.PREFIX or change.adding or "multi-prefix" in self._session.caps.enabled:
            return False
        person = self._roster.get(change.arg or "")
        left = person.channels.get(chat, "") if person is not None else "?"
        return not left and change.mode != self._state.isupport.prefix_modes[-1:]

    def _level(self, modes: str) -> int:
        powers = self._state.config.mode_powers
        return max((powers.get(mode, 0) for mode in modes), default=0)

    def _ours(self, nick: str) -> bool:
        return nick == self._session.nick or self._state.own(nick.encode("utf-8", "surrogateescape")) is not None

    def _went(
        self,
        chat: ChatId,
        sender: RemoteSender,
        how: Membership,
        level: int,
        reason: str,
        by: RemoteSender | None = None,
    ) -> None:
        """Somebody is not in a channel any more: nor have they power there."""
        if level and sender.login is None:
            self._events.offer(RemotePower(chat, (MemberPower(sender, 0),)))
        self._tell(chat, sender, how, reason, by)

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
