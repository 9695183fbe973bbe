"""One process owns a database.

SQLite: a lock on the file `<database>.lock`, which the kernel lets go when the process ends. PostgreSQL: a session
lock held by the writing connection itself, so that no commit can happen without it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, text, update

from bridge_core.store import tables
from bridge_core.store.errors import LeaseError, StartError
from bridge_core.store.session import Session

ROW = 1
"""The id of the only row."""
ALL = 3
"""Both directions, as bits: 1 << Direction."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the run before this one ended. Times in milliseconds since 1970; 0 and clean where there was none."""

    clean: bool = True
    handling: int = 0
    """The directions, a bit for each, in which it had begun to handle entries."""
    heartbeat: int = 0


class FileLock:
    """The lock beside an SQLite file. Raises LeaseError when somebody else has it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Take it, or raise LeaseError at once."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"{self._path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(file, 100, 0).decode(errors="replace").strip()
            os.close(file)
            raise LeaseError(
                f"another process{f' ({owner})' if owner else ''} owns this database; stop it first ({self._path})"
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"pid {os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let go; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


class SessionLock:
    """The lock in PostgreSQL: named after the schema, so that several bridges can share a database."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._owner: str | None = None

    def owned_by(self, owner: str) -> None:
        """From now on, a new connection also checks that nobody else took over meanwhile."""
        self._owner = owner

    def held(self, session: Session) -> None:
        """Take the lock for a new connection, waiting until a dead owner's is gone. Raises LeaseError."""
        connection, end = session.connection, time.monotonic() + self._timeout
        lock = text("SELECT pg_try_advisory_lock(1836017266, hashtext(current_schema()))")
        while not connection.scalar(lock):
            if time.monotonic() > end:
                raise LeaseError("another process owns this database; stop it first (it holds the session lock)")
            time.sleep(0.2)
        if self._owner is not None:
            owner = connection.scalar(select(tables.lease.c.owner))
            if owner != self._owner:
                raise LeaseError("another process took over this database while the connection was lost; stop one")


def new_owner() -> str:
    """A name for this run."""
    return uuid.uuid4().hex


def take(connection: Connection, owner: str, now: int) -> LastRun:
    """Write down that this run owns the database; return how the last one ended."""
    lease = tables.lease.c
    row = connection.execute(select(lease.clean, lease.handling, lease.heartbeat)).first()
    connection.execute(delete(tables.lease))
    host = f"{socket.gethostname()} pid {os.getpid()}"
    connection.execute(
        insert(tables.lease).values(id=ROW, owner=owner, host=host, started_at=now, heartbeat=now, clean=0, handling=0)
    )
    return LastRun(bool(row.clean), row.handling, row.heartbeat) if row else LastRun()


def give_back(connection: Connection, now: int) -> None:
    """Write down that this run ended in good order."""
    connection.execute(update(tables.lease).values(clean=1, handling=0, heartbeat=now))


def hand_on(connection: Connection, last: LastRun) -> None:
    """Leave things as the run before left them: this one only looked after the database."""
    connection.execute(
        update(tables.lease).values(clean=int(last.clean), handling=last.handling, heartbeat=last.heartbeat)
    )
