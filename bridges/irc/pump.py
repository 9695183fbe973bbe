"""From lines as they come to batches that are committed: bounded, in order, nothing lost."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import Clock
from bridge_core.api.network import Inbox
from bridges.irc.pastes import Group, may_be_known, one, pastes, rounds

log = structlog.get_logger(__name__)
FULL: Final = 2000
"""Events that wait before reading stops; it goes on at half of that."""
_BATCH: Final = 200
_PAUSE: Final = 1.0
_PAUSE_AT_MOST: Final = 30.0
_BEAT: Final = 10.0
"""Seconds without events after which it is noted all the same up to when the network was heard."""


def _unknown() -> bytes | None:
    return None


class _Plan:
    """What is handed in of a batch: its rounds in order, and with the last of them what is true behind it."""

    __slots__ = ("again", "cursor", "marks", "reached", "rounds", "size")

    def __init__(
        self,
        rounds: deque[list[Group]],
        size: int,
        reached: int,
        cursor: bytes | None,
        marks: tuple[tuple[int, str, bytes], ...],
    ) -> None:
        self.rounds = rounds
        self.size = size
        self.reached = reached
        self.cursor = cursor
        self.marks = marks
        self.again: list[RemoteEvent] = []
        """Lines of pastes of which one was known: handed in alone, before what follows them."""


class Pump:
    """Hands events to an inbox, whatever waits at once; `full` and `free` stop and start reading.

    Run `run()` in a task. An event leaves the queue only when it is committed; `drained` waits for the last one.
    `heard` gives the cursor that is true once all that was offered is committed, None for no news: it is stored with
    the last events, so that the next process knows since when it has heard nothing. With `merge` lines of one person
    that wait together go as one message.
    """

    def __init__(
        self,
        inbox: Inbox,
        clock: Clock,
        full: Callable[[], None],
        free: Callable[[], None],
        heard: Callable[[], bytes | None] = _unknown,
        *,
        merge: bool = False,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._full = full
        self._free = free
        self._heard = heard
        self._merge = merge
        self._queue: deque[RemoteEvent] = deque()
        self._marks: deque[tuple[int, str, bytes]] = deque()
        """Each with the number of the event behind which it is true."""
        self._offered = self._committed = 0
        self._plan: _Plan | None = None
        """What is left of a batch: after a failure that is handed in, and nothing that was committed before it."""
        self._wake: asyncio.Future[None] | None = None
        self._empty: asyncio.Future[None] | None = None
        self._stopped = False

    def __len__(self) -> int:
        return len(self._queue)

    def offer(self, event: RemoteEvent) -> None:
        """Takes an event; tells `full` when no more should come for now."""
        self._queue.append(event)
        self._offered += 1
        self._rouse()
        if len(self._queue) >= FULL and not self._stopped:
            self._stopped = True
            self._full()

    def mark(self, name: str, value: bytes) -> None:
        """Stores a value under a name of the network's own, with the last event offered so far or soon after it."""
        if self._marks and self._marks[-1][:2] == (self._offered, name):
            self._marks.pop()
        self._marks.append((self._offered, name, value))
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def restarted(self) -> None:
        """A new connection reads; it is stopped again at the next event if the queue is still full."""
        self._stopped = False

    async def run(self) -> None:
        """Commits what comes, for ever. A full journal is waited for, and so is the end of a bug in it."""
        failures = 0
        while True:
            try:
                await self._commit()
                failures = 0
            except BridgeError as error:
                log.warning("irc_inbox_waits", error=str(error), waiting=len(self._queue))
                await self._clock.sleep(_PAUSE)
            except Exception:
                # Nothing of it is dropped: whatever was wrong may pass, and ended, this task would leave us deaf.
                log.exception("irc_inbox_failed", waiting=len(self._queue))
                await self._clock.sleep(min(_PAUSE * 2 ** min(failures, 10), _PAUSE_AT_MOST))
                failures += 1

    async def _commit(self) -> None:
        """Waits for events and commits one batch."""
        queue = self._queue
        while not queue and not self._marks:
            if self._empty is not None and not self._empty.done():
                self._empty.set_result(None)
            self._wake = asyncio.get_running_loop().create_future()
            # A user's connection has no cursor: nothing wakes up for it.
            await asyncio.wait((self._wake,), timeout=None if self._heard is _unknown else _BEAT)
            if not queue and not self._marks:
                await self.note(self._heard())
        plan = self._plan
        if plan is None:
            plan = self._plan = self._planned()
        await self._hand_in(plan)
        self._plan = None
        self._committed = plan.reached
        for _ in range(plan.size):
            queue.popleft()
        while self._marks and self._marks[0] in plan.marks:  # not one that came or changed meanwhile
            self._marks.popleft()
        if self._stopped and len(queue) <= FULL // 2:
            self._stopped = False
            self._free()

    def _planned(self) -> _Plan:
        queue = self._queue
        batch = list(queue) if len(queue) <= _BATCH else [queue[place] for place in range(_BATCH)]
        cursor = self._heard() if len(batch) == len(queue) else None
        reached = self._committed + len(batch)
        marks = tuple(mark for mark in self._marks if mark[0] <= reached) if self._marks else ()
        groups = pastes(batch) if self._merge else None
        parts: Iterable[list[Group]] = rounds(groups) if groups is not None else [[(event,) for event in batch]]
        return _Plan(deque(parts), len(batch), reached, cursor, marks)

    async def _hand_in(self, plan: _Plan) -> None:
        """A paste of which a line is known already is taken for known as a whole: its lines are then handed in alone,
        before what comes after them in their chat, and only behind them it is true that all was heard.

        What is committed is taken off the plan.
        """
        state = {name: value for _, name, value in plan.marks} or None
        while True:
            now = plan.rounds[0] if plan.rounds else []
            last = len(plan.rounds) < 2 and not any(may_be_known(group) for group in now)
            events = [*plan.again, *[one(group) for group in now]]
            accepted = await self._inbox.receive(
                events, cursor=plan.cursor if last else None, state=state if last else None
            )
            known = accepted[len(plan.again) :]
            if plan.rounds:
                plan.rounds.popleft()
            plan.again = [
                line
                for group, result in zip(now, known, strict=True)
                if len(group) > 1 and result.duplicate
                for line in group
            ]
            if last or not (plan.rounds or plan.again or plan.cursor is not None or state):
                return

    async def note(self, cursor: bytes | None) -> None:
        """Commits a cursor alone. One that cannot be stored now is stored with the next events."""
        if cursor is None:
            return
        try:
            await self._inbox.receive((), cursor=cursor)
        except BridgeError as error:
            log.info("irc_cursor_not_stored", error=str(error))

    async def drained(self, timeout: float) -> bool:
        """Waits until everything is committed, at most `timeout` seconds; whether it is."""
        if self._queue or self._marks:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._empty,), timeout=timeout)
        return not self._queue and not self._marks
