"""How fast all connections from one address, and all of a network, speak together."""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final
from weakref import WeakValueDictionary

from bridges.irc.config.lines import Lines

_SOON: Final = 0.001


class Sluice:
    """A token bucket of lines that many outlets draw from: `rate` a second, `burst` at once.

    An outlet that finds no token asks for its first line, and is lent one when its turn has come; for its next line it
    asks anew, so that nobody waits behind all that another has to say. Only who is lent one looks again, however many
    wait.
    """

    __slots__ = ("__weakref__", "_at", "_burst", "_count", "_left", "_loop", "_rate", "_timer", "_waiting")

    def __init__(self, rate: float, burst: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = self._loop.time()
        self._waiting: list[tuple[float, int, Callable[[Sluice], None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def free(self) -> bool:
        """Whether there is a token that nobody waits for."""
        return not self._waiting and self._level() >= 1

    def spend(self, cost: float) -> None:
        """Counts lines that are sent."""
        self._left = self._level() - cost

    def ask(self, order: float, lend: Callable[["Sluice"], None]) -> None:
        """Calls `lend` once a token is there and nobody has a lower `order`; what it takes it spends."""
        self._count += 1
        heappush(self._waiting, (order, self._count, lend))
        if self._timer is None:
            self._later()

    def _later(self) -> None:
        self._timer = self._loop.call_later(max(_SOON, (1 - self._level()) / self._rate), self._serve)

    def _serve(self) -> None:
        self._timer = None
        while self._waiting and self._level() >= 1:
            heappop(self._waiting)[2](self)
        if self._waiting and self._timer is None:
            self._later()

    def _level(self) -> float:
        """Tokens that are there; below zero when more was sent than allowed."""
        now = self._loop.time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left + 1e-9


class Sluices:
    """Those of one network. The one of an address lives as long as a connection from there."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._network: Sluice | None = None
        self._addresses: WeakValueDictionary[str, Sluice] = WeakValueDictionary()

    def of(self, address: str) -> tuple[Sluice, ...]:
        """What a connection from an address of ours draws from, in the order in which it asks."""
        lines, found = self._lines, list[Sluice]()
        if lines.address_rate > 0:
            sluice = self._addresses.get(address)
            if sluice is None:
                sluice = self._addresses[address] = Sluice(lines.address_rate, lines.address_burst)
            found.append(sluice)
        if lines.network_rate > 0:
            if self._network is None:
                self._network = Sluice(lines.network_rate, lines.network_burst)
            found.append(self._network)
        return tuple(found)
