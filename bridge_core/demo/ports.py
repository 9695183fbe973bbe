"""TCP ports for servers of the demo and of the tests: each is given out once while who asked for it runs."""

import contextlib
import fcntl
import json
import os
import random
import socket
import tempfile
from pathlib import Path

_PORTS = range(20_000, 32_000)
_TRIES = 1000


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a TCP port nobody listens on, and that no living process of this user was given.

    So a server that is stopped finds its port free when it starts again, whatever else was started meanwhile: what
    was given out is written down with the process id of who asked, in a file that all processes of a user share.
    The port is chosen at random below the system's range for outgoing connections. A program that does not ask here
    can still take it; the server then fails to start and says so. Blocks for about a millisecond.
    Raises OSError when no port of a thousand tried is free.
    """
    book = Path(tempfile.gettempdir()) / f"matrix-bridge-ports-{os.getuid()}.json"
    descriptor = os.open(book, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        given = _of_the_living(file.read())
        port = next((one for one in random.sample(_PORTS, _TRIES) if one not in given and _is_free(host, one)), None)
        if port is None:
            raise OSError(f"no free port found on {host}")
        file.seek(0)
        file.truncate()
        json.dump({**given, port: os.getpid()}, file)
    return port


def _of_the_living(text: str) -> dict[int, int]:
    given: dict[int, int] = {}
    with contextlib.suppress(ValueError):  # a writer was killed half-way
        given = {int(port): int(owner) for port, owner in json.loads(text or "{}").items()}
    living = {owner for owner in set(given.values()) if Path(f"/proc/{owner}").exists()}
    return {port: owner for port, owner in given.items() if owner in living}


def _is_free(host: str, port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
