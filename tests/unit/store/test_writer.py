"""What the writer does when the database will not."""

import asyncio
import contextlib
import secrets
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import UserId
from bridge_core.engine.faults import NoFaults
from bridge_core.engine.ports import Write
from bridge_core.store.committer import Committer
from bridge_core.store.database import Database
from bridge_core.store.errors import RefusedRowError
from bridge_core.store.work import Work
from bridge_core.store.writer import Writer
from tests.unit.store.opening import Opened


def put(name: str, value: object = b"v") -> Work:
    work = Work("settle")
    work.add("kv_put", ("plain.t", name, value, 0))
    return work


async def values(database: Database) -> set[str]:
    rows = await database.reader.run(lambda connection: connection.execute(text("SELECT key FROM kv")).all())
    return {row[0] for row in rows}


async def test_only_the_faulty_unit_of_a_group_fails(database_url: str, opened: Opened) -> None:
    """Units submitted at once are one commit; when the database refuses one of them, the others are stored."""
    database = await opened(database_url)
    results = await asyncio.gather(
        database.writer.commit(put("a")),
        database.writer.commit(put("bad", object())),
        database.writer.commit(put("b")),
        return_exceptions=True,
    )
    assert isinstance(results[1], RefusedRowError)
    assert [results[0], results[2]] == [None, None]
    assert await values(database) == {"a", "b"}


async def test_a_refused_row_nobody_awaits_blocks_nothing(database_url: str, opened: Opened) -> None:
    """Write-behind work is committed without the row that the database refuses, which is counted."""
    database = await opened(database_url)
    work = database.writer.behind()
    work.add("kv_put", ("plain.t", "a", b"v", 0))
    work.add("kv_put", ("plain.t", "bad", object(), 0))
    work.count("irc", 0, "delivered")
    await database.writer.settled()
    assert await values(database) == {"a"}
    assert database._committer.refused == 1
    assert database.totals["irc", 0, "delivered"] == 1


async def test_a_failing_job_leaves_nothing_behind(database_url: str, opened: Opened) -> None:
    """A job that raises is undone, and its own error comes out."""
    database = await opened(database_url)

    def job(connection: Any) -> None:
        connection.execute(text("INSERT INTO meta (name, value) VALUES ('x', 'y')"))
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await database.writer.run(job)
    rows = await database.reader.run(lambda one: one.execute(text("SELECT 1 FROM meta WHERE name = 'x'")).all())
    assert rows == []
    await database.users.change(UserId("@a:hs"), lambda row: row)


async def test_a_locked_database_is_waited_out(tmp_path: Path, opened: Opened) -> None:
    """While another process holds the lock, awaited work gets TransientError and settlements are kept till it ends."""
    file = tmp_path / "bridge.db"
    database = await opened(f"sqlite:///{file}", busy_timeout=0.05)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database.writer.behind().add("kv_put", ("plain.t", "kept", b"v", 0))
    with pytest.raises(TransientError, match="locked"):
        await database.writer.commit(put("refused"))
    assert not database.available
    assert database.outages == 1
    other.execute("ROLLBACK")
    other.close()
    await database.writer.settled()
    assert database.available
    assert await values(database) == {"kept"}


async def test_a_full_disk_refuses_new_work_and_loses_nothing(tmp_path: Path, opened: Opened) -> None:
    """When the disk is full, new work gets TransientError, and what was settled is stored once there is room."""
    database = await opened(f"sqlite:///{tmp_path / 'bridge.db'}")
    await database.writer.commit(put("before"))

    def limit(pages: str) -> Any:
        return database.writer.run(
            lambda connection: connection.execute(text(f"PRAGMA max_page_count = {pages}")).all()
        )

    await limit("1")  # as small as it is
    database.writer.behind().add("kv_put", ("plain.t", "kept", b"v" * 100_000, 0))
    with pytest.raises(TransientError, match="full"):
        await database.writer.commit(put("refused", b"v" * 100_000))
    await limit("1000000")
    await database.writer.settled()
    assert await values(database) == {"before", "kept"}


