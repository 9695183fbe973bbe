"""Facts about the database itself, in the table `meta`. Everything here blocks: for jobs of writer and reader."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select

from bridge_core.store import tables
from bridge_core.store.errors import SecretError


def get(connection: Connection, name: str) -> str | None:
    """One fact."""
    return connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == name))


def put(connection: Connection, name: str, value: str) -> None:
    """Set one fact."""
    connection.execute(delete(tables.meta).where(tables.meta.c.name == name))
    connection.execute(insert(tables.meta).values(name=name, value=value))


def check_secret(connection: Connection, fingerprint: str) -> None:
    """Raise SecretError when the database was sealed with another secret; note the first one."""
    found = get(connection, "secret")
    if found is None:
        put(connection, "secret", fingerprint)
    elif found != fingerprint:
        raise SecretError(
            "the database was sealed with another secret: set journal.secret to the one it was made with "
            "(what waits in the journal and the keys of encrypted rooms cannot be read otherwise)"
        )


def next_run(connection: Connection) -> int:
    """Count the runs; return the number of this one."""
    run = int(get(connection, "run") or 0) + 1
    put(connection, "run", str(run))
    return run


def skip_runs(connection: Connection, run: int) -> int:
    """Make `run` the number of this run."""
    put(connection, "run", str(run))
    return run


def last_entry(connection: Connection) -> int:
    """The highest id of a journal entry."""
    return connection.scalar(select(func.max(tables.journal_entry.c.id))) or 0
