"""What the server tells of people beside their coming and going: accounts, hosts, real names, who is away or a bot."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from bridge_core.api.events import Presence, RemoteChatMoved, RemotePresence, RemoteSender
from bridge_core.api.ids import ChatId
from bridges.irc import people
from bridges.irc.attendance import Attendance, Events
from bridges.irc.codec.message import Line
from bridges.irc.partners import Partner
from bridges.irc.roster import Person
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

_OURS: Final = "716"
"""Tells the answers to our WHO from others."""
_WHOX: Final = f"%tnuhafr,{_OURS}"
_PATIENCE: Final = 60.0
"""Seconds for one answer to WHO."""
_TRY_AGAIN: Final = 30.0
_TRIES: Final = 3
_STATUS_AT_MOST: Final = 200


class Acquaintance:
    """The people of one session of the observer. Who is in a channel is the attendance's to tell, once it is known
    who they are: at once where nothing more can be found out, else behind a WHO. One WHO at a time, at a bounded rate.
    """

    def __init__(self, state: NetworkState, session: Session, attendance: Attendance, events: Events) -> None:
        self._state = state
        self._session = session
        self._attendance = attendance
        self._events = events
        self._roster = state.roster
        self._queue: deque[ChatId] = deque()
        self._asking: ChatId | None = None
        self._tries = 0
        self._timer: asyncio.TimerHandle | None = None

    def handlers(self) -> dict[str, Callable[[Line], None]]:
        """The commands and numerics that are read here."""
        return {
            "ACCOUNT": self._account,
            "CHGHOST": self._host,
            "SETNAME": self._name,
            "AWAY": self._away,
            "352": self._who,
            "354": self._whox,
            "315": self._end_of_who,
            "263": self._later,
        }

    # Who it is

    @property
    def accounts(self) -> bool:
        """Whether people are known by their accounts here: the server tells each change of them."""
        if not self._state.config.people.accounts:
            return False
        enabled = self._session.caps.enabled
        return "account-tag" in enabled or "account-notify" in enabled

    def joined(self, line: Line) -> str | None:
        """The account of somebody who joins (IRCv3 extended-join, account-tag): empty for none, None for unknown."""
        if not self.accounts:
            return None
        if len(line.params) > 2:
            return "" if line.param(1) == "*" else line.param(1)
        return line.tags.get("account", "") if "account-tag" in self._session.caps.enabled else None

    def sender(self, line: Line, nick: str) -> RemoteSender:
        """Who said something. A line of today with another account than was known is news (IRCv3 account-tag)."""
        person = self._roster.get(nick)
        if person is not None and person.nick == nick:
            if "bot" in line.tags and not person.bot:
                self._roster.looks(person, bot=True)
            account = line.tags.get("account")
            known = person.account
            if account != known and (account or known) and self.accounts and "batch" not in line.tags:
                self._tagged(person, line, account)
            return person.sender
        account = line.tags.get("account", "") if self.accounts else ""
        return RemoteSender(people.of(self._state.isupport.fold(nick), account), nick)

    def _tagged(self, person: Person, line: Line, account: str | None) -> None:
        if account is None:
            # Who logs out is told by account-notify; without it, by lines of text that have no tag any more.
            enabled = self._session.caps.enabled
            if not person.account or "account-notify" in enabled or line.command not in ("PRIVMSG", "NOTICE"):
                return
        self._attendance.identified(person, account or "")

    def renamed(self, line: Line, old: str, new: str) -> None:
        """Somebody has another nick. Private chats go with them, where they are known by their nick only."""
        person = self._attendance.renamed(old, new)
        if line.source is None or (person is not None and people.account_of(person.sender.id) is not None):
            return
        fold = self._state.isupport.fold
        before, after = ChatId(people.of_nick(fold(old))), ChatId(people.of_nick(fold(new)))
        if before == after:
            return
        partner = Partner(new, f"{line.source.user}@{line.source.host}")
        for login in self._state.partners.follow(before, after, partner):
            inbox = self._state.inboxes.get(login)
            if inbox is not None:
                inbox(RemoteChatMoved(before, after, receiver=login))

    def _account(self, line: Line) -> None:
        """Somebody logged in or out (IRCv3 account-notify)."""
        person = self._source(line)
        if person is not None and self.accounts:
            account = "" if line.param(0) == "*" else line.param(0)
            if account != person.account:
                self._attendance.identified(person, account)

    def _host(self, line: Line) -> None:
        """Somebody's user and host are others now (IRCv3 chghost)."""
        if line.source is not None:
            self._roster.seen(line.source.nick, line.param(0), line.param(1))

    def _name(self, line: Line) -> None:
        """Somebody's real name is another (IRCv3 setname)."""
        if line.source is not None:
            self._roster.seen(line.source.nick, "", "", real=line.param(0))

    def _away(self, line: Line) -> None:
        """Somebody is away, or back (IRCv3 away-notify)."""
        person, away = self._source(line), bool(line.param(0))
        if person is not None:
            self._is_away(person, away, line.param(0))
        elif self._state.presence is not None and line.source is not None:
            self._state.presence.away(line.source.nick, away, line.param(0)[:_STATUS_AT_MOST])

    def _is_away(self, person: Person, away: bool, text: str = "") -> None:
        if person.away is away and not text:
            return
        news = away or person.away is not None
        person.away = away
        if self._state.config.people.away and news and self._state.user_of(person.nick) is None:
            presence = Presence.AWAY if away else Presence.ONLINE
            self._events.offer(RemotePresence(person.sender, presence, text[:_STATUS_AT_MOST] or None))

    def _source(self, line: Line) -> Person | None:
        return self._roster.get(line.source.nick) if line.source is not None else None

    # Who is in a channel

    def named(self, chat: ChatId) -> None:
        """The list of a channel's members is complete: it is told once it is known who they are."""
        unknown = self.accounts and "WHOX" in self._state.isupport.tokens
        there = self._roster.people(chat)
        if unknown and any(person.account is None for person in there):
            self._ask(chat)
            return
        self._attendance.complete(chat)
        if any(not person.host for person in there):
            self._ask(chat)

    def _ask(self, chat: ChatId) -> None:
        if chat not in self._queue and chat != self._asking:
            self._queue.append(chat)
        if self._asking is None and self._timer is None:
            self._next()

    def _next(self) -> None:
        """Asks for the next channel."""
        self._timer = None
        if not self._queue or not self._session.up:
            return
        self._asking = self._queue.popleft()
        if "WHOX" in self._state.isupport.tokens:
            self._session.tell("WHO", self._asking, _WHOX)
        else:
            self._session.tell("WHO", self._asking)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._answered)

    def _answered(self) -> None:
        """The answer is complete, or will never be."""
        chat, self._asking, self._tries = self._asking, None, 0
        if self._timer is not None:
            self._timer.cancel()
        rate = self._state.config.people.who_rate
        self._timer = asyncio.get_running_loop().call_later(1 / rate, self._next)
        if chat is not None and self._session.up and self._waits(chat):
            self._attendance.complete(chat)

    def _waits(self, chat: ChatId) -> bool:
        """Whether the list of a channel is still to be told: we may be out of it again, and know nobody then."""
        ourselves = self._roster.get(self._session.nick)
        there = ourselves is not None and chat in ourselves.channels
        return there and self.accounts and "WHOX" in self._state.isupport.tokens

    def _later(self, line: Line) -> None:
        """The server has no time for WHO now (numeric 263)."""
        if self._asking is None or line.param(1).upper() != "WHO":
            return
        self._tries += 1
        if self._tries >= _TRIES:
            self._answered()
            return
        self._queue.appendleft(self._asking)
        self._asking = None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_TRY_AGAIN, self._next)

    def _who(self, line: Line) -> None:
        """One of a channel's people (numeric 352)."""
        if self._asking is not None:
            self._roster.seen(line.param(5), line.param(2), line.param(3), real=line.param(7).partition(" ")[2])
            self._flags(line.param(5), line.param(6))

    def _whox(self, line: Line) -> None:
        """One of a channel's people, with the account (numeric 354): `me token user host nick flags account real`."""
        if line.param(1) != _OURS or len(line.params) < 8:
            return
        nick, account = line.param(4), line.param(6)
        self._roster.seen(nick, line.param(2), line.param(3), real=line.param(7))
        self._flags(nick, line.param(5))
        person = self._roster.get(nick)
        if person is not None and self.accounts and person.account != ("" if account == "0" else account):
            # Told with the list that follows, unless the list was told before.
            self._attendance.identified(person, "" if account == "0" else account, silent=person.account is None)

    def _flags(self, nick: str, flags: str) -> None:
        person = self._roster.get(nick)
        if person is not None:
            mark = self._state.isupport.tokens.get("BOT", "")
            if mark and mark in flags[1:] and not person.bot:
                self._roster.looks(person, bot=True)  # told with the list, or when they speak
            self._is_away(person, flags[:1] == "G")

    def _end_of_who(self, line: Line) -> None:
        """The answer is complete (numeric 315)."""
        if self._asking is not None and self._state.isupport.fold(line.param(1)) == self._state.isupport.fold(
            self._asking
        ):
            self._answered()
