"""What all connections of one IRC network share."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakSet

from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, UserId
from bridges.irc import people
from bridges.irc.access.access import Access
from bridges.irc.autocommands import Autocommands
from bridges.irc.bans import Bans
from bridges.irc.codec.casemap import fold_ascii
from bridges.irc.codec.encoding import Decoder
from bridges.irc.codec.isupport import Isupport
from bridges.irc.config import IrcConfig
from bridges.irc.consents import ConsentBook
from bridges.irc.edits import Recent
from bridges.irc.faces import Faces
from bridges.irc.flight import Flight
from bridges.irc.keys import Keys
from bridges.irc.meter import Meter
from bridges.irc.modelists import ModeLists
from bridges.irc.nickbook import NickBook
from bridges.irc.nicks import BadName, check_channel, check_nick
from bridges.irc.partners import Partners
from bridges.irc.presence import PartnerPresence
from bridges.irc.regime import Regimes
from bridges.irc.roster import Roster
from bridges.irc.sanctions import Sanctions
from bridges.irc.sluice import Sluices
from bridges.irc.splits import Splits
from bridges.irc.watch import Watch

_NICK_ROOM: Final = 64
"""Longest nick believed before the server has said how long they may be."""
_SPELLINGS_AT_MOST: Final = 65536
_CHANTYPES: Final = "#&+!"
"""What names of channels may start with before the server has said so (RFC 2811 section 2.1)."""
_SAFE: Final = 6
"""Characters in front of a safe channel's short name: `!` and five of its id."""
_UNTOLD: Final = Isupport(chantypes=_CHANTYPES)
# A target with any of these would be several targets, a channel's staff, or a mask of servers or hosts.
_NO_PERSON: Final = re.compile(r"[\x00-\x20\x7f,*?!@$#&:+~%]|^[-0-9]")


@dataclass(slots=True)
class Own:
    """A nick of one of our own connections; `flight` holds its lines without proof."""

    nick: str
    flight: Flight
    user: UserId | None
    by_observer: bool = False
    """Whether the observer's view of this connection's lines is their proof."""
    retired: bool = False
    """The connection is gone; its last lines may yet come."""
    away: str | None = None
    """`user@host` of a QUIT under this nick: unless that connection shows up again, others may have the nick."""
    settled: bool = False
    """The observer has read all that the server sent it before the connection had its nick."""


class Leaver(Protocol):
    """A client of a Matrix user."""

    def clear_out(self, chat: ChatId, reason: str) -> None:
        """Leave a channel for good, and do not enter it. Does not block."""


