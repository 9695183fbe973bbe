"""Who is in which channel, as the observer's connection sees it: kept once per network."""

from collections.abc import Iterable, Iterator

from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from bridges.irc import people
from bridges.irc.codec.casemap import Fold, fold_rfc1459


class Person:
    """Someone in at least one of the channels, under their present nick: one connection to the network."""

    __slots__ = ("account", "avatar", "away", "bot", "channels", "host", "nick", "real", "sender", "shown", "user")

    def __init__(self, nick: str, folded: str) -> None:
        self.nick = nick
        self.channels: dict[ChatId, str] = {}
        """Each channel with the letters of the person's modes there."""
        self.sender = RemoteSender(people.of_nick(folded), nick)
        """Who this is for the core: the same for all connections of one account."""
        self.user = ""
        self.host = ""
        """As the server shows them; empty where that is not known."""
        self.account: str | None = None
        """Empty for logged out, None for unknown."""
        self.real: str | None = None
        self.away: bool | None = None
        self.bot = False
        self.shown: str | None = None
        """What they want to be called beside their nick (IRCv3 metadata, `display-name`)."""
        self.avatar: str | None = None
        """Where their picture is; empty for none, None for unknown."""

    @property
    def name(self) -> str:
        """What the person is called: never without their nick, which nobody else has."""
        return self.nick if not self.shown or self.shown == self.nick else f"{self.shown} ({self.nick})"

    def called(self, bot_mark: str) -> str:
        """The name, with the mark of bots."""
        return f"{self.name}{bot_mark}" if self.bot else self.name


