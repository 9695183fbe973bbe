"""The one writer: a thread that commits in groups whatever the loop submitted meanwhile.

submit ──┐                            ┌─ awaited: result or error, all waiters of a group in one call to the loop
behind ──┴─> queue ─> group ─> commit ┤
                        ^             └─ write-behind: kept and tried again until it is committed
                        └── kept ─────────┘
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from bridge_core.api.errors import TransientError
from bridge_core.store import errors
from bridge_core.store.committer import Committer
from bridge_core.store.group import Outcome
from bridge_core.store.work import Fence, Item, Job, Work

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_DELAY = 0.01
"""Seconds that write-behind work waits at most for an awaited commit to ride with."""
_BEHIND = 256
"""Settlements collected at which they are not kept waiting."""
_BACKOFF = (0.1, 5.0)
"""Seconds between tries while the database is unavailable: first and longest."""


class Writer:
    """The loop's side of the writing thread. Not thread-safe: all methods are called from the loop."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._queue: queue.SimpleQueue[list[Item] | None] = queue.SimpleQueue()
        self._outbox: list[Item] = []
        self._behind: Work | None = None
        self._behind_size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        """Connect and start the thread. Raises StartError or TransientError."""
        self._loop = asyncio.get_running_loop()
        started = self._loop.create_future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="store-writer", daemon=True)
        self._thread.start()
        await started

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    async def stop(self, timeout: float) -> int:
        """Commit what was submitted, within `timeout` seconds; return how many units of work were left (0: none)."""
        thread, self._thread = self._thread, None
        if thread is None:
            return 0
        self._flush()
        self._committer.deadline = time.monotonic() + timeout
        self._queue.put(None)
        await self._loop.run_in_executor(None, thread.join)
        return sum(isinstance(one, Work) for one in self._committer.kept)

    @property
    def uncommitted(self) -> bool:
        """Whether write-behind work is not committed since the database is unavailable."""
        return bool(self._committer.kept)

    def submit(self, item: Item) -> None:
        """Hand over; it goes with everything else that this turn of the loop submits."""
        self._outbox.append(item)
        self._flush_soon()

    def behind(self) -> Work:
        """The unit of write-behind work being collected: add to it at once, do not keep it."""
        work = self._behind
        if work is None:
            work = self._behind = Work("settle")
            self._behind_size = 0
            if not self._flushing:
                self._timer = self._loop.call_later(_DELAY, self._flush)
        self._behind_size += 1
        if self._behind_size >= _BEHIND:
            self._flush_soon()
        return work

    async def commit(self, work: Work) -> Any:
        """Submit and await. Raises TransientError or RefusedRowError; then nothing of it was stored."""
        waiter = work.waiter = self._waiter()
        self.submit(work)
        return await waiter

    async def run(self, job: Callable[[Connection], T]) -> T:
        """Run in a transaction of its own, after everything submitted before. For what is rare."""
        waiter = self._waiter()
        self.submit(Job(job, waiter))
        result: T = await waiter
        return result

    async def settled(self) -> None:
        """Return when everything submitted so far is committed; waits through outages of the database."""
        waiter = self._waiter()
        self.submit(Fence(waiter))
        await waiter

    def _waiter(self) -> asyncio.Future[Any]:
        if self._thread is None:
            raise TransientError("the database is closed")
        return self._loop.create_future()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        items, self._outbox = self._outbox, []
        behind, self._behind = self._behind, None
        if behind is not None:
            items.insert(0, behind)
        if items:
            self._queue.put(items)

    def _tell(self, outcomes: list[Outcome]) -> None:
        if outcomes and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, outcomes)

    def _main(self, started: asyncio.Future[None]) -> None:
        """The thread."""
        committer = self._committer
        try:
            committer.open()
        except Exception as error:
            self._tell([(started, None, errors.translated(error) if errors.is_transient(error) else error)])
            return
        self._tell([(started, None, None)])
        pause, stopping = _BACKOFF[0], False
        while not stopping:
            items, stopping = self._take(pause if committer.kept else None)
            self._tell(self._process(items))
            pause = min(pause * 2, _BACKOFF[1]) if committer.kept else _BACKOFF[0]
        while committer.kept and time.monotonic() < committer.deadline:
            time.sleep(_BACKOFF[0])
            self._tell(self._process([]))
        gone = TransientError("the bridge stopped while the database was unavailable")
        self._tell([(one.waiter, None, gone) for one in committer.kept if one.waiter is not None])
        committer.close()

    def _process(self, items: list[Item]) -> list[Outcome]:
        try:
            return self._committer.process(items)
        except Exception as error:  # a bug must not leave everybody waiting
            _log.exception("writer_failed")
            return [(item.waiter, None, error) for item in items]

    def _take(self, timeout: float | None) -> tuple[list[Item], bool]:
        """Everything queued; waits for the first, at most `timeout` seconds. True: there will be no more."""
        items: list[Item] = []
        try:
            more = self._queue.get(timeout=timeout)
            while more is not None:
                items += more
                if not self._queue.qsize():
                    return items, False
                more = self._queue.get_nowait()
        except queue.Empty:
            return items, False
        return items, True


def _resolve(outcomes: list[Outcome]) -> None:
    for waiter, result, error in outcomes:
        if waiter is None or waiter.done():
            continue
        if error is None:
            waiter.set_result(result)
        else:
            waiter.set_exception(error)
