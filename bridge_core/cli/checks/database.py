"""Whether the database can be used."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge_core.cli.checks.report import Report
from bridge_core.config.load import LoadedConfig

_FINGERPRINT = "SELECT value FROM meta WHERE name = 'secret'"
_TIMEOUT = 5  # seconds for a connection; a database that is slower to greet is not usable


def check_database(loaded: LoadedConfig, report: Report) -> None:
    """Open it without changing anything. Blocks for at most about five seconds."""
    url = loaded.database_url
    secret = loaded.config.journal.secret.get_secret_value()
    if url.startswith("sqlite:"):
        _sqlite(Path(url.removeprefix("sqlite:///")), secret, report)
    else:
        _postgresql(url, secret, report)


def _sqlite(path: Path, secret: str, report: Report) -> None:
    where = f"database.url ({path})"
    folder = path.parent
    if not folder.is_dir():
        report.error(where, f"the folder {folder} does not exist", f"mkdir -p {folder}")
        return
    # SQLite writes its log and index beside the file, so the folder must be writable too.
    if not os.access(folder, os.W_OK):
        report.error(where, f"the folder {folder} is not writable", "Give it to the bridge's user.")
        return
    if not path.exists():
        report.ok(f"the database {path} will be created")
        return
    if not os.access(path, os.W_OK):
        report.error(where, "is not writable", "Give the file to the bridge's user.")
        return
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT)
        try:
            connection.execute("PRAGMA schema_version").fetchone()
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            print_of_secret = connection.execute(_FINGERPRINT).fetchone() if "meta" in tables else None
        finally:
            connection.close()
    except sqlite3.Error as error:
        report.error(where, f"cannot be opened: {error}", "Restore it from a backup, or name another file.")
        return
    report.ok(f"the database {path} can be opened")
    _secret(print_of_secret, secret, report)


def _postgresql(url: str, secret: str, report: Report) -> None:
    import psycopg  # imported here: a bridge on SQLite does not need it

    where = "database.url (PostgreSQL)"
    try:
        with psycopg.connect(url, connect_timeout=_TIMEOUT) as connection:
            row = connection.execute("SHOW server_encoding").fetchone()
            made = connection.execute("SELECT to_regclass('meta') IS NOT NULL").fetchone()
            print_of_secret = connection.execute(_FINGERPRINT).fetchone() if made and made[0] else None
    except psycopg.Error as error:
        words = str(error).strip().splitlines()
        report.error(
            where,
            f"cannot be reached: {words[0] if words else type(error).__name__}",
            "See that PostgreSQL runs, that the database and its user exist, and that the password is right.",
        )
        return
    if row is None or row[0] != "UTF8":
        report.error(
            where,
            f"the database's encoding is {row[0] if row else 'unknown'}",
            "Create it with: createdb --encoding=UTF8 --template=template0 NAME",
        )
        return
    report.ok("the PostgreSQL database can be reached")
    _secret(print_of_secret, secret, report)


def _secret(found: Sequence[Any] | None, secret: str, report: Report) -> None:
    """Whether the database was sealed with the configured secret, as far as it says so."""
    from bridge_core.store.seal import Seal  # imported here: cryptography is large

    if found is not None and found[0] != Seal(secret).fingerprint:
        report.error(
            "journal.secret",
            "is not the one that the database was sealed with: the bridge will not start",
            "Set it to the one it was made with: what waits and the keys of encrypted rooms cannot be read otherwise.",
        )
