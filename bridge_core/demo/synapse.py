"""A real Synapse on loopback, for the demo and the tests.

`python -m bridge_core.demo.synapse` only installs it.

It runs as a process in an environment of its own (see `synapse_venv`): Synapse is AGPL and never imported.
"""

import asyncio
import hashlib
import hmac
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, http_answers
from bridge_core.demo.synapse_config import write_config
from bridge_core.demo.synapse_venv import SetupError, ensure_synapse

__all__ = ["Synapse"]


class Synapse:
    """One Synapse with its folder, port and registrations; the data stays over stop, kill and restart.

    `registrations` are appservice registration files. Synapse reads them at start only: add to the list and
    `restart()`. `start` is the only slow call (1.5-6 s, and half a minute once for the installation).
    """

    def __init__(
        self,
        directory: Path,
        server_name: str = "hs.test",
        port: int | None = None,
        registrations: Sequence[Path] = (),
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.directory = directory
        self.server_name = server_name
        self.port = port or free_port()
        self.registrations = list(registrations)
        self.log_file = directory / "homeserver.log"
        self._progress = progress
        self._shared_secret = secrets.token_urlsafe(24)
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        """The client-server API's address, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.running

    async def start(self, *, timeout: float = 60) -> None:
        """Starts and returns when requests are answered.

        Raises ProcessDiedError (with the end of the log) or SetupError; installs Synapse when it is missing.
        """
        python = await ensure_synapse(self._progress)
        config = write_config(
            self.directory.resolve(),
            server_name=self.server_name,
            port=self.port,
            registrations=[path.resolve() for path in self.registrations],
            shared_secret=self._shared_secret,
        )
        self._process = ChildProcess(
            command=[str(python), "-m", "synapse.app.homeserver", "-c", str(config)],
            log=self.directory / "synapse-output.log",
            directory=self.directory,
        )
        await self._process.start(lambda: http_answers(f"{self.url}/health"), timeout=timeout)

    async def stop(self, *, timeout: float = 15) -> None:
        """Stops it in order; killed after `timeout` seconds."""
        if self._process is not None:
            await self._process.stop(timeout=timeout)

    def kill(self) -> None:
        """Ends it with SIGKILL, at once: a crash of the homeserver."""
        if self._process is not None:
            self._process.kill()

    async def restart(self) -> None:
        """Stops it if it runs, then starts it on the same port with the registrations as they are now."""
        await self.stop()
        await self.start()

    async def register_user(self, localpart: str, password: str, admin: bool = False) -> str:
        """Registers a user and returns an access token for it.

        By Synapse's shared-secret endpoint `/_synapse/admin/v1/register`. Raises RuntimeError when refused.
        """
        address = f"{self.url}/_synapse/admin/v1/register"
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(address) as response:
                nonce = str((await response.json())["nonce"])
            parts = [nonce, localpart, password, "admin" if admin else "notadmin"]
            mac = hmac.new(self._shared_secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
            body = {"nonce": nonce, "username": localpart, "password": password, "admin": admin, "mac": mac}
            async with session.post(address, json=body) as response:
                answer = await response.json()
                if response.status != 200:
                    raise RuntimeError(f"Synapse refused to register {localpart}: {answer}")
                return str(answer["access_token"])


def _install() -> int:
    try:
        asyncio.run(ensure_synapse(lambda line: print(line, file=sys.stderr)))
    except SetupError as error:
        print(f"Synapse cannot be installed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_install())