class NetworkState:
    """One network: what its server says of itself, its channels and people, our own nicks."""

    def __init__(self, network: NetworkId, config: IrcConfig) -> None:
        self.network = network
        self.config = config
        self.host: Host | None = None
        self.access = Access(config)
        self.bans = Bans(config.ban_pause)
        self.sluices = Sluices(config.lines)
        self.isupport = Isupport()
        self.decode = Decoder(config.encoding)
        self.roster = Roster(config.people.bot_mark)
        self.recent = Recent()
        """What Matrix users said last, so that an edit can tell the difference."""
        self.lists = ModeLists()
        self.regimes = Regimes()
        self.meter = Meter()
        self.splits = Splits(config.netsplit)
        self.sanctions = Sanctions()
        self.keys = Keys()
        self.faces = Faces()
        self.partners = Partners()
        self.nickbook = NickBook(config)
        self.autocommands = Autocommands(config.logins.services)
        self.watch = Watch()
        self.presence: PartnerPresence | None = None
        """Where it is shown who is there."""
        self.inboxes: dict[LoginId, Callable[[RemoteEvent], None]] = {}
        """Where what concerns the private chats of a login goes."""
        self.relay_nick = config.nick
        self.consents = ConsentBook(config.consent)
        self.puppets: WeakSet[Leaver] = WeakSet()
        """All clients of Matrix users, to be told when a channel wants none of us any more."""
        self.barrier: Callable[[Callable[[], None]], bool] | None = None
        """Set by the observer: calls back once it has read all that the server sent so far; False when it cannot."""
        self.reached: Callable[[bool], None] = lambda _: None
        """Told by the observer whether it is connected: nobody else tries meanwhile."""
        self._chats: dict[str, ChatId] = {}
        self._spellings: dict[str, ChatId | None] = {}
        self._own: dict[bytes, Own] = {}
        self._users: dict[UserId, Own] = {}

    @property
    def running(self) -> Host:
        """The host, once started."""
        assert self.host is not None, "the connector is not started"
        return self.host

    # The server

    @property
    def nicklen(self) -> int:
        """Bytes a nick may have."""
        return self.isupport.nicklen if "NICKLEN" in self.isupport.tokens else _NICK_ROOM

    def learned(self, isupport: Isupport) -> None:
        """The server told of itself."""
        self.isupport = isupport
        if isupport.utf8_only:
            self.decode = Decoder(self.config.encoding, utf8_only=True)
        self.roster.fold = isupport.fold
        self.bridge(list(self._chats.values()))

    # Chats

    def chat(self, text: str) -> ChatId:
        """The id of a channel that an admin or user names. Raises BadName.

        Only A to Z are folded: that joins no two channels on any network, and JOIN takes the id as it is. Which ids
        are one channel on a network with a wider CASEMAPPING is known once its server is.
        """
        name = text.strip()
        known = self.isupport.tokens
        isupport = self.isupport if known else _UNTOLD
        if not known and len(name.encode("utf-8", "replace")) > _NICK_ROOM * 4:
            raise BadName("a channel's name is not that long")
        check_channel(name, isupport)
        return self._chats.get(self.isupport.fold(name)) or ChatId(fold_ascii(name))

    def person(self, text: str) -> RemoteUserId:
        """The id of a person whom an admin or user names by their nick. Raises BadName."""
        name = text.strip().removeprefix("@")
        folded = self.isupport.fold(check_nick(name, self.nicklen))
        person = self.roster.folded(folded)
        return person.sender.id if person is not None else people.of_nick(folded)

    def check_own_nick(self, nick: str) -> str:
        """A nick that one of our users wants. Raises BadName."""
        if self.isupport.fold(nick) == self.isupport.fold(self.relay_nick):
            raise BadName("that is the bridge's own nick")
        return check_nick(nick, self.nicklen)

    def nick_of_person(self, person: RemoteUserId) -> str | None:
        """Under which nick somebody is now, as they write it where that is known; None for an account nowhere seen."""
        found = self.roster.of(person)
        return found.nick if found is not None else people.nick_of(person)

    def is_channel(self, chat: ChatId) -> bool:
        """Whether a chat is a channel rather than a conversation with one person."""
        if not self.isupport.tokens:
            return chat[:1] in _CHANTYPES  # no nick starts so
        return self.isupport.is_channel(chat)

    def check_nick(self, nick: str) -> str:
        """The nick of one person, to write to. Raises BadName for what would reach others."""
        if not nick or _NO_PERSON.search(nick):
            raise BadName("that is not the nick of one person")
        return nick

    def bridge(self, chats: Iterable[ChatId]) -> None:
        """These channels have portals."""
        fold = self.isupport.fold
        self._chats = {fold(chat): chat for chat in chats}
        self._spellings.clear()

    def add(self, chat: ChatId) -> None:
        """A channel has a portal now."""
        self._chats[self.isupport.fold(chat)] = chat
        self._spellings.clear()

    def remove(self, chat: ChatId) -> None:
        """A channel has no portal any more."""
        self._chats.pop(self.isupport.fold(chat), None)
        self._spellings.clear()

    def chat_of(self, name: str) -> ChatId | None:
        """The bridged channel that the server calls `name`; None for any other."""
        try:
            return self._spellings[name]
        except KeyError:
            if len(self._spellings) >= _SPELLINGS_AT_MOST:
                self._spellings.clear()
            found = self._chats.get(self.isupport.fold(name))
            if found is None and name[:1] == "!" and len(name) > _SAFE:
                # A safe channel's short name (RFC 2811 section 3): the server puts an id in front of it.
                found = self._chats.get(self.isupport.fold("!" + name[_SAFE:]))
            self._spellings[name] = found
            return found

    def chat_id(self, name: str) -> ChatId:
        """The id of a channel that the server calls `name`, bridged or not. Raises BadName."""
        found = self.chat_of(name)
        if found is not None:
            return found
        check_channel(name, self.isupport)
        return ChatId(fold_ascii(name))

    # Our own nicks

    def claim(self, nick: str, flight: Flight, user: UserId | None, *, by_observer: bool) -> Own:
        """A connection of ours has this nick now."""
        own = self._own[_key(nick)] = Own(nick, flight, user, by_observer)
        if user is not None:
            self._users[user] = own
        self._once_read(lambda: _settle(own))
        return own

    def renamed(self, own: Own, nick: str) -> None:
        """A connection of ours reads that its nick changed.

        Lines under the old one are ours until the observer has read what the server sent it before.
        """
        old, own.nick = own.nick, nick
        self._own[_key(nick)] = own
        if old != nick:
            self._once_read(lambda: self._left(own, old))

    def seen_renamed(self, own: Own, old: str, new: str) -> None:
        """The observer reads that a connection of ours changed its nick: none of its lines follow under the old one."""
        if own.nick == old:
            own.nick = new
        self._own[_key(new)] = own
        if old != new:
            self.vacated(old)

    def vacated(self, nick: str) -> None:
        """None of the lines under a nick that the observer reads from here on are ours."""
        self._own.pop(_key(nick), None)

    def _once_read(self, then: Callable[[], None]) -> None:
        """Goes on once the observer has read all that the server sent it so far; at once while there is none."""
        if self.barrier is None or not self.barrier(then):
            then()

    def _left(self, own: Own, nick: str) -> None:
        if own.nick != nick and self._own.get(_key(nick)) is own:
            self.vacated(nick)

    def retire(self, own: Own) -> None:
        """The connection is gone: it speaks for nobody, but its last lines are still ours."""
        own.retired = True
        if own.user is not None and self._users.get(own.user) is own:
            del self._users[own.user]

    def forget(self, own: Own) -> None:
        """Nothing more can come from a retired connection."""
        for nick in [nick for nick, other in self._own.items() if other is own]:
            del self._own[nick]

    def own(self, nick: bytes) -> Own | None:
        """The connection of ours that has, or had, a nick in the server's spelling."""
        return self._own.get(nick)

    def nick_of(self, user: UserId) -> str | None:
        """The nick of a Matrix user who has a connection."""
        own = self._users.get(user)
        return own.nick if own is not None else None

    def user_of(self, nick: str) -> UserId | None:
        """The Matrix user whose connection has a nick in the server's spelling."""
        own = self._own.get(_key(nick))
        return own.user if own is not None and not own.retired and own.away is None else None


def _settle(own: Own) -> None:
    own.settled = True


def _key(nick: str) -> bytes:
    return nick.encode("utf-8", "surrogateescape")
