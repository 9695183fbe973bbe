"""Brings the database's tables to this version, or refuses to touch what is not ours."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from bridge_core.store.crypto_tables import metadata
from bridge_core.store.errors import SchemaError

VERSION_TABLE = "bridge_schema"
HEAD = "0005"
"""The newest revision in `migrations/versions`; a test compares them."""
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""All revisions, oldest first."""


def version(connection: Connection) -> str | None:
    """The revision of the database, None for an empty one. Raises SchemaError for what is not ours."""
    names = set(inspect(connection).get_table_names())
    foreign = sorted(names - set(metadata.tables) - {VERSION_TABLE})
    if foreign:
        shown = ", ".join(foreign[:5])
        raise SchemaError(f"the database holds tables of something else ({shown}): give the bridge one of its own")
    if VERSION_TABLE not in names:
        if names:
            raise SchemaError("the database holds tables like ours without a version: not made by this bridge")
        return None
    found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    if found is None:
        return None
    if found not in REVISIONS:
        raise SchemaError(
            f"the database has schema {found}, newer than this version knows ({HEAD}): install the newer version "
            "again, or restore the backup made before upgrading"
        )
    return str(found)


def prepare(connection: Connection, *, upgrade_allowed: bool) -> None:
    """Upgrade where needed. `connection` is in a transaction of the caller. Raises SchemaError."""
    found = version(connection)
    if found == HEAD:
        return
    if found is not None and not upgrade_allowed:
        raise SchemaError(
            f"the database has schema {found} and this version needs {HEAD}: run `matrix-bridge db upgrade` "
            "(database.auto_migrate is off)"
        )
    upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing."""
    from bridge_core.store.migrations import runner

    runner.upgrade(connection)
