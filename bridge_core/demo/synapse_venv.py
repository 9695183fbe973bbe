"""Synapse's own Python environment, made from its own hashed lock.

Synapse is AGPL: it is run as a process and never imported. Where the environment is: in a source tree,
`.cache/synapse-venv` beside `pyproject.toml`; installed from a wheel, `matrix-bridge/synapse-venv` under
`$XDG_CACHE_HOME` (`~/.cache` when unset). It is reused as long as the lock file and the Python that made it
are the same (a stamp file says so), and made again otherwise.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["SetupError", "ensure_synapse", "synapse_python"]

_LOCK = Path(__file__).with_name("synapse.lock")
_STAMP = "installed-from"


class SetupError(Exception):
    """Synapse's environment could not be made; the message says which step failed and how."""


def synapse_python() -> Path:
    """Returns where the interpreter of Synapse's environment is, or will be once it is made."""
    return _directory() / "bin" / "python"


async def ensure_synapse(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Returns the interpreter that can run Synapse, making its environment first when needed (half a minute).

    `progress` gets a line when something slow begins. Safe to call from several processes at once: one
    makes the environment, the others wait. Raises SetupError; needs the package index the first time only.
    """
    directory = _directory()
    stamp = f"{hashlib.sha256(_LOCK.read_bytes()).hexdigest()} {sys.version}"
    if _is_made(directory, stamp):
        return synapse_python()
    async with _only_one(directory.with_name(directory.name + ".lock")):
        if _is_made(directory, stamp):
            return synapse_python()
        progress("installing Synapse into its own environment (once; about half a minute)")
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        await _command("python -m venv", sys.executable, "-m", "venv", str(directory))
        await _command(
            "pip install synapse",
            *(str(synapse_python()), "-m", "pip", "-qq", "install", "--require-hashes", "-r", str(_LOCK)),
        )
        (directory / _STAMP).write_text(stamp)
    return synapse_python()


def _directory() -> Path:
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        return root / ".cache" / "synapse-venv"
    caches = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(caches) if caches.startswith("/") else Path.home() / ".cache"
    return base / "matrix-bridge" / "synapse-venv"


def _is_made(directory: Path, stamp: str) -> bool:
    try:
        return (directory / _STAMP).read_text() == stamp and (directory / "bin" / "python").exists()
    except FileNotFoundError:
        return False


@asynccontextmanager
async def _only_one(path: Path) -> AsyncIterator[None]:
    """Holds a lock file against other processes; waits for it at most ten minutes."""
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


async def _command(what: str, *command: str) -> None:
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
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
