"""A Python environment of its own for a program that is run and never imported, made from a hashed lock.

Where it is: in a source tree, `.cache/NAME-venv` beside `pyproject.toml`; installed from a wheel,
`matrix-bridge/NAME-venv` under `$XDG_CACHE_HOME` (`~/.cache` when unset). It is reused as long as the lock file
and the Python that made it are the same (a stamp file says so), and made again otherwise.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LockedVenv", "SetupError", "cache_directory", "only_one", "run_step"]

_STAMP = "installed-from"


class SetupError(Exception):
    """An environment could not be made; the message says which step failed and how."""


@dataclass(frozen=True, slots=True)
class LockedVenv:
    """The environment `name` of what `lock` names; `title` is what people call it."""

    name: str
    lock: Path
    title: str

    @property
    def python(self) -> Path:
        """Where the interpreter is, or will be once the environment is made."""
        return self._directory / "bin" / "python"

    @property
    def _directory(self) -> Path:
        return cache_directory() / f"{self.name}-venv"

    async def ensure(self, progress: Callable[[str], None] = lambda _: None) -> Path:
        """Returns the interpreter, making the environment first when needed (up to half a minute).

        `progress` gets a line when something slow begins. Safe to call from several processes at once: one
        makes the environment, the others wait. Raises SetupError; needs the package index the first time only.
        """
        directory = self._directory
        stamp = f"{hashlib.sha256(self.lock.read_bytes()).hexdigest()} {sys.version}"
        if _is_made(directory, stamp):
            return self.python
        async with only_one(directory.with_name(directory.name + ".lock")):
            if _is_made(directory, stamp):
                return self.python
            progress(f"installing {self.title} into its own environment (once; about half a minute)")
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            await run_step("python -m venv", sys.executable, "-m", "venv", str(directory))
            await run_step(
                f"pip install {self.name}",
                *(str(self.python), "-m", "pip", "-qq", "install", "--require-hashes", "-r", str(self.lock)),
            )
            (directory / _STAMP).write_text(stamp)
        return self.python


def cache_directory() -> Path:
    """Returns the folder for what is installed once and can be made again."""
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        return root / ".cache"
    caches = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(caches) if caches.startswith("/") else Path.home() / ".cache"
    return base / "matrix-bridge"


@asynccontextmanager
async def only_one(path: Path) -> AsyncIterator[None]:
    """Holds a lock file against other processes; waits for it at most ten minutes, then raises SetupError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            async with asyncio.timeout(600):
                while True:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0.2)
        except TimeoutError as error:
            raise SetupError(f"another process keeps {path} locked") from error
        yield


async def run_step(what: str, *command: str, directory: Path | None = None) -> None:
    """Runs one step of an installation, at most ten minutes; raises SetupError with the end of what it said."""
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(600):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        text = output.decode("utf-8", "replace")[-3_000:]
        raise SetupError(f"{what} failed with status {process.returncode}:\n{text}")


def _is_made(directory: Path, stamp: str) -> bool:
    try:
        return (directory / _STAMP).read_text() == stamp and (directory / "bin" / "python").exists()
    except FileNotFoundError:
        return False
