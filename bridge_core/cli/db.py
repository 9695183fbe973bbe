"""`matrix-bridge db`: the state of the database, upgrades, backups."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection

from bridge_core.api.errors import BridgeError
from bridge_core.cli.opened import Configured
from bridge_core.journal.audit import audit
from bridge_core.store import engines, schema


def add_parser(subparser: argparse.ArgumentParser) -> None:
    """The subcommands and their flags."""
    commands = subparser.add_subparsers(dest="db_command", required=True, metavar="COMMAND")
    for name, words in (
        ("status", "version and books; also while the bridge runs"),
        ("upgrade", "bring the tables to this version; only while the bridge is stopped"),
        ("backup", "copy an SQLite database; also while the bridge runs"),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("-c", "--config", type=Path, default=Path("config.yaml"), metavar="FILE")
        if name == "backup":
            command.add_argument("target", type=Path, help="the file to make")


def run(options: argparse.Namespace) -> int:
    """Do it; 1 when it cannot be done, or (status) when something is wrong."""
    try:
        configured = Configured(options.config)
        match options.db_command:
            case "status":
                return configured.read(_status, any_schema=True)
            case "upgrade":
                configured.own(lambda database, connection: None, migrate=True)
                print(f"the database has schema {schema.HEAD}")
                return 0
            case _:
                return _backup(configured, options.target)
    except BridgeError as error:
        print(error, file=sys.stderr)
        return 1


def _status(connection: Connection) -> int:
    found = schema.version(connection)
    print(f"schema {found or 'none'}, this version works with {schema.HEAD}")
    if found != schema.HEAD:
        print("run `matrix-bridge db upgrade`, or let the bridge do it when it starts")
        return 1
    books = audit(connection)
    for (network, direction), one in sorted(books.balances.items()):
        print(
            f"{network} {'to Matrix' if direction else 'to network'}: accepted {one.accepted} = routed {one.routed} + "
            f"ignored {one.ignored} + waiting {one.waiting}; targets {one.targets} = delivered {one.delivered} + "
            f"rejected {one.rejected} + dead {one.dead} + pending {one.pending}{'' if one.holds else '  DOES NOT HOLD'}"
        )
    return 0 if books.holds else 1


def _backup(configured: Configured, target: Path) -> int:
    """Through SQLite's own backup, which is consistent while the bridge writes."""
    file = engines.file_of(engines.parse(configured.settings.url))
    if file is None:
        print("for PostgreSQL use pg_dump, which makes a consistent copy while the bridge runs", file=sys.stderr)
        return 1
    if not file.exists():
        print(f"there is no database at {file}", file=sys.stderr)
        return 1
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        print(f"{target} cannot be made: {error.strerror}", file=sys.stderr)
        return 1
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        print(f"the backup failed: {error}", file=sys.stderr)
        return 1
    print(f"{target} made; it opens only with journal.secret, which is not in it")
    return 0
