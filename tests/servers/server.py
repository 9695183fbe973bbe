"""What the servers of tests have in common: found or named as missing, started, stopped, killed, restarted."""

import shutil
from pathlib import Path

from bridge_core.demo.process import ChildProcess, tcp_answers

__all__ = ["MissingServerError", "Server", "find_command"]


class MissingServerError(Exception):
    """A server that a test needs is not installed; the message names the Debian package. Never a reason to skip."""


def find_command(name: str, package: str) -> str:
    """Returns a command's path, also from where Debian keeps servers; raises MissingServerError."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise MissingServerError(
            f"{name} is not installed: apt-get install -y {package} (./test does it without starting a service)"
        )
    return found


class Server:
    """One server process listening on loopback; its folder, configuration and ports stay over restarts."""

    host = "127.0.0.1"

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self._process: ChildProcess | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The process id; RuntimeError when it is not running."""
        if self._process is None:
            raise RuntimeError("not running")
        return self._process.pid

    async def start(self) -> None:
        """Starts and returns when it takes connections; raises ProcessDiedError, MissingServerError."""
        if self._process is None:
            self._process = self._prepare()
        await self._process.start(lambda: tcp_answers(self.host, self.port), timeout=30)

    async def stop(self) -> None:
        """Stops it in order; killed when it takes longer than 10 s."""
        if self._process is not None:
            await self._process.stop()

    def kill(self) -> None:
        """Ends it with SIGKILL, at once."""
        if self._process is not None:
            self._process.kill()

    async def restart(self) -> None:
        """Stops it if it runs and starts it again on the same port."""
        await self.stop()
        await self.start()

    def _prepare(self) -> ChildProcess:
        """Writes the configuration; returns the process to start."""
        raise NotImplementedError