class Roster:
    """The members of all channels by nick. `fold` is the network's; clear the roster when it changes."""

    __slots__ = ("_people", "_sessions", "bot_mark", "fold")

    def __init__(self, bot_mark: str = "") -> None:
        self.bot_mark = bot_mark
        """What stands behind the names of bots."""
        self.fold: Fold = fold_rfc1459
        self._people: dict[str, Person] = {}
        self._sessions: dict[RemoteUserId, dict[str, Person]] = {}
        """The connections of each account, the longest known one first, by folded nick."""

    def __len__(self) -> int:
        return len(self._people)

    def __iter__(self) -> Iterator[Person]:
        return iter(list(self._people.values()))

    def get(self, nick: str) -> Person | None:
        """The person of a nick in any spelling."""
        return self._people.get(self.fold(nick))

    def folded(self, folded: str) -> Person | None:
        """The person of a nick that is folded already."""
        return self._people.get(folded)

    def of(self, person: RemoteUserId) -> Person | None:
        """The first connection of whoever has an id; None when they are in none of the channels."""
        return next(iter(self.all_of(person)), None)

    def all_of(self, person: RemoteUserId) -> list[Person]:
        """All connections of whoever has an id: several only where an account has."""
        sessions = self._sessions.get(person)
        if sessions is not None:
            return list(sessions.values())
        nick = people.nick_of(person)
        found = self._people.get(nick) if nick is not None else None
        return [found] if found is not None and found.sender.id == person else []

    def others(self, person: Person, chat: ChatId) -> bool:
        """Whether another connection of the same account is in a channel."""
        sessions = self._sessions.get(person.sender.id)
        if sessions is None or len(sessions) == 1:
            return False
        return any(chat in other.channels for other in sessions.values() if other is not person)

    def modes(self, person: Person, chat: ChatId) -> str:
        """The letters of the modes that somebody has in a channel, over all connections of their account."""
        sessions = self._sessions.get(person.sender.id)
        if sessions is None or len(sessions) == 1:
            return person.channels.get(chat, "")
        return "".join(dict.fromkeys("".join(other.channels.get(chat, "") for other in sessions.values())))

    def nobody(self, words: Iterable[str]) -> bool:
        """Whether none of these folded words is a nick."""
        return self._people.keys().isdisjoint(words)

    def joined(self, chat: ChatId, nick: str, modes: str = "") -> Person:
        """Someone is in a channel, with these modes."""
        folded = self.fold(nick)
        person = self._people.get(folded)
        if person is None:
            person = self._people[folded] = Person(nick, folded)
        elif person.nick != nick:
            self.renamed(person.nick, nick)
        person.channels[chat] = modes
        return person

    def seen(self, nick: str, user: str, host: str, account: str | None = None, real: str | None = None) -> None:
        """What the server shows of somebody in the channels; what is empty or None is not news.

        Another account makes it another person: see `identified`.
        """
        person = self._people.get(self.fold(nick))
        if person is None:
            return
        person.user, person.host = user or person.user, host or person.host
        person.real = person.real if real is None else real
        if account is not None and account != person.account:
            self.identified(person, account)

    def identified(self, person: Person, account: str) -> None:
        """Someone is logged in to an account now, or (empty) to none: their id may be another."""
        before = person.sender.id
        folded = self.fold(person.nick)
        person.account = account
        now = people.of(folded, account)
        if now != before:
            self._forget(before, folded)
            if people.account_of(now) is not None:
                self._sessions.setdefault(now, {})[folded] = person
        person.sender = RemoteSender(now, person.called(self.bot_mark), avatar=person.avatar)
        self._name(now)

    def looks(self, person: Person, *, shown: str | None = None, avatar: str | None = None, bot: bool = False) -> bool:
        """How someone wants to be shown (empty: not any more; None: no news); whether the core must know."""
        before = person.sender
        person.shown = person.shown if shown is None else shown
        person.avatar = person.avatar if avatar is None else avatar
        person.bot = person.bot or bot
        person.sender = RemoteSender(before.id, person.called(self.bot_mark), avatar=person.avatar)
        self._name(before.id)
        return person.sender != before

    def _name(self, person: RemoteUserId) -> None:
        """All connections of an account are called as its first one: names must not change with each line."""
        sessions = self._sessions.get(person)
        if sessions is None:
            return
        first = next(iter(sessions.values()))
        avatar = next((other.avatar for other in sessions.values() if other.avatar is not None), None)
        sender = RemoteSender(person, first.called(self.bot_mark), avatar=avatar)
        for other in sessions.values():
            other.sender = sender

    def _forget(self, person: RemoteUserId, folded: str) -> None:
        """A connection is no longer one of an account's."""
        sessions = self._sessions.get(person)
        if sessions is None:
            return
        sessions.pop(folded, None)
        if sessions:
            self._name(person)
        else:
            del self._sessions[person]

    def mode(self, chat: ChatId, nick: str, mode: str, *, adding: bool) -> None:
        """Someone who is in a channel got or lost a mode."""
        person = self._people.get(self.fold(nick))
        if person is not None and chat in person.channels:
            rest = person.channels[chat].replace(mode, "")
            person.channels[chat] = rest + mode if adding else rest

    def left(self, chat: ChatId, nick: str) -> None:
        """Someone is no longer in a channel."""
        person = self._people.get(self.fold(nick))
        if person is not None:
            person.channels.pop(chat, None)
            if not person.channels:
                self.gone(nick)

    def gone(self, nick: str) -> None:
        """Someone left the network."""
        folded = self.fold(nick)
        person = self._people.pop(folded, None)
        if person is not None:
            self._forget(person.sender.id, folded)

    def renamed(self, old: str, new: str) -> None:
        """Someone has another nick."""
        before, after = self.fold(old), self.fold(new)
        person = self._people.pop(before, None)
        if person is None:
            return
        there = self._people.get(after)
        if there is not None:
            # A nick that somebody still has here: what was known of them is wrong.
            self.gone(there.nick)
        self._people[after] = person
        person.nick = new
        sessions = self._sessions.get(person.sender.id)
        if sessions is not None:
            self._sessions[person.sender.id] = {
                after if folded == before else folded: other for folded, other in sessions.items()
            }
            self._name(person.sender.id)
        else:
            person.sender = RemoteSender(people.of_nick(after), person.called(self.bot_mark), avatar=person.avatar)

    def closed(self, chat: ChatId) -> None:
        """We are no longer in a channel, so nothing is known of its members."""
        for person in [person for person in self._people.values() if chat in person.channels]:
            person.channels.pop(chat, None)
            if not person.channels:
                self.gone(person.nick)

    def moved(self, chat: ChatId, new: ChatId) -> None:
        """A channel has another name."""
        for person in self._people.values():
            if chat in person.channels:
                person.channels[new] = person.channels.pop(chat)

    def people(self, chat: ChatId) -> list[Person]:
        """Everyone in a channel, as persons."""
        return [person for person in self._people.values() if chat in person.channels]

    def clear(self) -> None:
        """Nothing is known any more."""
        self._people.clear()
        self._sessions.clear()
