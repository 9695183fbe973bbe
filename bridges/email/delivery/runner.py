"""Works the queue off: what is due is tried, each try recorded before it is made."""

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock, Tasks
from bridge_core.api.queues import QueueItem
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.courier import Courier
from bridges.email.delivery.doubts import Doubts
from bridges.email.delivery.rows import Row, State, row_of
from bridges.email.delivery.shelf import Shelf

log = structlog.get_logger(__name__)
_PAGE: Final = 100
_LANE: Final = 100
"""Rows of one destination that are under way or next."""
_TOTAL: Final = 1000
_PATIENCE: Final = 30.0
"""Seconds between looks at the queue when nothing wakes the runner."""
_LOOKAHEAD: Final = 20
"""Pages that are looked through for mails of other destinations, where one has more than it takes."""


@dataclass(slots=True)
class _Lane:
    """What goes to one destination."""

    waiting: deque[Row] = field(default_factory=deque)
    workers: set[asyncio.Task[None]] = field(default_factory=set)


class Runner:
    """The one who takes rows out of the queue, and gives them to the courier."""

    def __init__(
        self, shelf: Shelf, courier: Courier, settings: Delivery, tasks: Tasks, clock: Clock, doubts: Doubts
    ) -> None:
        self._shelf = shelf
        self._courier = courier
        self._settings = settings
        self._tasks = tasks
        self._clock = clock
        self._doubts = doubts
        self._lanes: dict[str, _Lane] = {}
        self._under_way: set[str] = set()
        self._stopping = False
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, or go on after a stop."""
        self._stopping = False
        self._main = self._tasks.spawn(self._run(), "email outgoing queue")

    async def stop(self, seconds: float) -> None:
        """Begin nothing new, let what is under way end for so long, and put the rest back."""
        self._stopping = True
        self._shelf.wake.set()
        back = self._emptied()
        if self._main is not None:
            # It ends by itself: cut off in a commit, what it took would look like tries of unknown end.
            await asyncio.wait([self._main], timeout=max(seconds, 1.0))
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)
        back += self._emptied()
        workers = [task for lane in self._lanes.values() for task in lane.workers]
        if workers:
            _, late = await asyncio.wait(workers, timeout=max(seconds, 0.0))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if back:
            now = self._clock.now_ms()
            try:
                await self._shelf.put([(_as_before(row), now) for row in back])
            except BridgeError as error:
                log.warning("outgoing_not_put_back", rows=len(back), error=str(error))

    def _emptied(self) -> list[Row]:
        """What was taken and not begun."""
        rows = [row for lane in self._lanes.values() for row in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._under_way.difference_update(row.id for row in rows)
        return rows

    async def _run(self) -> None:
        while not self._stopping:
            self._shelf.wake.clear()
            try:
                await self.look()
                wait = await self._until_next()
            except BridgeError as error:
                log.warning("outgoing_queue_unavailable", error=str(error))
                wait = 5.0
            try:
                async with asyncio.timeout(wait):
                    await self._shelf.wake.wait()
            except TimeoutError:
                pass

    async def _until_next(self) -> float:
        due = await self._shelf.queue.next_due()
        if due is None:
            return _PATIENCE
        # What is due already and was not taken waits for a free place, which wakes us.
        left = (due - self._clock.now_ms()) / 1000
        return min(max(left, 0.0), _PATIENCE) if left > 0 else 1.0

    async def look(self) -> int:
        """Take what is due and may begin now; returns how many rows. Whoever was taken is tried in the background."""
        taken = 0
        after: QueueItem | None = None
        for _ in range(_LOOKAHEAD):
            if len(self._under_way) >= _TOTAL:
                break
            async with self._shelf.turn:
                # Whoever is under way before the look may have ended when its answer comes, which then is an old one.
                busy = frozenset(self._under_way)
                items = await self._shelf.queue.due(self._clock.now_ms(), _PAGE, after=after)
                claimed = await self._claim(items, busy)
            for row, destination in claimed:
                self._under_way.add(row.id)
                self._lanes.setdefault(destination, _Lane()).waiting.append(row)
                self._staff(destination)
            taken += len(claimed)
            if len(items) < _PAGE or self._stopping:
                break
            after = items[-1]
            if not claimed and len(self._lanes) == 1:
                break  # All of it goes one way, which is busy.
        return taken

    async def _claim(self, items: list[QueueItem], busy: Collection[str]) -> list[tuple[Row, str]]:
        """Record the tries that are to be made, in one commit. Nothing may be awaited between the rows and it."""
        now = self._clock.now_ms()
        lease = now + int(self._settings.lease * 1000)
        changed: list[tuple[Row, int]] = []
        claimed: list[tuple[Row, str]] = []
        over: list[str] = []
        doubts = 0
        unreadable: list[QueueItem] = []
        room: dict[str, int] = {}
        for item in items:
            try:
                row = row_of(item)
            except ValueError:
                log.error("outgoing_row_unreadable", row=item.key)
                unreadable.append(item)
                continue
            if row.done:
                over.append(item.key)
                continue
            if row.id in busy:
                if row.id in self._under_way and not self._courier.ends(row):
                    changed.append((row, lease))
                continue
            destination = self._courier.carrier.destination(row.mail, row.recipient, row.about.mailbox.domain)
            lane = self._lanes.get(destination)
            left = room.setdefault(destination, _LANE - (len(lane.waiting) if lane is not None else 0))
            if left <= 0 or self._stopping:
                continue
            room[destination] = left - 1
            interrupted = row.state is State.TRYING
            if interrupted:
                doubts += 1
                log.warning("mail_try_was_cut_off", mail=row.mail.id, row=row.id, attempts=row.attempts)
            if row.state is not State.DROPPING:
                row = replace(
                    row,
                    state=State.TRYING,
                    attempts=row.attempts + 1,
                    tried_at=now,
                    doubts=row.doubts + interrupted,
                )
            changed.append((row, lease))
            claimed.append((row, destination))
        if changed or over:
            await self._shelf.put(changed, over)
        if doubts:
            await self._doubts.note(doubts)
        for item in unreadable:
            await self._shelf.set_aside(item)
        return claimed

    def _staff(self, destination: str) -> None:
        lane = self._lanes[destination]
        busy = sum(len(one.workers) for one in self._lanes.values())
        if (
            len(lane.workers) < min(self._settings.connections, len(lane.waiting))
            and busy < self._settings.connections_total
        ):
            worker = self._tasks.spawn(self._work(destination, lane), f"email to {destination}")
            lane.workers.add(worker)
            worker.add_done_callback(lambda ended: self._left(destination, lane, ended))

    def _left(self, destination: str, lane: _Lane, worker: asyncio.Task[None]) -> None:
        lane.workers.discard(worker)
        if not lane.workers and not lane.waiting and self._lanes.get(destination) is lane:
            del self._lanes[destination]
        # Those that found no free place.
        for name in [name for name, one in self._lanes.items() if one.waiting]:
            self._staff(name)
        self._shelf.wake.set()

    async def _work(self, destination: str, lane: _Lane) -> None:
        while lane.waiting:
            row = lane.waiting.popleft()
            try:
                await self._courier.bring(row, destination)
            finally:
                self._under_way.discard(row.id)
            if len(lane.waiting) == _LANE // 2:
                self._shelf.wake.set()


def _as_before(row: Row) -> Row:
    """A row that was taken, and its try not begun."""
    return row if row.state is State.DROPPING else replace(row, state=State.WAITING, attempts=row.attempts - 1)
