"""The observer's ear alone: lines in, events out."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from bridge_core.api.events import (
    RemoteEvent,
    RemoteMember,
    RemoteMembers,
    RemoteMessage,
    RemotePower,
    RemoteRename,
)
from bridge_core.api.ids import ChatId, NetworkId
from bridge_core.engine.clock import SystemClock
from bridges.irc.batches import Batches
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.codec.message import parse
from bridges.irc.config import IrcConfig
from bridges.irc.flight import Flight
from bridges.irc.hearing import Hearing
from bridges.irc.identity import Identity
from bridges.irc.joins import Places
from bridges.irc.state import NetworkState

ALL = frozenset({"account-tag", "account-notify", "extended-join", "message-tags", "chghost", "setname"})
A, B = ChatId("#a"), ChatId("#b")


class Ear:
    """The observer's ear in #a and #b: lines in, events out. `told` is what was asked of the server."""

    def __init__(self, caps: frozenset[str] = ALL, *, whox: bool = False, **config: Any) -> None:
        self.state = NetworkState(NetworkId("irc"), IrcConfig(server="irc.test", **config))
        self.state.host = SimpleNamespace(clock=SystemClock())
        tokens = {"CASEMAPPING": "rfc1459", "BOT": "B", "PREFIX": "(ov)@+"} | ({"WHOX": ""} if whox else {})
        self.state.learned(from_tokens(tokens))
        self.state.bridge([A, B])
        self.events: list[RemoteEvent] = []
        self.told: list[tuple[str, ...]] = []
        places = Places()
        places.want([A, B])
        session: Any = SimpleNamespace(
            own=self.state.claim("relay", Flight(), None, by_observer=False),
            nick="relay",
            up=True,
            parse=parse,
            common=lambda line: False,
            identity=Identity(),
            batches=Batches(),
            caps=SimpleNamespace(enabled=caps),
            tell=lambda *words, **tags: self.told.append(words),
        )
        self.session = session
        self.hearing = Hearing(self.state, session, places, self)
        for chat in (A, B):
            places.joined(chat, chat)
            self.state.roster.joined(chat, "relay")

    def hears(self, *lines: str) -> list[RemoteEvent]:
        """What became of these lines."""
        self.events = []
        self.hearing.heard([line.encode() for line in lines])
        return self.events

    def offer(self, event: RemoteEvent) -> None:
        self.events.append(event)

    def entered(self, chat: ChatId) -> None:
        raise AssertionError

    async def commit(self, events: Sequence[RemoteEvent]) -> None:
        raise AssertionError

    def retry(self, chat: ChatId) -> None:
        raise AssertionError

    def thrown_out(self, chat: ChatId, reason: str) -> None:
        raise AssertionError

    def refused(self, chat: ChatId, reason: str) -> None:
        raise AssertionError


def short(events: list[RemoteEvent]) -> list[tuple[str, ...]]:
    """Events as words."""
    words: list[tuple[str, ...]] = []
    for event in events:
        match event:
            case RemoteMember():
                words.append((event.membership.value, event.chat, event.member.id))
            case RemoteRename():
                words.append(("rename", event.old, event.new.id, event.new.name or ""))
            case RemoteMessage():
                words.append(("says", event.sender.id, event.sender.name or ""))
            case RemotePower():
                words += [("power", event.chat, one.member.id, str(one.level)) for one in event.powers]
            case RemoteMembers():
                words.append(("all", event.chat, *sorted(one.id for one in event.members)))
    return words
