"""A network of 10,000 people who come, go, rename, log in, are kicked and split apart: rooms and channels agree."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from bridge_core.api.events import (
    Membership,
    RemoteEvent,
    RemoteMember,
    RemoteMembers,
    RemotePower,
)
from bridge_core.api.ids import ChatId, NetworkId
from bridge_core.engine.clock import SystemClock
from bridges.irc import people
from bridges.irc.batches import Batches
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.codec.message import Line, parse
from bridges.irc.config import IrcConfig
from bridges.irc.flight import Flight
from bridges.irc.hearing import Hearing
from bridges.irc.identity import Identity
from bridges.irc.joins import Places
from bridges.irc.state import NetworkState
from tests.bridges.irc.rig import eventually

PEOPLE = 10_000
CHANNELS = tuple(ChatId(f"#c{number}") for number in range(25))
STEPS = 2_500
TOKENS = {"CASEMAPPING": "rfc1459", "PREFIX": "(ov)@+", "CHANMODES": "b,k,l,imnst", "WHOX": "", "NICKLEN": "30"}
CAPS = frozenset(("account-notify", "extended-join", "multi-prefix", "userhost-in-names", "batch"))
LEVELS = {"o": 50, "v": 1, "": 0}


@dataclass(eq=False)
class Somebody:
    """One connection to the network."""

    nick: str
    account: str
    chats: dict[ChatId, str] = field(default_factory=dict)

    @property
    def mask(self) -> str:
        return f"{self.nick}!u@{self.nick.lower().strip('_[]{}')}.example"


class Rooms:
    """What Matrix shows, by the events that the core gets."""

    def __init__(self) -> None:
        self.members: dict[ChatId, set[str]] = defaultdict(set)
        self.powers: dict[ChatId, dict[str, int]] = defaultdict(dict)

    def offer(self, event: RemoteEvent) -> None:
        """Follows an event as the engine does with everybody shown."""
        match event:
            case RemoteMember(chat=chat, member=member, membership=Membership.JOIN):
                self.members[chat].add(member.id)
            case RemoteMember(chat=chat, member=member):
                self.members[chat].discard(member.id)
            case RemoteMembers(chat=chat, members=members):
                self.members[chat] = {member.id for member in members}
            case RemotePower(chat=chat, powers=powers, complete=complete):
                if complete:
                    self.powers[chat].clear()
                self.powers[chat].update({power.member.id: power.level for power in powers})
            case _:
                pass

    def entered(self, chat: ChatId) -> None:
        """As the observer."""

    async def commit(self, events: Sequence[RemoteEvent]) -> None:
        raise AssertionError

    def retry(self, chat: ChatId) -> None:
        raise AssertionError

    def thrown_out(self, chat: ChatId, reason: str) -> None:
        """As the observer."""

    def refused(self, chat: ChatId, reason: str) -> None:
        """As the observer."""


class Network:
    """The truth, and the lines of it that the observer reads."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.state = NetworkState(
            NetworkId("irc"),
            IrcConfig(server="irc.test", people={"who_rate": 100}, netsplit={"hold": 600, "window": 0.05}),
        )
        self.state.host = SimpleNamespace(clock=SystemClock())  # type: ignore[assignment]
        self.state.learned(from_tokens(TOKENS))
        self.state.bridge(CHANNELS)
        self.rooms = Rooms()
        self.everybody: dict[str, Somebody] = {}
        self.away: list[tuple[str, list[Somebody]]] = []
        self.batches = Batches()
        self.lines = 0
        self._split = 0
        places = Places()
        places.want(CHANNELS)
        self.session: Any = SimpleNamespace(
            own=self.state.claim("relay", Flight(), None, by_observer=False),
            nick="relay",
            up=True,
            parse=parse,
            common=self._common,
            identity=Identity(),
            batches=self.batches,
            labels=False,
            caps=SimpleNamespace(enabled=CAPS),
            tell=self._asked,
        )
        self.hearing = Hearing(self.state, self.session, places, self.rooms)
        for number in range(PEOPLE):
            account = f"acc{number // 2}" if number % 3 == 0 else ""
            self._add(Somebody(f"n{number}", account), self.chance.sample(CHANNELS, self.chance.randint(1, 3)))

    def _common(self, line: Line) -> bool:
        if "batch" in line.tags and self.batches.take(line):
            return True
        if line.command == "BATCH":
            self.batches.received(line)
            return True
        return False

    def _add(self, one: Somebody, chats: Iterable[ChatId]) -> None:
        self.everybody[one.nick.lower()] = one
        one.chats = {chat: self.chance.choice(("", "", "", "v", "o", "ov")) for chat in chats}

    def inside(self, chat: ChatId) -> list[Somebody]:
        """Who is in a channel."""
        return [one for one in self.everybody.values() if chat in one.chats]

    def hear(self, *lines: str) -> None:
        """Lines of the server."""
        self.lines += len(lines)
        self.hearing.heard([line.encode() for line in lines])

    def _asked(self, command: str, *params: str, **_: Any) -> None:
        """The observer asks: answered in its turn, as a server does."""
        asyncio.get_running_loop().call_soon(self._answer, command, params)

    def _answer(self, command: str, params: tuple[str, ...]) -> None:
        if command == "NAMES":
            self.names(ChatId(params[0]))
        elif command == "WHO":
            rows = [
                f":s 354 relay 716 u {one.mask.partition('@')[2]} {one.nick} H {one.account or 0} :{one.nick}"
                for one in self.inside(ChatId(params[0]))
            ]
            self.hear(*rows, f":s 315 relay {params[0]} :End")

    def names(self, chat: ChatId) -> None:
        """The list of a channel's members."""
        words = ["@relay!r@bridge.example"]
        for one in self.inside(chat):
            words.append("".join({"o": "@", "v": "+"}[mode] for mode in one.chats[chat]) + one.mask)
        for start in range(0, len(words), 10):
            self.hear(f":s 353 relay = {chat} :{' '.join(words[start : start + 10])}")
        self.hear(f":s 366 relay {chat} :End")

    def enter(self) -> None:
        """The observer joins all channels."""
        for chat in CHANNELS:
            self.hear(f":relay!r@bridge.example JOIN {chat} * :Bridge")
            self.names(chat)

    def reconnect(self) -> None:
        """The observer's connection broke: it knows nobody until it has asked again."""
        for chat in CHANNELS:
            self.hearing.left(chat)
        self.state.roster.clear()
        self.enter()

    # What happens

    def step(self) -> None:
        """Something that everybody sees."""
        one = self.chance.choice(list(self.everybody.values()))
        what = self.chance.random()
        if what < 0.25:
            self.join(one, self.chance.choice(CHANNELS))
        elif what < 0.4 and one.chats:
            chat = self.chance.choice(list(one.chats))
            by = next(iter(self.inside(chat)))
            kicked = what < 0.3
            self.hear(f":{by.mask} KICK {chat} {one.nick} :out" if kicked else f":{one.mask} PART {chat} :bye")
            del one.chats[chat]
        elif what < 0.55:
            self.rename(one)
        elif what < 0.65:
            one.account = "" if one.account else f"acc{self.chance.randrange(PEOPLE // 2)}"
            if one.chats:
                self.hear(f":{one.mask} ACCOUNT {one.account or '*'}")
        elif what < 0.85 and one.chats:
            self.mode(one, self.chance.choice(list(one.chats)))
        else:
            if one.chats:
                self.hear(f":{one.mask} QUIT :Quit: bye")
            del self.everybody[one.nick.lower()]
            new = Somebody(f"m{self.chance.randrange(10**9)}", "")
            self._add(new, ())
            self.join(new, self.chance.choice(CHANNELS))

    def join(self, one: Somebody, chat: ChatId) -> None:
        """Somebody joins a channel."""
        if chat not in one.chats:
            one.chats[chat] = ""
            self.hear(f":{one.mask} JOIN {chat} {one.account or '*'} :{one.nick}")

    def rename(self, one: Somebody) -> None:
        """Somebody takes a free nick, perhaps the same in another spelling, perhaps one of somebody split away."""
        away = [gone.nick for _, others in self.away for gone in others]
        taken = self.chance.sample(away, min(1, len(away)))
        new = self.chance.choice((f"x{self.chance.randrange(10**9)}", one.nick.upper(), *taken))
        if new.lower() in self.everybody and self.everybody[new.lower()] is not one:
            return
        before = one.mask
        del self.everybody[one.nick.lower()]
        one.nick = new
        self.everybody[new.lower()] = one
        if one.chats:
            self.hear(f":{before} NICK :{new}")
            self.hear(f":{before.replace(before.partition('!')[0], new, 1)} CHGHOST u {one.mask.partition('@')[2]}")

    def mode(self, one: Somebody, chat: ChatId) -> None:
        """Somebody gets or loses a mode."""
        mode = self.chance.choice("ov")
        held = one.chats[chat]
        adding = mode not in held
        one.chats[chat] = held + mode if adding else held.replace(mode, "")
        self.hear(f":s MODE {chat} {'+' if adding else '-'}{mode} {one.nick}")

    def split(self, share: float, *, batch: bool) -> None:
        """A part of the network is gone at once."""
        self._split += 1
        far = f"leaf{self._split}.example"
        gone = [one for one in self.everybody.values() if self.chance.random() < share]
        quits = [f":{one.mask} QUIT :hub.example {far}" for one in gone if one.chats]
        if batch:
            tagged = [f"@batch=b{self._split} {line}" for line in quits]
            self.hear(f":s BATCH +b{self._split} netsplit hub.example {far}", *tagged, f":s BATCH -b{self._split}")
        else:
            self.hear(*quits)
        for one in gone:
            del self.everybody[one.nick.lower()]
        self.away.append((far, gone))

    def heal(self) -> None:
        """Most of those who were split away return; whose nick is taken is killed instead."""
        _, gone = self.away.pop(0)
        for one in gone:
            if self.chance.random() < 0.1 or one.nick.lower() in self.everybody:
                continue
            self.everybody[one.nick.lower()] = one
            for chat, modes in one.chats.items():
                self.hear(f":{one.mask} JOIN {chat} {one.account or '*'} :{one.nick}")
                if modes:
                    self.hear(f":s MODE {chat} +{modes} {' '.join([one.nick] * len(modes))}")

    def truth(self, chat: ChatId) -> dict[str, int]:
        """Who is in a channel, by id, with their power."""
        fold, found = self.state.isupport.fold, dict[str, int]()
        for one in self.inside(chat):
            who = people.of(fold(one.nick), one.account)
            level = max((LEVELS[mode] for mode in one.chats[chat]), default=0)
            found[who] = max(level, found.get(who, 0))
        return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_rooms_and_channels_agree_in_the_end(seed: int) -> None:
    """After thousands of comings, goings and splits each room shows exactly who is in its channel, and their powers."""
    network = Network(seed)
    network.enter()
    state, rooms = network.state, network.rooms
    await eventually(lambda: len(rooms.members) == len(CHANNELS), 60)
    for number in range(STEPS):
        network.step()
        if number % 500 == 100:
            members = sum(map(len, rooms.members.values()))
            network.split(0.3, batch=number % 1000 == 100)
            assert members == sum(map(len, rooms.members.values()))
        if number % 500 == 350:
            network.heal()
        if number == STEPS // 2:
            network.reconnect()
        if number % 50 == 0:
            await asyncio.sleep(0)
    assert network.lines > 50_000
    await eventually(lambda: not state.splits._fresh, 60)
    for servers in [*state.splits._splits]:
        state.splits._over(servers)
    assert len(state.splits) == 0
    await eventually(lambda: len(network.hearing._people._queue) == 0 and network.hearing._people._asking is None, 60)
    for chat in CHANNELS:
        truth = network.truth(chat)
        assert rooms.members[chat] == truth.keys(), chat
        powers = {who: level for who, level in rooms.powers[chat].items() if level}
        assert powers == {who: level for who, level in truth.items() if level}, chat


async def test_a_look_finds_what_was_missed() -> None:
    """Lines that never arrived are made good by the next list of members, without a word about anybody else."""
    network = Network(3)
    network.enter()
    rooms = network.rooms
    await eventually(lambda: len(rooms.members) == len(CHANNELS), 60)
    deaf = network.hearing.heard
    network.hearing.heard = lambda lines: None  # type: ignore[method-assign]
    for _ in range(500):
        network.step()
    network.hearing.heard = deaf  # type: ignore[method-assign]
    for chat in CHANNELS:
        network.names(chat)
    await eventually(lambda: all(rooms.members[chat] == network.truth(chat).keys() for chat in CHANNELS), 60)
