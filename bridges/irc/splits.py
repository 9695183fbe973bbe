"""People who quit because the network split: they stay in the rooms for a while, for most of them come back.

A split is known by its batch (IRCv3 netsplit), by a reason that is two servers' names, or by how many quit at once.
What ends the wait is a timer that starts with the split, whether or not anybody returns.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog

from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import ChatId
from bridges.irc.config.channels import Netsplit

log = structlog.get_logger(__name__)

_SERVER: Final = r"[A-Za-z0-9*_-]+(?:\.[A-Za-z0-9*_-]+)+"
_REASON: Final = re.compile(rf"({_SERVER}) ({_SERVER})")
_PEOPLE_AT_MOST: Final = 100_000

Pair = tuple[str, str]


@dataclass(slots=True)
class Gone:
    """Somebody who quit, and whom the rooms still show."""

    nick: str
    sender: RemoteSender
    mask: str
    """`user@host`, or empty where that is not known."""
    chats: dict[ChatId, int] = field(default_factory=dict)
    """The channels, each with the power that the rooms give them."""
    reason: str = ""


@dataclass(slots=True)
class _Split:
    people: dict[str, Gone]
    timer: asyncio.TimerHandle


class Splits:
    """Who is held after a quit, by folded nick."""

    def __init__(self, config: Netsplit) -> None:
        self._config = config
        self._left: Callable[[Gone], None] = _nobody_asks
        self._settled: Callable[[frozenset[ChatId]], None] = _nobody_asks
        self._fresh: dict[str, Gone] = {}
        self._window: asyncio.TimerHandle | None = None
        self._splits: dict[Pair, _Split] = {}
        self._where: dict[str, Pair] = {}

    def __len__(self) -> int:
        return len(self._where) + len(self._fresh)

    def tell(self, left: Callable[[Gone], None], settled: Callable[[frozenset[ChatId]], None]) -> None:
        """From now on `left` takes those who are gone for good one by one, and `settled` the channels whose people
        changed when a split is over, many at once."""
        self._left, self._settled = left, settled

    def quit(self, folded: str, gone: Gone, servers: Pair | None = None) -> None:
        """Somebody quit. `servers` are those of the batch in which that was told."""
        self.dropped(folded)  # who quits twice has been here between
        config = self._config
        if servers is None and (found := _REASON.fullmatch(gone.reason)) is not None:
            servers = (found[1], found[2])
        if config.hold <= 0 or len(self) >= _PEOPLE_AT_MOST or not _timed():
            self._left(gone)
        elif servers is not None:
            self._hold(servers, {folded: gone})
        else:
            self._fresh[folded] = gone
            if len(self._fresh) >= config.crowd:
                self._crowd()
            elif self._window is None:
                self._window = asyncio.get_running_loop().call_later(config.window, self._looked)

    def _crowd(self) -> None:
        """Too many at once to be chance."""
        if self._window is not None:
            self._window.cancel()
            self._window = None
        people, self._fresh = self._fresh, {}
        self._hold(("", ""), people)

    def _looked(self) -> None:
        """They were few: each left by themselves."""
        self._window = None
        people, self._fresh = self._fresh, {}
        for gone in people.values():
            self._left(gone)

    def _hold(self, servers: Pair, people: dict[str, Gone]) -> None:
        split = self._splits.get(servers)
        if split is None:
            timer = asyncio.get_running_loop().call_later(self._config.hold, self._over, servers)
            split = self._splits[servers] = _Split({}, timer)
            log.info("irc_netsplit", servers=list(servers))
        split.people.update(people)
        self._where.update(dict.fromkeys(people, servers))

    def _over(self, servers: Pair) -> None:
        """Whoever is not back by now stays away."""
        split = self._splits.pop(servers, None)
        if split is None:
            return
        split.timer.cancel()
        for folded in split.people:
            self._where.pop(folded, None)
        log.info("irc_netsplit_over", servers=list(servers), gone=len(split.people))
        self._settled(frozenset(chat for gone in split.people.values() for chat in gone.chats))

    def came(self, folded: str, chat: ChatId, mask: str) -> tuple[RemoteSender, int] | None:
        """Somebody is in a channel; who it is if they were held there, and with what power: the rooms show them still.

        Another person under a nick that is held makes its owner leave first.
        """
        gone = self._of(folded)
        if gone is None:
            return None
        if gone.mask and mask and gone.mask != mask:
            self.dropped(folded)
            return None
        if chat not in gone.chats:
            return None
        level = gone.chats.pop(chat)
        if not gone.chats:
            self._forget(folded)
        return gone.sender, level

    def dropped(self, folded: str) -> None:
        """Somebody else has the nick now: who had it is gone."""
        gone = self._of(folded)
        if gone is not None:
            self._forget(folded)
            self._left(gone)

    def held(self, chat: ChatId) -> Iterator[tuple[str, Gone]]:
        """Those whom the rooms of a channel still show, by folded nick."""
        for split in self._splits.values():
            for folded, gone in split.people.items():
                if chat in gone.chats:
                    yield folded, gone
        for folded, gone in self._fresh.items():
            if chat in gone.chats:
                yield folded, gone

    def closed(self, chat: ChatId) -> None:
        """The channel is none of ours any more."""
        for folded, gone in [*self.held(chat)]:
            gone.chats.pop(chat, None)
            if not gone.chats:
                self._forget(folded)

    def stop(self) -> None:
        """Forgets all of it: the next list of members says who is there."""
        if self._window is not None:
            self._window.cancel()
            self._window = None
        for split in self._splits.values():
            split.timer.cancel()
        self._splits.clear()
        self._where.clear()
        self._fresh.clear()

    def _of(self, folded: str) -> Gone | None:
        servers = self._where.get(folded)
        return self._fresh.get(folded) if servers is None else self._splits[servers].people.get(folded)

    def _forget(self, folded: str) -> None:
        self._fresh.pop(folded, None)
        servers = self._where.pop(folded, None)
        if servers is None:
            return
        split = self._splits[servers]
        split.people.pop(folded, None)
        if not split.people:
            split.timer.cancel()
            del self._splits[servers]


def _timed() -> bool:
    """Whether there is a loop whose timers could end the wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _nobody_asks(_: object) -> None:
    """Until somebody wants to be told."""
