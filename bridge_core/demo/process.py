"""Runs a server as a child process: started, waited for, stopped or killed, and never left behind.

Used by the demo and by the tests for Synapse and the networks' servers. Children are plain `Popen` objects
and belong to no event loop, so one server can outlive the loop that started it (a fixture for a whole
test session). Starting forks: it blocks the loop for a few milliseconds, nothing else here blocks.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

__all__ = ["ChildProcess", "ProcessDiedError", "Unprivileged", "http_answers", "tcp_answers"]

_POLL = 0.02
_TAIL_BYTES = 4_000


class ProcessDiedError(Exception):
    """A child ended, or did not answer in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """The account a child runs as when the parent is root."""

    uid: int
    gid: int


async def tcp_answers(host: str, port: int) -> bool:
    """Tells whether something accepts a connection there, within a second."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def http_answers(url: str) -> bool:
    """Tells whether a GET of this address answers 200, within a second."""
    try:
        timeout = aiohttp.ClientTimeout(total=1)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@dataclass(slots=True)
class ChildProcess:
    """One child and its log file; can be started again after it ended.

    The log is appended to over restarts. Where util-linux's `setpriv` exists the child is killed by the
    kernel when the thread that started it dies, so a killed parent leaves nothing running.
    """

    command: Sequence[str]
    log: Path
    directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Unprivileged | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    _child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id; RuntimeError when it is not running."""
        if self._child is None:
            raise RuntimeError(f"not running: {self.command[0]}")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status of a child that ended by itself (negative: by that signal); None in every other case."""
        return self._child.poll() if self._child is not None else None

    async def start(self, ready: Callable[[], Awaitable[bool]], *, timeout: float = 60) -> None:
        """Starts the child and returns when `ready` says so, at most `timeout` seconds later.

        `ready` is asked every 20 ms. Raises ProcessDiedError when the child ended before that or took
        longer (it is then killed), and FileNotFoundError when there is no such command.
        """
        if self.running:
            raise RuntimeError(f"already running: {self.command[0]}")
        self._child = self._spawn()
        deadline = time.monotonic() + timeout
        try:
            while True:
                if self._child.poll() is not None:
                    raise ProcessDiedError(self._complaint(f"ended with status {self._child.returncode}"))
                if await ready():
                    return
                if time.monotonic() > deadline:
                    raise ProcessDiedError(self._complaint(f"did not answer within {timeout:g} s"))
                await asyncio.sleep(_POLL)
        except BaseException:
            self.kill()
            raise

    async def stop(self, *, timeout: float = 10) -> int | None:
        """Asks the child to end, kills it after `timeout` seconds; returns its exit status, None if not running."""
        child = self._child
        if child is None:
            return None
        if child.poll() is None:
            child.send_signal(self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(child.wait, timeout)
        self.kill()
        return child.returncode

    def kill(self) -> None:
        """Ends the child with SIGKILL, and what it left in its process group; returns when it is gone."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=10)

    def tail(self) -> str:
        """Returns the last few thousand bytes of the log, for an error message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return "(no log)"

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = list(self.command)
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(f"no such command: {command[0]}")
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        account = self.account if os.geteuid() == 0 else None
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, **self.environment},
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                start_new_session=True,
            )

    def _complaint(self, what: str) -> str:
        return f"{self.command[0]} {what}; the end of {self.log}:\n{self.tail()}"
