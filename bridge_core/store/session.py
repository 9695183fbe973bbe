"""The writer's one connection, for each of the two databases. All of it blocks and runs in the writer's thread."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy import Connection, Engine

from bridge_core.store.statements import BY_NAME, Statement
from bridge_core.store.work import Row

_CHUNK = 64
"""Rows in one SQLite statement. Smaller powers of two serve the rest, so that few texts are ever prepared."""


class Session(Protocol):
    """A connection that holds the lease, with explicit transactions. Raises the driver's errors."""

    verifies: bool
    """Whether a lost connection can leave a commit's fate unknown, so that each one carries a mark."""

    def open(self) -> None:
        """Connect, again after a loss."""

    def close(self) -> None:
        """Disconnect; never raises."""

    def begin(self, *, single: bool = False) -> None:
        """Start a transaction; `single` makes each statement's error appear at once."""

    def known(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The entries that were accepted under these dedupe keys. Before `begin`."""

    def execute(self, name: str, rows: Sequence[Row]) -> None:
        """Run a named statement for all rows."""

    def command(self, sql: str) -> None:
        """Run SQL without parameters."""

    def commit(self) -> None:
        """Commit."""

    def rollback(self) -> None:
        """Undo; never raises."""

    def usable(self) -> bool:
        """Whether the connection can be used on after a failure."""

    @property
    def connection(self) -> Connection:
        """The same connection for SQLAlchemy Core, inside the transaction begun."""

    def mark(self) -> str:
        """The mark of the last commit."""


class _Base:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._cursor: Any = None

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def open(self) -> None:
        self.close()
        self._connection = self._engine.connect()
        driver = self._connection.connection.driver_connection
        assert driver is not None
        self._cursor = driver.cursor()

    def close(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()

    def command(self, sql: str) -> None:
        self._cursor.execute(sql)

    def mark(self) -> str:
        self._cursor.execute("SELECT value FROM meta WHERE name = 'commit'")
        row = self._cursor.fetchone()
        return row[0] if row else ""


class SqliteSession(_Base):
    """SQLite: the file's lock is the lease (see `lease`), and a commit either happened or raised."""

    verifies = False

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._sql: dict[tuple[str, int], str] = {}

    def begin(self, *, single: bool = False) -> None:
        self._cursor.execute("BEGIN IMMEDIATE")

    def known(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for start in range(0, len(keys), 512):
            part = list(keys[start : start + 512])
            padded = 1 << (len(part) - 1).bit_length()
            part += part[-1:] * (padded - len(part))
            sql = f"SELECT key, entry FROM journal_dedupe WHERE key IN ({','.join('?' * padded)})"  # noqa: S608
            found.update(self._cursor.execute(sql, part).fetchall())
        return found

    def execute(self, name: str, rows: Sequence[Row]) -> None:
        start, end, size = 0, len(rows), _CHUNK
        while start < end:
            while size > end - start:
                size >>= 1
            sql = self._sql.get((name, size)) or self._prepare(BY_NAME[name], size)
            self._cursor.execute(sql, list(chain.from_iterable(rows[start : start + size])))
            start += size

    def _prepare(self, statement: Statement, size: int) -> str:
        sql = self._sql[statement.name, size] = statement.sqlite(size)
        return sql

    def commit(self) -> None:
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        with contextlib.suppress(Exception):
            if self.connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                self._cursor.execute("ROLLBACK")

    def usable(self) -> bool:
        return True


class PostgresSession(_Base):
    """PostgreSQL: one round trip for a group's statements (pipeline), and a session lock as the lease."""

    verifies = True

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._sql = {one.name: (one.postgres(), [_ARRAYS[kind] for kind in one.types]) for one in BY_NAME.values()}
        self._pipeline: Any = None

    def open(self) -> None:
        super().open()
        self._pipeline = None

    def begin(self, *, single: bool = False) -> None:
        if not single:
            pipeline = self._driver.pipeline()
            pipeline.__enter__()
            self._pipeline = pipeline
        self._cursor.execute("BEGIN")

    def known(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        sql = "SELECT key, entry FROM journal_dedupe WHERE key = ANY(%s::bytea[])"
        return dict(self._cursor.execute(sql, (_bytes_array(keys),)).fetchall())

    def execute(self, name: str, rows: Sequence[Row]) -> None:
        sql, arrays = self._sql[name]
        columns = zip(*rows, strict=True)
        self._cursor.execute(sql, [make(column) for make, column in zip(arrays, columns, strict=True)])

    def commit(self) -> None:
        self._cursor.execute("COMMIT")
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.__exit__(None, None, None)

    def rollback(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        with contextlib.suppress(Exception):
            if pipeline is not None:
                pipeline.__exit__(None, None, None)
        with contextlib.suppress(Exception):
            if self._in_order():
                self._cursor.execute("ROLLBACK")

    def usable(self) -> bool:
        connection = self._connection
        if connection is None or connection.invalidated:
            return False
        return self._in_order() and self._driver.info.transaction_status is TransactionStatus.IDLE

    def _in_order(self) -> bool:
        """False after a pipeline broke while it was left: it stays on, and all that is said there fails or waits."""
        return not self._driver.closed and self._driver.info.pipeline_status is PipelineStatus.OFF

    @property
    def _driver(self) -> Any:
        return self.connection.connection.driver_connection


# Array literals as PostgreSQL reads them (section 8.15 of its manual); bytes in its hex form.


def _numbers_array(values: Sequence[Any]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _bytes_array(values: Sequence[Any]) -> str:
    return "{" + ",".join(["NULL" if one is None else "\\\\x" + one.hex() for one in values]) + "}"


def _text_array(values: Sequence[Any]) -> str:
    quoted = ["NULL" if one is None else '"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in values]
    return "{" + ",".join(quoted) + "}"


_ARRAYS = {"bigint": _numbers_array, "smallint": _numbers_array, "bytea": _bytes_array, "text": _text_array}
