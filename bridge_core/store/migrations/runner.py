"""Runs the revisions on a connection. Imports alembic: import this only when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from bridge_core.store.crypto_tables import metadata
from bridge_core.store.schema import VERSION_TABLE


def scripts() -> ScriptDirectory:
    """All revisions."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest revision, in the caller's transaction."""
    directory = scripts()
    head = directory.get_current_head()

    def steps(revision: Any, context: MigrationContext) -> Any:
        return directory._upgrade_revs(head or "head", revision)

    config = Config()
    with EnvironmentContext(config, directory, fn=steps) as environment:
        environment.configure(
            connection=connection,
            target_metadata=metadata,
            version_table=VERSION_TABLE,
            transactional_ddl=False,  # the caller's transaction holds all of it
        )
        environment.run_migrations()


def drift(connection: Connection) -> list[Any]:
    """How the database's tables differ from what the program expects: empty when they do not."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return list(compare_metadata(context, metadata))
