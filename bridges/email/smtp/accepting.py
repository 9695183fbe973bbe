"""A listening socket whose connections are counted before they are secured.

Neither event loop can secure a connection that was just accepted without a race for the client's first bytes (uvloop
gives them to the protocol at once), and a server with `ssl` of its own lets any number into the handshake.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

import structlog

from bridges.email.smtp.parts import Parts

_log = structlog.get_logger(__name__)
_PAUSE: Final = 1.0


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket. Raises OSError. Blocks while a host name is looked up."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=backlog)
    listener.setblocking(False)
    return listener


class Accepting:
    """Accepts connections, in a task, until it is closed."""

    def __init__(self, listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        self.sockets = (listener,)
        self._listener = listener
        self._accepted = accepted
        self._task: asyncio.Task[None] | None = None

    def start(self, parts: Parts) -> None:
        """Begin."""
        self._task = parts.tasks.spawn(self._run(parts), "email accepting")

    def close(self) -> None:
        """Accept no more."""
        if self._task is not None:
            self._task.cancel()
        self._listener.close()

    async def _run(self, parts: Parts) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                # Out of file descriptors, most likely: those that are used come back.
                _log.warning("smtp_accept_failed", error=error.strerror)
                await parts.clock.sleep(_PAUSE)
                continue
            connection.setblocking(False)
            self._accepted(connection)
