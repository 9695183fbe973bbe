"""The database is locked, full or restarted under load: what cannot be stored is refused, and nothing is lost."""

import asyncio
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.crash.bench import Bench
from tests.crash.rig import Rig
from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """A PostgreSQL of this module's own, which may be killed: durable, as in production."""
    folder = Path(tempfile.mkdtemp(prefix="mb-pg-"))
    folder.chmod(0o755)
    server = Postgres(folder / "postgres", durable=True)
    await server.start()
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


async def test_the_database_is_locked_by_another_process(bench: Bench) -> None:
    """A lock held for longer than `busy_timeout`: both directions wait and go on, once, with nothing missing."""
    async with bench.rig(busy_timeout="500ms") as rig:
        await rig.start()
        load = rig.load("locked")
        load.start()
        await asyncio.sleep(0.5)
        with sqlite3.connect(rig.folder / "bridge.db", isolation_level=None) as other:
            other.execute("PRAGMA busy_timeout = 10000")
            before = len(rig.logged("database_unavailable"))
            other.execute("BEGIN IMMEDIATE")
            await _refused(rig, before)
            await asyncio.sleep(2)
            other.execute("ROLLBACK")
        other.close()
        await load.stop()
        await rig.finish(load)
        assert not load.irc or not rig.verdicts[-1].missing_on_matrix()


async def test_the_disk_is_full_for_a_while(bench: Bench) -> None:
    """No file may grow: new work is refused with a temporary error; when there is room again, all is there once."""
    async with bench.rig(busy_timeout="500ms") as rig:
        await rig.start()
        load = rig.load("full")
        load.start()
        await asyncio.sleep(0.5)
        before = len(rig.logged("database_unavailable"))
        _, hard = resource.prlimit(rig.child.pid, resource.RLIMIT_FSIZE)
        largest = max((path.stat().st_size for path in rig.folder.glob("bridge.db*")), default=0)
        resource.prlimit(rig.child.pid, resource.RLIMIT_FSIZE, (largest + 4096, hard))
        await _refused(rig, before)
        await asyncio.sleep(2)
        resource.prlimit(rig.child.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await load.stop()
        await rig.finish(load)
        assert not rig.verdicts[-1].missing_on_matrix()


async def test_the_bridge_is_killed_while_the_disk_is_full(bench: Bench) -> None:
    """SIGKILL with a full disk: what was acknowledged before is there, what was refused comes again."""
    async with bench.rig(busy_timeout="500ms") as rig:
        await rig.start()
        load = rig.load("fullkill")
        load.start()
        await asyncio.sleep(0.5)
        before = len(rig.logged("database_unavailable"))
        _, hard = resource.prlimit(rig.child.pid, resource.RLIMIT_FSIZE)
        largest = max((path.stat().st_size for path in rig.folder.glob("bridge.db*")), default=0)
        resource.prlimit(rig.child.pid, resource.RLIMIT_FSIZE, (largest + 4096, hard))
        rig.away("disk")
        await _refused(rig, before)
        rig.kill()
        await rig.start()
        await load.stop()
        await rig.finish(load)


async def test_postgresql_is_restarted_and_the_bridge_killed(bench: Bench, server: Postgres) -> None:
    """On PostgreSQL: its restart under load, its SIGKILL, and the bridge's lose and double nothing."""
    async with bench.fresh(database=await server.create_database()) as rig:
        await rig.warm_up()
        await rig.start()
        load = rig.load("pg")
        load.start()
        await asyncio.sleep(0.5)
        await server.restart()
        await _flows(rig, "pg")
        server.kill()
        await server.start()
        await _flows(rig, "pg")
        assert not (await rig.look(load)).doubled_on_matrix()
        rig.kill()
        await rig.start()
        await load.stop()
        await rig.finish(load)


async def _refused(rig: Rig, before: int) -> None:
    """Waits until the bridge has found once more than `before` times that it cannot store; it tells once per outage."""
    async with asyncio.timeout(60):
        while len(rig.logged("database_unavailable")) == before:
            await asyncio.sleep(0.1)


async def _flows(rig: Rig, tag: str) -> None:
    """Waits until something said from now on has crossed from IRC to Matrix."""
    assert rig.irc is not None
    number = len(rig.irc.said) + 1
    body = f"i-{rig.irc.tag}-{number:04}"
    await rig.alice.wait_for_message(rig.room, body, timeout=60)
