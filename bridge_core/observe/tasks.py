"""The one place where tasks are made; each has an owner that ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")


class TaskOwner:
    """Owns tasks (an `api.host.Tasks`): none is lost, none outlives `close`, and an unexpected end is logged once.

    `on_failure` is called with the task's name and its exception, besides the log line `task_failed`.
    """

    def __init__(self, name: str, on_failure: Callable[[str, BaseException], None] | None = None) -> None:
        self._name = name
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
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
