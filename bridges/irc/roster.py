"""Who is in which channel, as the observer's connection sees it: kept once per network."""

from collections.abc import Iterable

from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from bridges.irc.codec.casemap import Fold, fold_rfc1459


class Person:
    """Someone in at least one of the channels, under their present nick."""

    __slots__ = ("account", "channels", "host", "nick", "real", "sender", "user")

    def __init__(self, nick: str, folded: str) -> None:
        self.nick = nick
        self.channels: dict[ChatId, str] = {}
        """Each channel with the letters of the person's modes there."""
        self.sender = RemoteSender(RemoteUserId(folded), nick)
        self.user = ""
        self.host = ""
        """As the server shows them; empty where that is not known."""
        self.account: str | None = None
        """Empty for logged out, None for unknown."""
        self.real: str | None = None


class Roster:
    """The members of all channels by nick. `fold` is the network's; clear the roster when it changes."""

    __slots__ = ("_people", "fold")

    def __init__(self) -> None:
        self.fold: Fold = fold_rfc1459
        self._people: dict[str, Person] = {}

    def __len__(self) -> int:
        return len(self._people)

    def get(self, nick: str) -> Person | None:
        """The person of a nick in any spelling."""
        return self._people.get(self.fold(nick))

    def folded(self, folded: str) -> Person | None:
        """The person of a nick that is folded already."""
        return self._people.get(folded)

    def nobody(self, words: Iterable[str]) -> bool:
        """Whether none of these folded words is a nick."""
        return self._people.keys().isdisjoint(words)

    def joined(self, chat: ChatId, nick: str, modes: str = "") -> None:
        """Someone is in a channel, with these modes."""
        folded = self.fold(nick)
        person = self._people.get(folded)
        if person is None:
            person = self._people[folded] = Person(nick, folded)
        elif person.nick != nick:
            self._people[folded] = _renamed(person, nick, folded)
            person = self._people[folded]
        person.channels[chat] = modes

    def seen(self, nick: str, user: str, host: str, account: str | None = None, real: str | None = None) -> None:
        """What the server shows of somebody in the channels; what is empty or None is not news."""
        person = self._people.get(self.fold(nick))
        if person is None:
            return
        person.user, person.host = user or person.user, host or person.host
        person.account = person.account if account is None else account
        person.real = person.real if real is None else real

    def mode(self, chat: ChatId, nick: str, mode: str, *, adding: bool) -> None:
        """Someone who is in a channel got or lost a mode."""
        person = self._people.get(self.fold(nick))
        if person is not None and chat in person.channels:
            rest = person.channels[chat].replace(mode, "")
            person.channels[chat] = rest + mode if adding else rest

    def left(self, chat: ChatId, nick: str) -> None:
        """Someone is no longer in a channel."""
        folded = self.fold(nick)
        person = self._people.get(folded)
        if person is not None:
            person.channels.pop(chat, None)
            if not person.channels:
                del self._people[folded]

    def gone(self, nick: str) -> None:
        """Someone left the network."""
        self._people.pop(self.fold(nick), None)

    def renamed(self, old: str, new: str) -> None:
        """Someone has another nick."""
        person = self._people.pop(self.fold(old), None)
        if person is not None:
            folded = self.fold(new)
            self._people[folded] = _renamed(person, new, folded)

    def closed(self, chat: ChatId) -> None:
        """We are no longer in a channel, so nothing is known of its members."""
        for folded in [folded for folded, person in self._people.items() if chat in person.channels]:
            person = self._people[folded]
            person.channels.pop(chat, None)
            if not person.channels:
                del self._people[folded]

    def people(self, chat: ChatId) -> list[Person]:
        """Everyone in a channel, as persons."""
        return [person for person in self._people.values() if chat in person.channels]

    def clear(self) -> None:
        """Nothing is known any more."""
        self._people.clear()


def _renamed(person: Person, nick: str, folded: str) -> Person:
    new = Person(nick, folded)
    new.channels = person.channels
    new.user, new.host, new.account, new.real = person.user, person.host, person.account, person.real
    return new