async def test_what_is_not_committed_at_stop_is_told(tmp_path: Path, opened: Opened) -> None:
    """A stop during an outage ends in time, and those who wait learn that their work is not committed."""
    file = tmp_path / "bridge.db"
    database = await opened(f"sqlite:///{file}", busy_timeout=0.05, stop_timeout=0.2)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database.writer.behind().add("kv_put", ("plain.t", "kept", b"v", 0))
    waiting = asyncio.ensure_future(database.writer.settled())
    await asyncio.sleep(0)
    await database.stop()
    with pytest.raises(TransientError):
        await waiting
    other.close()


@pytest.mark.server
async def test_a_lost_connection_is_made_again(postgres_url: str, opened: Opened) -> None:
    """After the server ended the connection, work goes on with a new one, and nothing settled is lost."""
    database = await opened(postgres_url)
    await database.writer.commit(put("before"))
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    database.writer.behind().add("kv_put", ("plain.t", "kept", b"v", 0))
    await database.writer.settled()
    await database.writer.commit(put("after"))
    assert await values(database) == {"before", "kept", "after"}


@pytest.mark.server
async def test_a_key_too_long_for_its_index_blocks_nothing(postgres_url: str, opened: Opened) -> None:
    """PostgreSQL's indexes hold short keys only: such a row is refused for good, the next is stored."""
    database = await opened(postgres_url)
    with pytest.raises(RefusedRowError):
        await database.writer.commit(put(secrets.token_hex(5000)))
    for name in (secrets.token_hex(5000), "after"):
        database.writer.behind().write([Write(op, row) for op, rows in put(name).rows.items() for row in rows])
    async with asyncio.timeout(60):
        await database.writer.settled()
    assert await values(database) == {"after"}
    assert (database._committer.refused, database.outages) == (1, 0)


async def test_a_connection_whose_pipeline_broke_is_made_again(
    postgres_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that breaks while it is left stays on where the connection seems open: work goes on with a new one."""
    database = await opened(postgres_url)
    await database.writer.commit(put("before"))
    left = psycopg.Pipeline.__exit__

    def breaks(self: psycopg.Pipeline, *_: object) -> None:
        self.level -= 1
        monkeypatch.setattr(psycopg.Pipeline, "__exit__", left)
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(psycopg.Pipeline, "__exit__", breaks)
    with contextlib.suppress(TransientError):  # whether the server heard the COMMIT is open
        await database.writer.commit(put("during"))
    async with asyncio.timeout(60):
        await database.writer.commit(put("after"))
    assert {"before", "after"} <= await values(database)
    assert database.available


@pytest.mark.server
async def test_text_with_u0000_is_refused_without_showing_it(postgres_url: str, opened: Opened) -> None:
    """PostgreSQL holds no U+0000 in text: the unit is refused, and the error's words hold no value."""
    database = await opened(postgres_url)
    with pytest.raises(RefusedRowError) as caught:
        await database.writer.commit(put("secret\0text"))
    assert "secret" not in str(caught.value)


class LosingSession:
    """A session whose connection breaks during a commit, before or after the database made it."""

    verifies = True

    def __init__(self, *, made: bool) -> None:
        self.made = made
        self.stored = ""
        self.pending = ""
        self.breaks = 1
        self.opened = 0

    def open(self) -> None:
        self.opened += 1

    def close(self) -> None: ...

    def begin(self, *, single: bool = False) -> None: ...

    def known(self, keys: Any) -> dict[bytes, int]:
        return {}

    def execute(self, name: str, rows: Any) -> None:
        if name == "meta_put":
            self.pending = rows[-1][1]

    def command(self, sql: str) -> None: ...

    def commit(self) -> None:
        if self.breaks:
            self.breaks -= 1
            if self.made:
                self.stored = self.pending
            raise psycopg.OperationalError("the connection is lost")
        self.stored = self.pending

    def rollback(self) -> None: ...

    def usable(self) -> bool:
        return False

    @property
    def connection(self) -> Any:
        raise NotImplementedError

    def mark(self) -> str:
        return self.stored


@pytest.mark.parametrize("made", [True, False])
async def test_the_fate_of_a_broken_commit_is_looked_up(made: bool) -> None:
    """A connection lost during a commit: the unit is told what the database says, never guessed."""
    session = LosingSession(made=made)
    writer = Writer(Committer(session, NoFaults(), lambda one: None))
    await writer.start()
    if made:
        await writer.commit(put("a"))
    else:
        with pytest.raises(TransientError):
            await writer.commit(put("a"))
    assert session.opened == 2
    await writer.stop(1.0)
