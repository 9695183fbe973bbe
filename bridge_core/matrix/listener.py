"""Listens on TCP or on a Unix socket and serves an application there."""

import asyncio
from pathlib import Path
from typing import Final

from aiohttp import web

__all__ = ["Listener"]

_TURNS: Final = 10
"""Turns of the loop in which a connection that was accepted has surely begun."""


class Listener:
    """One application on one address: `host` and `port`, or the `path` of a Unix socket.

    There is no access log (paths hold ids of people); the application logs for itself.
    """

    def __init__(
        self, app: web.Application, *, host: str = "127.0.0.1", port: int = 0, path: str | None = None
    ) -> None:
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=10)
        self._host = host
        self._port = port
        self._path = path

    async def start(self) -> None:
        """Listens when it returns. Raises OSError when the address is taken."""
        await self._runner.setup()
        site: web.BaseSite
        if self._path is not None:
            site = web.UnixSite(self._runner, self._path)
        else:
            site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        if self._path is not None:
            # Those of the same group may connect: the homeserver often runs under another account.
            _set_mode(Path(self._path))

    async def stop(self) -> None:
        """Stops accepting, lets requests in flight end (at most 10 s), removes the socket file."""
        for site in list(self._runner.sites):
            await site.stop()
        # Until the task of a connection has begun, aiohttp does not see that it is idle, and would wait for it in vain.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if self._runner.server is not None:
                self._runner.server.pre_shutdown()
        await self._runner.cleanup()
        if self._path is not None:
            _remove_socket(Path(self._path))

    @property
    def url(self) -> str:
        """Where it listens; with port 0 the port that was found."""
        if self._path is not None:
            return f"unix:{self._path}"
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _set_mode(path: Path) -> None:
    path.chmod(0o660)


def _remove_socket(path: Path) -> None:
    try:
        if path.is_socket():
            path.unlink()
    except FileNotFoundError:
        pass
