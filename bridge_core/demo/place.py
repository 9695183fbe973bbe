"""Where the servers of a demo run: child processes with logs, stopped together."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bridge_core.api.demo import DemoError
from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, ProcessDiedError, tcp_answers

__all__ = ["Child", "DemoPlace"]

_HOST = "127.0.0.1"
_START_LIMIT = 30.0


class Child:
    """A named child process that was started for the demo."""

    def __init__(self, name: str, process: ChildProcess) -> None:
        self.name = name
        self.process = process

    def trouble(self) -> str | None:
        """Words and the end of the log when the process has ended; None while it runs."""
        if self.process.running:
            return None
        status = self.process.status
        how = f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
        return f"{self.name} {how}. The end of its log, {self.process.log}:\n{self.process.tail().rstrip()}"


class DemoPlace:
    """One network's folder and processes; a `bridge_core.api.demo.Place`."""

    def __init__(self, name: str, directory: Path, progress: Callable[[str], None], matrix_user: str) -> None:
        self.directory = directory
        self.matrix_user = matrix_user
        self.children: list[Child] = []
        self._name = name
        self._progress = progress
        directory.mkdir(parents=True, exist_ok=True)

    def free_port(self) -> int:
        """A TCP port of 127.0.0.1 that nobody listens on."""
        return free_port(_HOST)

    def progress(self, text: str) -> None:
        """Tell people what is being done."""
        self._progress(f"{self._name}: {text}")

    async def serve(
        self, name: str, command: Sequence[str], *, port: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """As `Place.serve`. The log is `NAME.log` in the folder, the process id is in `NAME.pid`."""
        process = ChildProcess(
            list(command), log=self.directory / f"{name}.log", directory=self.directory, environment=environment or {}
        )
        try:
            await process.start(lambda: tcp_answers(_HOST, port), timeout=_START_LIMIT)
        except ProcessDiedError as error:
            raise DemoError(str(error)) from error
        except FileNotFoundError as error:
            raise DemoError(f"{name} cannot be started: {error}") from error
        (self.directory / f"{name}.pid").write_text(f"{process.pid}\n")
        self.children.append(Child(name, process))

    def trouble(self) -> str | None:
        """What became of the servers, when one of them has ended."""
        return next((words for child in self.children if (words := child.trouble()) is not None), None)

    async def stop(self) -> None:
        """Stop all servers; those that do not end within ten seconds are killed."""
        await asyncio.gather(*(child.process.stop() for child in self.children))

    def kill(self) -> None:
        """End all servers at once."""
        for child in self.children:
            child.process.kill()


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module under this Python."""
    return [sys.executable, "-m", module, *arguments]
