"""The one place where tasks are made; each has an owner that ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from bridge_core.api.host import Clock

T = TypeVar("T")

_RETRY: Final = (1.0, 300.0)
_WELL: Final = 60.0
"""Seconds after which work that never returns counts as well again."""
_SAID: Final = 3600.0
"""Seconds in which one kind of failure of one task is logged once."""


@dataclass(slots=True)
class _Failing:
    """`since`: when work that never returns was begun again; None while that is not so."""

    reason: str
    clock: Clock
    since: float | None = None

    @property
    def now(self) -> bool:
        """Whether it still counts as failing."""
        return self.since is None or self.clock.monotonic() - self.since < _WELL


class TaskOwner:
    """Owns tasks (an `api.host.Tasks`): none is lost, none outlives `close`, and an unexpected end is logged once.

    `on_failure` is called with the task's name and its exception, besides the log line `task_failed`.
    """

    def __init__(self, name: str, on_failure: Callable[[str, BaseException], None] | None = None) -> None:
        self._name = name
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._failing: dict[str, _Failing] = {}
        self._log = structlog.get_logger(__name__)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def names(self) -> list[str]:
        """Names of the running tasks, for diagnosis."""
        return sorted(task.get_name() for task in self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` as a task of this owner; raises `RuntimeError` once the owner is closed.

        The caller may await or cancel the task, and need not.
        """
        if self._closed:
            work.close()
            raise RuntimeError(f"{self._name} is closed; {name} was not started")
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def start(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """`spawn` for whoever does not need the task."""
        _ = self.spawn(work, name)

    def keep(
        self, work: Callable[[], Awaitable[object]], name: str, clock: Clock, *, every: float = 0.0
    ) -> asyncio.Task[None]:
        """Do `work` again and again until cancelled, `every` seconds before each time: whatever it raises ends nothing.

        An exception is logged (`task_fails`, one kind once an hour) and handed to `on_failure`; then it is tried again
        after 1 s, later up to 5 minutes. `failing` names it until `work` has returned, or, without `every`, has run for
        a minute. Raises as `spawn`.
        """
        return self.spawn(self._kept(work, name, clock, every), name)

    @property
    def failing(self) -> Mapping[str, str]:
        """What is kept and fails now, by name, and why."""
        return {name: one.reason for name, one in self._failing.items() if one.now}

    async def _kept(self, work: Callable[[], Awaitable[object]], name: str, clock: Clock, every: float) -> None:
        pause, delay = every, _RETRY[0]
        said: dict[str, float] = {}
        while True:
            await (clock.sleep(pause) if pause else asyncio.sleep(0))
            began = clock.monotonic()
            failing = self._failing.get(name)
            if failing is not None and not every:
                failing.since = began
            try:
                await work()
            except Exception as error:
                now, kind = clock.monotonic(), type(error).__name__
                if not every and now - began >= _WELL:
                    delay = _RETRY[0]
                pause, delay = delay, min(delay * 2, _RETRY[1])
                # Its words may be of a message: they are in the log, with the traceback, and nowhere else.
                self._failing[name] = _Failing(f"it fails ({kind}), see task_fails in the log", clock)
                if now - said.get(kind, now - _SAID) >= _SAID:
                    said[kind] = now
                    self._log.error("task_fails", task=f"{self._name}/{name}", retry_in=pause, exc_info=error)
                if self._on_failure is not None:
                    self._on_failure(f"{self._name}/{name}", error)
            else:
                self._failing.pop(name, None)
                pause, delay = every, _RETRY[0]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        self._log.error("task_failed", task=task.get_name(), exc_info=error)
        if self._on_failure is not None:
            self._on_failure(task.get_name(), error)

    async def join(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for all tasks to end by themselves; whether they did."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        return not self._tasks

    async def close(self, deadline: float, *, grace: float = 0.0) -> None:
        """End all tasks: wait `grace` seconds, then cancel, then wait until the loop's time `deadline`.

        A task still alive at the deadline is named in the log (`task_stuck`) and left to the loop.
        Refuses new tasks from the first call on; calling it again is harmless.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        current = asyncio.current_task()  # a task may close its own owner without cancelling itself
        pending = {task for task in self._tasks if task is not current}
        if pending and grace > 0:
            _, pending = await asyncio.wait(pending, timeout=min(grace, max(0.0, deadline - loop.time())))
        for task in pending:
            task.cancel()
        if pending:
            # One turn of the loop is always given: tasks that end at once are not stuck.
            _, pending = await asyncio.wait(pending, timeout=max(0.01, deadline - loop.time()))
        for task in pending:
            self._log.error("task_stuck", task=task.get_name())
