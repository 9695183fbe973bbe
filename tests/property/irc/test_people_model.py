"""People who come, go, change nicks and accounts in any order: who is in the rooms is who is in the channels."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.api.events import Membership, RemoteMember, RemoteMessage, RemotePower
from bridge_core.api.ids import ChatId
from bridges.irc import people
from bridges.irc.codec.casemap import fold_rfc1459
from tests.bridges.irc.ear import ALL, A, B, Ear

_NICKS = ("al", "AL[", "bo", "=al", "=bo", "eve")
_ACCOUNTS = ("", "Al", "Al", "bo")
_WAYS = (ALL, ALL - {"account-notify"}, ALL - {"account-tag"}, ALL - {"extended-join"})


@dataclass
class Connection:
    """One connection of somebody."""

    nick: str
    account: str
    channels: set[ChatId] = field(default_factory=set)

    @property
    def id(self) -> str:
        """Who it is."""
        return people.of(fold_rfc1459(self.nick), self.account)


class Network:
    """A small network that writes the lines of a server with these capabilities."""

    def __init__(self, caps: frozenset[str]) -> None:
        self.caps = caps
        self.people = [Connection(*one) for one in (("al", "Al"), ("phone", "Al"), ("bo", ""), ("eve", "bo"))]
        self.ear = Ear(caps)
        self.rooms: dict[ChatId, set[str]] = {A: set(), B: set()}
        self.powers: dict[ChatId, dict[str, int]] = {A: {}, B: {}}

    def says(self, who: Connection, text: str) -> None:
        """A line of a connection; what it becomes is followed as the core would."""
        tags = f"@account={who.account} " if who.account and "account-tag" in self.caps else ""
        for event in self.ear.hears(f"{tags}:{who.nick}!u{id(who)}@h {text}"):
            match event:
                case RemoteMember(membership=Membership.JOIN):
                    self.rooms[event.chat].add(event.member.id)
                case RemoteMember():
                    self.rooms[event.chat].discard(event.member.id)
                    self.powers[event.chat].pop(event.member.id, None)
                case RemotePower():
                    self.powers[event.chat].update({one.member.id: one.level for one in event.powers})
                case RemoteMessage():
                    assert event.sender.id == who.id, (event, who)

    def act(self, action: str, number: int, chat: ChatId, nick: str, account: str) -> None:
        """Something happens, if it can."""
        if action == "connect":
            if len(self.people) < 5 and not self._taken(nick, None):
                self.people.append(Connection(nick, account))
            return
        if not self.people:
            return
        who = self.people[number % len(self.people)]
        match action:
            case "join" if chat not in who.channels:
                who.channels.add(chat)
                extended = f" {who.account or '*'} :Real" if "extended-join" in self.caps else ""
                self.says(who, f"JOIN {chat}{extended}")
            case "part" if chat in who.channels:
                self.says(who, f"PART {chat} :bye")
                who.channels.discard(chat)
            case "kick" if chat in who.channels:
                who.channels.discard(chat)
                self.says(Connection("relay", ""), f"KICK {chat} {who.nick} :out")
            case "quit":
                self.says(who, "QUIT :gone")
                self.people.remove(who)
            case "nick" if not self._taken(nick, who):
                self.says(who, f"NICK {nick}")
                who.nick = nick
            case "account":
                who.account = account
                if "account-notify" in self.caps and who.channels:
                    self.says(who, f"ACCOUNT {account or '*'}")
            case "say" if chat in who.channels:
                self.says(who, f"PRIVMSG {chat} :hello")

    def _taken(self, nick: str, by: Connection | None) -> bool:
        folded = fold_rfc1459(nick)
        return any(fold_rfc1459(other.nick) == folded for other in self.people if other is not by)


_ACTS = st.tuples(
    st.sampled_from(
        ("connect", "join", "join", "join", "part", "kick", "quit", "nick", "nick", "account", "say", "say")
    ),
    st.integers(0, 4),
    st.sampled_from((A, B)),
    st.sampled_from(_NICKS),
    st.sampled_from(_ACCOUNTS),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_ACTS, min_size=5, max_size=60))
def test_rooms_hold_who_is_in_the_channels(acts: list[tuple[str, int, ChatId, str, str]]) -> None:
    """After whatever happened each room has exactly the people of its channel, each under one id, none left behind."""
    network = Network(ALL)
    for act in acts:
        network.act(*act)
        for chat, there in network.rooms.items():
            assert there == {one.id for one in network.people if chat in one.channels}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_WAYS), st.lists(_ACTS, min_size=5, max_size=60))
def test_nobody_speaks_as_another(caps: frozenset[str], acts: list[tuple[str, int, ChatId, str, str]]) -> None:
    """Whatever the server tells of accounts, who is logged in to none is never shown as one who is."""
    network = Network(caps)
    if "account-notify" not in caps or "account-tag" not in caps or "extended-join" not in caps:
        network.says = _careful(network)  # type: ignore[method-assign]
    for act in acts:
        network.act(*act)


def _careful(network: Network):  # type: ignore[no-untyped-def]
    """Where the server does not tell all at once, a message may be of a nick yet, but of nobody else's account."""

    def says(who: Connection, text: str) -> None:
        tags = f"@account={who.account} " if who.account and "account-tag" in network.caps else ""
        for event in network.ear.hears(f"{tags}:{who.nick}!u{id(who)}@h {text}"):
            if isinstance(event, RemoteMessage):
                account = people.account_of(event.sender.id)
                assert account is None or account == who.account.lower(), (event, who)

    return says
