"""The configured database, for subcommands: as its owner, or only to read while the bridge runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from bridge_core.config.load import LoadedConfig, load_config
from bridge_core.store import engines, schema
from bridge_core.store import errors as store_errors
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal

T = TypeVar("T")


class Configured:
    """What config.yaml says of the database. Raises ConfigError."""

    def __init__(self, config: Path) -> None:
        self.loaded: LoadedConfig = load_config(config)
        section = self.loaded.config.database
        self.settings = DatabaseSettings(
            self.loaded.database_url,
            auto_migrate=section.auto_migrate,
            readers=1,
            busy_timeout=section.busy_timeout,
            lease_timeout=1.0,
        )
        self.seal = Seal(self.loaded.config.journal.secret.get_secret_value())

    def read(self, job: Callable[[Connection], T], *, any_schema: bool = False) -> T:
        """Run `job` on a connection that only reads, whether or not the bridge runs. Raises StartError."""
        url = engines.parse(self.settings.url)
        file = engines.file_of(url)
        if file is not None and not file.exists():
            raise store_errors.StartError(f"there is no database at {file}; the bridge makes it when it first runs")
        engine = engines.build(url, self.settings, readers=0)
        try:
            with engine.connect() as connection:
                if not any_schema and schema.version(connection) != schema.HEAD:
                    raise store_errors.SchemaError("the database is of another version: `matrix-bridge db status`")
                return job(connection)
        except Exception as error:
            if store_errors.is_transient(error):
                raise store_errors.translated(error) from error
            raise
        finally:
            engine.dispose()

    def own(self, job: Callable[[Database, Connection], T], *, migrate: bool | None = None) -> T:
        """Run `job` in a transaction as the database's owner. Raises LeaseError while the bridge runs."""
        settings = self.settings
        if migrate is not None:
            settings = DatabaseSettings(
                settings.url, migrate, 1, settings.busy_timeout, lease_timeout=settings.lease_timeout
            )

        async def run() -> T:
            database = Database(settings, self.seal)
            await database.start()
            try:
                return await database.writer.run(lambda connection: job(database, connection))
            finally:
                # When the bridge had crashed, its next start must still see that it did.
                await database.stop(clean=database.last_run.clean)

        return asyncio.run(run())
