"""How fast one connection speaks, and what goes first: a server cuts off whoever sends too much (Excess Flood)."""

import asyncio
from collections.abc import Callable, Sequence
from enum import IntEnum
from heapq import heappop, heappush
from typing import Final

from bridges.irc.sluice import Sluice

WAITING_AT_MOST: Final = 1000
"""Lines of the bridge's own that wait; further ones are not sent. Those of messages wait where they come from."""
_STEP: Final = 5.0
"""Seconds that a line of one rank goes before one of the next: none waits for ever, however many are before it."""
_PER_CHANNEL: Final = 0.25
"""What each further channel of a JOIN costs, in lines: servers count them, though less than lines of their own."""


class Rank(IntEnum):
    """What goes first when lines wait. PONG, PING and QUIT wait for nothing."""

    COMMAND = 0
    MESSAGE = 1
    NOTICE = 2
    COURTESY = 3
    """Answers to CTCP, and whatever else nobody misses."""


_RANKS: Final = {
    "PRIVMSG": Rank.MESSAGE,
    "REDACT": Rank.MESSAGE,
    "BATCH": Rank.MESSAGE,
    "NOTICE": Rank.NOTICE,
    "TAGMSG": Rank.NOTICE,
    "WHO": Rank.NOTICE,
    "WHOIS": Rank.NOTICE,
    "NAMES": Rank.NOTICE,
    "MONITOR": Rank.NOTICE,
    "METADATA": Rank.NOTICE,
    "CHATHISTORY": Rank.NOTICE,
}


def rank_of(command: str) -> Rank:
    """The rank of a line by its command."""
    return _RANKS.get(command, Rank.COMMAND)


def join_cost(channels: int) -> float:
    """What a JOIN of so many channels costs, in lines."""
    return 1.0 + _PER_CHANNEL * (channels - 1)


class Outlet:
    """A token bucket of lines whose waiters are served by rank and age: `rate` a second, `burst` at once.

    `write` sends what `later` was given. A line goes once a whole token is there, here and in each of `shared`, which
    all connections of an address or network draw from; what it costs beyond that, and what had to be sent at once, the
    next ones wait for.
    """

    __slots__ = (
        "_asking",
        "_at",
        "_burst",
        "_count",
        "_left",
        "_lent",
        "_loop",
        "_rate",
        "_shared",
        "_timer",
        "_waiting",
        "_write",
        "spent",
    )

    def __init__(
        self, rate: float, burst: float, write: Callable[[bytes], None], shared: Sequence[Sluice] = ()
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = self._loop.time()
        self._write = write
        self._waiting: list[tuple[float, int, float, bytes | asyncio.Future[None], Rank]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._shared = tuple(shared)
        self._lent = 0
        """How many of those have given a token for the next line."""
        self._asking = False
        """Whether one of them has been asked for one."""
        self.spent = 0.0
        """Lines that were let through, for the curious."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def delay(self) -> float:
        """Seconds until all that waits now is sent, about."""
        cost = sum(waiting[2] for waiting in self._waiting)
        return max(0.0, (cost - self._level()) / self._rate)

    def spend(self, cost: float = 1.0) -> None:
        """Counts a line that is sent whatever others wait."""
        self._left = self._level() - cost
        self.spent += cost
        for sluice in self._shared:
            sluice.spend(cost)

    def free(self, cost: float = 1.0) -> bool:
        """Takes a line's tokens, if nobody waits and they are there; whether it did."""
        if self._waiting or self._level() < 1 or not all(sluice.free for sluice in self._shared):
            return False
        self.spend(cost)
        return True

    async def take(self, rank: Rank, cost: float = 1.0) -> None:
        """Waits for a line's turn and takes its tokens; returns at once when the connection is gone."""
        if not self.free(cost):
            turn = self._loop.create_future()
            self._add(rank, cost, turn)
            await turn

    def later(self, rank: Rank, data: bytes, cost: float = 1.0) -> bool:
        """Writes a line now or when its turn comes; False when too many wait, and it will not be."""
        if self.free(cost):
            self._write(data)
            return True
        if len(self._waiting) >= WAITING_AT_MOST:
            return False
        self._add(rank, cost, data)
        return True

    def close(self) -> None:
        """The connection is gone: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for _, _, _, what, _ in waiting:
            if isinstance(what, asyncio.Future) and not what.done():
                what.set_result(None)

    def _add(self, rank: Rank, cost: float, what: "bytes | asyncio.Future[None]") -> None:
        self._count += 1
        heappush(self._waiting, (self._loop.time() + rank * _STEP, self._count, cost, what, rank))
        if self._timer is None and not self._asking:
            self._serve()

    def _serve(self) -> None:
        """Lets those go whose turn it is, and comes back for the others."""
        self._timer = None
        while self._waiting and self._level() >= 1:
            if not self._borrow():
                return
            _, _, cost, what, _ = heappop(self._waiting)
            if isinstance(what, bytes):
                self._pay(cost)
                self._write(what)
            elif not what.done():  # who gave up takes nothing
                self._pay(cost)
                what.set_result(None)
        if self._waiting:
            self._timer = self._loop.call_later(max(0.001, (1 - self._level()) / self._rate), self._serve)

    def _borrow(self) -> bool:
        """Takes a token for the next line from each that is shared; False when it has to be waited for."""
        while self._lent < len(self._shared):
            sluice = self._shared[self._lent]
            if not sluice.free:
                self._asking = True
                sluice.ask(self._loop.time() + self._waiting[0][4] * _STEP, self._is_lent)
                return False
            self._take(sluice)
        return True

    def _take(self, sluice: Sluice) -> None:
        sluice.spend(1)
        self._lent += 1

    def _is_lent(self, sluice: Sluice) -> None:
        """One that was asked has a token."""
        self._asking = False
        if self._waiting:
            self._take(sluice)
            self._serve()

    def _pay(self, cost: float) -> None:
        """As `spend`, of a line that tokens were borrowed for."""
        self._lent = 0
        self.spend(cost)
        for sluice in self._shared:
            sluice.spend(-1)

    def _level(self) -> float:
        """Tokens that are there; below zero when more was sent than allowed."""
        now = self._loop.time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left + 1e-9
