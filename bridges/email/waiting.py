"""What waits to be bridged, in order: the first of it in memory, so that a look at it costs no read of the store."""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bridge_core.api.queues import Queue, QueueItem
from bridges.email.mail import Envelope, Verdict

_PAGE: Final = 256
_MOST: Final = 512
"""Mails in memory, without their bytes; more where so many are due in the same millisecond."""
_FOREVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Arrival:
    """A mail that waits to be bridged. `item` is its row; `attempts` are in it."""

    item: QueueItem
    envelope: Envelope
    verdict: Verdict
    blob: str


Opened = Callable[[QueueItem], Awaitable[Arrival | None]]
"""Makes an arrival of a row; None for one that is none and was put away."""


class Waiting:
    """The mails of a queue by when they are due. Rows without a body are none.

    Whoever changes a row says so here once it is committed, or calls `forget` where nobody knows whether it was.
    """

    def __init__(self, queue: Queue, opened: Opened, *, page: int = _PAGE, most: int = _MOST) -> None:
        self._queue = queue
        self._opened = opened
        self._page = page
        self._most = most
        self._order: list[tuple[int, str]] = []
        self._arrivals: dict[str, Arrival] = {}
        self._edge: int | None = 0
        """All that is due before is in memory; None: everything is."""
        self._late: dict[str, Arrival | None] | None = None
        """What changed while the store is read."""
        self._turn = asyncio.Lock()
        self._round = 0

    async def due(self, now: int, limit: int, *, after: Arrival | None = None) -> list[Arrival]:
        """What is due by `now`, by time, then by key, behind `after`. Raises as the queue does."""
        while True:
            found = self._found(now, limit, after)
            if len(found) == limit or self._edge is None or self._edge > now:
                return found
            async with self._turn:
                await self._read()

    def next_due(self) -> int | None:
        """When to look again at the latest; None when nothing waits."""
        return self._order[0][0] if self._order else self._edge

    def put(self, arrival: Arrival) -> None:
        """It is in the store as it is here."""
        self._place(arrival)
        if len(self._order) > self._most and self._order[-1][0] > self._order[0][0]:
            self._edge = self._order[-1][0]
            self._cut(self._edge)

    def remove(self, key: str) -> None:
        """It waits no longer."""
        self._take(key)
        if self._late is not None:
            self._late[key] = None

    def forget(self) -> None:
        """Read all of it again before the next answer."""
        self._order.clear()
        self._arrivals.clear()
        self._edge = 0
        self._round += 1

    def _found(self, now: int, limit: int, after: Arrival | None) -> list[Arrival]:
        start = bisect_right(self._order, (after.item.due, after.item.key)) if after is not None else 0
        end = bisect_left(self._order, (now + 1, ""))
        return [self._arrivals[key] for _, key in self._order[start : min(end, start + limit)]]

    async def _read(self) -> None:
        """Read the rows behind the edge, a page at least."""
        edge, begun = self._edge, self._round
        if edge is None:
            return
        changed = self._late = {}
        try:
            read, reached = await self._behind(edge)
        finally:
            self._late = None
        if begun != self._round or self._edge != edge:
            return
        self._edge = reached
        for arrival in read:
            if arrival.item.key not in changed:
                self._place(arrival)
        for one in changed.values():
            if one is not None:
                self._place(one)

    async def _behind(self, edge: int) -> tuple[list[Arrival], int | None]:
        """What is due at the edge or later, and how far that is all there is."""
        read: list[Arrival] = []
        # Of those that are due at the edge some may have been read; which ones, the database's order of keys says.
        after = QueueItem("", b"", edge)
        while True:
            items = await self._queue.due(_FOREVER, self._page, after=after)
            opened = [await self._opened(item) for item in items if item.body]
            read.extend(one for one in opened if one is not None)
            if len(items) < self._page:
                return read, None
            after = items[-1]
            if after.due > edge:
                return read, after.due

    def _place(self, arrival: Arrival) -> None:
        key, due = arrival.item.key, arrival.item.due
        self._take(key)
        if self._late is not None:
            self._late[key] = arrival
        if self._edge is not None and due >= self._edge:
            return
        insort(self._order, (due, key))
        self._arrivals[key] = arrival

    def _take(self, key: str) -> None:
        arrival = self._arrivals.pop(key, None)
        if arrival is not None:
            del self._order[bisect_left(self._order, (arrival.item.due, key))]

    def _cut(self, edge: int) -> None:
        at = bisect_left(self._order, (edge, ""))
        for _, key in self._order[at:]:
            del self._arrivals[key]
        del self._order[at:]
