"""Opens databases and journals on them, and closes whatever a test left open."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.journal.journal import DurableJournal, JournalSettings
from bridge_core.store.database import Database, wall_clock
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal

SECRET = "a secret for tests"
Opened = Callable[..., Awaitable[Database]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database; a test that takes it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bridge.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest_asyncio.fixture
async def closing() -> AsyncIterator[list[Any]]:
    """What is put in here is stopped after the test, last first."""
    things: list[Any] = []
    yield things
    for thing in reversed(things):
        await thing.stop()


@pytest_asyncio.fixture
async def opened(closing: list[Any]) -> Opened:
    """Opens and starts a database: `await opened(url)`."""

    async def open_database(
        url: str, secret: str = SECRET, now_ms: Callable[[], int] = wall_clock, **more: Any
    ) -> Database:
        settings = DatabaseSettings(url, **{"lease_timeout": 2.0, "busy_timeout": 0.2, "stop_timeout": 2.0, **more})
        database = Database(settings, Seal(secret), now_ms=now_ms)
        await database.start()
        closing.append(database)
        return database

    return open_database


async def journal_on(database: Database, closing: list[Any], **settings: Any) -> DurableJournal:
    """A started journal on a started database."""
    journal = DurableJournal(database, JournalSettings(**settings))
    await journal.start()
    closing.append(journal)
    return journal


async def crash(database: Database, *journals: DurableJournal) -> None:
    """End as a killed process would: nothing is marked as clean, and the lease is let go by the kernel."""
    for journal in journals:
        await journal._retention.stop()
    if database._beating is not None:
        database._beating.cancel()
        database._beating = None
    await database.stop()
