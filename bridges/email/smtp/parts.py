"""What a door needs from the rest, and what its sessions share."""

import asyncio
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Blobs, Clock, Tasks
from bridges.email.config.receiving import DoorConfig, Receiving, Tls
from bridges.email.ports import Directory, Inspector, Intake, Passwords, Reply
from bridges.email.smtp.certificate import Certificate
from bridges.email.smtp.guesses import Guesses

_log = structlog.get_logger(__name__)
T = TypeVar("T")

TROUBLE = Reply(451, "4.3.0", "trouble here, try again later")
"""Said whenever a check of our own fails: nothing is let in by a mistake, and nothing refused for good."""


class Refused(Exception):  # noqa: N818 - it is an answer
    """The answer to a command is no."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Parts:
    """What the other parts of the adapter do for the doors.

    `name` is what this server calls itself, `domain` whose postmaster `<postmaster>` is (the name's, if empty).
    """

    name: str
    directory: Directory
    inspector: Inspector
    passwords: Passwords
    intake: Intake
    blobs: Blobs
    clock: Clock
    tasks: Tasks
    settings: Receiving
    domain: str = ""


@dataclass(slots=True)
class Flight:
    """The bytes of all mails that are being transferred now."""

    most: int
    used: int = 0

    def add(self, count: int) -> bool:
        """Count more of them; False where that is too much: then they are not counted."""
        if self.used + count > self.most:
            return False
        self.used += count
        return True


class Job(Generic[T]):
    """Work that runs beside who began it. Its errors are for who asks for the outcome, and nobody else's trouble."""

    def __init__(self, tasks: Tasks, work: Coroutine[Any, Any, T], name: str) -> None:
        self._outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._outcome.add_done_callback(_look)
        self.task = tasks.spawn(self._run(work), name)
        self.task.add_done_callback(lambda _: self._outcome.cancel())

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._outcome.done()

    async def outcome(self) -> T:
        """What became of it; it goes on when who waits here is cancelled."""
        return await asyncio.shield(self._outcome)

    async def cancel(self) -> None:
        """Return when it has ended."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self, work: Coroutine[Any, Any, T]) -> None:
        try:
            found = await work
        except Exception as error:
            if not self._outcome.done():
                self._outcome.set_exception(error)
        else:
            if not self._outcome.done():
                self._outcome.set_result(found)


def _look(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class Commits:
    """The commits that are under way: they go on when their sessions end, and the stop waits for them."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._jobs: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> Job[None]:
        """Begin one."""
        job = Job(self._tasks, work, "email commit")
        self._jobs.add(job.task)
        job.task.add_done_callback(self._jobs.discard)
        return job

    async def finish(self) -> None:
        """Return when all have ended."""
        if self._jobs:
            await asyncio.wait(list(self._jobs))


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sessions of one door share."""

    parts: Parts
    door: DoorConfig
    tls: Tls
    certificate: Certificate | None
    guesses: Guesses
    flight: Flight
    commits: Commits

    async def ask(self, question: Awaitable[T]) -> T:
        """The answer of another part, within the time that it has. Raises Refused with 451 when it fails."""
        try:
            async with asyncio.timeout(self.parts.settings.times.answer):
                return await question
        except TimeoutError as error:
            _log.warning("smtp_check_failed", error="it took too long")
            raise Refused(TROUBLE) from error
        except BridgeError as error:
            _log.warning("smtp_check_failed", error=str(error))
            raise Refused(TROUBLE) from error
        except Exception as error:
            _log.exception("smtp_check_broken")
            raise Refused(TROUBLE) from error
