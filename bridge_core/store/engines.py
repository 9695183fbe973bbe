"""Connections for each kind of database, from its address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool, QueuePool

from bridge_core.store.errors import StartError
from bridge_core.store.session import PostgresSession, Session, SqliteSession


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the database is and how it is used. Times in seconds."""

    url: str
    auto_migrate: bool = True
    readers: int = 4
    busy_timeout: float = 10.0
    stop_timeout: float = 10.0
    lease_timeout: float = 10.0
    """How long to wait for the lease: the server may not have noticed yet that the last owner died."""
    cached: int = 20_000
    """Rows that each cache holds at most."""
    sidecar: Path | None = None
    """The file that tells an older copy put back; on a disk of the bridge's, not in the database's backup.

    None: `<file>.seen` beside an SQLite database, no such file with PostgreSQL.
    """


def parse(url: str) -> URL:
    """The address with its driver. Raises StartError for databases that are not supported."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StartError("the database needs a file: sqlite:////absolute/path/to/bridge.db")
        return parsed.set(drivername="sqlite")
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise StartError(f"{kind} is not supported: use sqlite or postgresql")


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def build(url: URL, settings: DatabaseSettings, *, readers: int) -> Engine:
    """An engine in autocommit mode: with `readers` connections, or (0) with one that is never shared."""
    pool: dict[str, Any] = {"poolclass": NullPool}
    if readers:
        pool = {"poolclass": QueuePool, "pool_size": readers, "max_overflow": 0}
    if file_of(url) is None:
        arguments: dict[str, Any] = {
            "connect_timeout": 10,
            "application_name": "matrix-bridge",
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        }
        arguments = {key: value for key, value in arguments.items() if key not in url.query}
        if readers:
            pool["pool_pre_ping"] = True  # a file is not lost between two reads
        return create_engine(url, isolation_level="AUTOCOMMIT", connect_args=arguments, **pool)
    arguments = {"timeout": settings.busy_timeout, "check_same_thread": False, "cached_statements": 512}
    engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args=arguments, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def session(url: URL, settings: DatabaseSettings) -> Session:
    """The writer's session."""
    engine = build(url, settings, readers=0)
    return SqliteSession(engine) if file_of(url) is not None else PostgresSession(engine)


def touch(path: Path) -> None:
    """Make the database's file readable by its owner only, before SQLite makes it. Raises StartError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StartError(f"the database {path} cannot be opened: {error.strerror}") from error


def _prepare_sqlite(connection: Any, record: object) -> None:
    """FULL: each commit is on the disk when it returns. Sort and statement journals stay in memory (measured)."""
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "temp_store = MEMORY",
        "cache_size = -16000",
        "wal_autocheckpoint = 2000",
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")
