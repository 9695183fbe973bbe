"""Bridge processes forked from one that has imported everything: a start costs a tenth, and crash tests have many."""

import importlib
import multiprocessing
import multiprocessing.process
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge_core.demo.process import ChildProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "pytest",
        "uvloop",
        "tests.crash.staged",
        "tests.crash.historian",
        "tests.crash.mailed",
        "bridge_core.cli.main",
        "bridge_core.cli.run",
        "bridge_core.testing.faults",
        "bridges.irc.connector",
        "bridges.echo.connector",
    ]
)


class ForkedProcess(ChildProcess):
    """As a ChildProcess whose command is `python -m MODULE ARGUMENTS`, where the module has `main(arguments)`."""

    def _spawn(self) -> Any:
        module, *arguments = self.command
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return _Forked(module, arguments, str(self.log), str(self.directory or ""), dict(self.environment))


@dataclass(slots=True)
class _Forked:
    """What ChildProcess needs of a subprocess.Popen."""

    process: multiprocessing.process.BaseProcess

    def __init__(
        self, module: str, arguments: Sequence[str], log: str, directory: str, environment: Mapping[str, str]
    ) -> None:
        # A daemon: it ends with the tests, whatever becomes of them.
        target = (module, list(arguments), log, directory, dict(environment))
        self.process = _CONTEXT.Process(target=_run, args=target, daemon=True)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int | None:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("bridge", timeout)
        return self.process.exitcode


def _run(module: str, arguments: list[str], log: str, directory: str, environment: dict[str, str]) -> None:
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    if directory:
        os.chdir(directory)
    sys.exit(importlib.import_module(module).main(arguments))
