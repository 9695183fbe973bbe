"""When the bridge must not start on a database, and what it finds when it does."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bridge_core.store import schema
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.errors import LeaseError, SchemaError, SecretError, StartError
from bridge_core.store.migrations import runner
from bridge_core.store.seal import Seal
from bridge_core.store.work import Work
from tests.unit.store.opening import Opened, crash


async def run_sql(database: Database, sql: str) -> None:
    def job(connection: Any) -> None:
        connection.execute(text(sql))

    await database.writer.run(job)


async def test_a_second_owner_is_refused(database_url: str, opened: Opened) -> None:
    """While one bridge runs on a database, another refuses to start; afterwards it may."""
    first = await opened(database_url)
    with pytest.raises(LeaseError, match="another process"):
        await opened(database_url, lease_timeout=0.1)
    await first.stop()
    await opened(database_url)


async def test_another_secret_is_refused(database_url: str, opened: Opened) -> None:
    """What was sealed with one secret is not opened with another: the start says so."""
    first = await opened(database_url)
    await first.stop()
    with pytest.raises(SecretError, match=r"journal\.secret"):
        await opened(database_url, secret="another")
    await opened(database_url)


async def test_a_newer_schema_is_refused(database_url: str, opened: Opened) -> None:
    """A database of a later version is left alone."""
    first = await opened(database_url)
    await run_sql(first, f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    await first.stop()
    with pytest.raises(SchemaError, match="newer"):
        await opened(database_url)


async def test_foreign_tables_are_refused(database_url: str, opened: Opened) -> None:
    """A database that holds something else is left alone, and the tables are named."""
    first = await opened(database_url)
    await run_sql(first, "CREATE TABLE pets (name TEXT)")
    await first.stop()
    with pytest.raises(SchemaError, match="pets"):
        await opened(database_url)


async def test_tables_without_a_version_are_refused(database_url: str, opened: Opened) -> None:
    """Tables with our names that this bridge did not make are left alone."""
    first = await opened(database_url)
    await run_sql(first, f"DROP TABLE {schema.VERSION_TABLE}")
    await first.stop()
    with pytest.raises(SchemaError, match="without a version"):
        await opened(database_url)


async def test_an_older_schema_waits_when_upgrading_is_off(
    database_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With auto_migrate off, an older database is refused with the command that upgrades it."""
    first = await opened(database_url)
    await run_sql(first, f"UPDATE {schema.VERSION_TABLE} SET version_num = '0000'")
    await first.stop()
    monkeypatch.setattr(schema, "REVISIONS", ("0000", schema.HEAD))
    with pytest.raises(SchemaError, match="db upgrade"):
        await opened(database_url, auto_migrate=False)


def test_the_head_is_the_newest_revision() -> None:
    """The constants that spare importing alembic name the revisions there are, in order."""
    revisions = [script.revision for script in runner.scripts().walk_revisions()][::-1]
    assert list(schema.REVISIONS) == revisions
    assert revisions[-1] == schema.HEAD


async def test_the_migrations_make_exactly_the_tables(database_url: str, opened: Opened) -> None:
    """After all revisions the database has the tables, columns and indexes that the program expects."""
    database = await opened(database_url)
    assert await database.writer.run(runner.drift) == []


async def test_an_unusable_address_is_refused(tmp_path: Path) -> None:
    """A database that is not supported, has no file, or no folder, is refused in words."""
    for url, words in (
        ("mysql://host/name", "not supported"),
        ("sqlite://", "needs a file"),
        (f"sqlite:///{tmp_path / 'missing' / 'bridge.db'}", "cannot be opened"),
    ):
        with pytest.raises(StartError, match=words):
            await Database(DatabaseSettings(url), Seal("secret")).start()


async def test_the_file_is_for_its_owner_only(tmp_path: Path, opened: Opened) -> None:
    """Nobody else on the machine can read the database or its log."""
    await opened(f"sqlite:///{tmp_path / 'bridge.db'}")
    for name in ("bridge.db", "bridge.db-wal", "bridge.db.lock"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name


async def test_a_clean_stop_is_told_from_a_crash(database_url: str, opened: Opened) -> None:
    """The next start knows whether the last run ended in good order, and whether it handled entries."""
    first = await opened(database_url)
    assert first.last_run.clean
    await first.stop()
    second = await opened(database_url)
    assert second.last_run.clean
    second.start_handling()
    await second.writer.settled()
    await crash(second)
    third = await opened(database_url)
    assert not third.last_run.clean
    assert third.last_run.handling


async def test_an_older_copy_is_recognised(tmp_path: Path, opened: Opened) -> None:
    """A database put back from a backup is reported, and the ids it would use again are known."""
    file, copy = tmp_path / "bridge.db", tmp_path / "copy.db"
    first = await opened(f"sqlite:///{file}")
    await first.stop()
    shutil.copy(file, copy)
    second = await opened(f"sqlite:///{file}")
    assert second.restored_from is None
    work = Work("append")
    work.candidates.append((None, (7, 0, "irc", "lane", b"", 1, 0), ("irc", 0)))
    await second.writer.commit(work)
    await second.stop()
    shutil.copy(copy, file)
    third = await opened(f"sqlite:///{file}")
    assert third.restored_from == 7
    await third.stop()
    fourth = await opened(f"sqlite:///{file}")
    assert fourth.restored_from is None


async def test_the_sidecar_can_be_anywhere(database_url: str, tmp_path: Path, opened: Opened) -> None:
    """With a file named for it, an older copy is recognised on PostgreSQL as well."""
    sidecar = tmp_path / "state" / "bridge.seen"
    later = await opened(f"sqlite:///{tmp_path / 'later.db'}", sidecar=sidecar)
    work = Work("append")
    work.candidates.append((None, (7, 0, "irc", "lane", b"", 1, 0), ("irc", 0)))
    await later.writer.commit(work)
    await later.stop()
    assert not (tmp_path / "later.db.seen").exists()
    older = await opened(database_url, sidecar=sidecar)
    assert older.restored_from == 7
    await older.stop()
    again = await opened(database_url, sidecar=sidecar)
    assert again.restored_from is None


OWNER = """
import asyncio, sys
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal

async def main():
    await Database(DatabaseSettings(sys.argv[1]), Seal("a secret for tests")).start()
    print("owned", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.crash
async def test_a_killed_owner_does_not_keep_the_database(database_url: str, opened: Opened) -> None:
    """Another process owns the database: refused. It is killed: accepted at once, and known as a crash."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, database_url, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    try:
        assert owner.stdout is not None
        assert await owner.stdout.readline() == b"owned\n"
        with pytest.raises(LeaseError):
            await opened(database_url, lease_timeout=0.1)
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        await owner.wait()
    database = await opened(database_url, lease_timeout=60.0)
    assert not database.last_run.clean
