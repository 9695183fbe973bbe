"""`matrix-bridge journal`: see what waits and what died, try it again, or drop it."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from bridge_core.api.errors import BridgeError
from bridge_core.cli.opened import Configured
from bridge_core.journal import admin


def add_parser(subparser: argparse.ArgumentParser) -> None:
    """The subcommands and their flags."""
    commands = subparser.add_subparsers(dest="journal_command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="entries, without their contents; also while the bridge runs")
    _common(listing)
    listing.add_argument("--state", choices=[*admin.STATES, "all"], default="dead", help="which ones (dead)")
    _filters(listing)
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (100)")
    listing.add_argument("--after", type=int, default=0, metavar="ID", help="those with higher ids")
    showing = commands.add_parser("show", help="one entry and its deliveries; also while the bridge runs")
    _common(showing)
    showing.add_argument("id", type=int)
    showing.add_argument("--reveal", action="store_true", help="show what is in it; this is logged")
    for name, words in (("replay", "let dead entries wait again"), ("drop", "end dead entries as rejected")):
        acting = commands.add_parser(name, help=f"{words}; only while the bridge is stopped")
        _common(acting)
        acting.add_argument("id", type=int, nargs="*")
        acting.add_argument("--all", action="store_true", help="all dead ones that the filters let through")
        _filters(acting)
        if name == "drop":
            acting.add_argument("--pending", action="store_true", help="also what still waits (named by id)")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, default=Path("config.yaml"), metavar="FILE")


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", metavar="NAME", help="of this network only")
    parser.add_argument("--direction", choices=list(admin.DIRECTIONS), help="of this direction only")


def run(options: argparse.Namespace) -> int:
    """Do it; 1 when there was nothing to do it to, or it cannot be done now."""
    try:
        configured = Configured(options.config)
        match options.journal_command:
            case "list":
                return _list(configured, options)
            case "show":
                return _show(configured, options)
            case _:
                return _act(configured, options)
    except BridgeError as error:
        print(error, file=sys.stderr)
        return 1


def _list(configured: Configured, options: argparse.Namespace) -> int:
    state = None if options.state == "all" else options.state
    which = admin.Filter(state, options.network, options.direction)
    found = configured.read(
        lambda connection: admin.listed(connection, which, after=options.after, limit=options.limit)
    )
    for entry in found:
        print(_line(entry))
    if len(found) == options.limit:
        print(f"... more may follow: --after {found[-1].id}", file=sys.stderr)
    return 0


def _line(entry: admin.Listed) -> str:
    lane = " ".join(part for part in entry.lane.split("\x1f") if part)
    error = f"  {entry.error}" if entry.error else ""
    return f"{entry.id}  {entry.state}  {entry.direction}  {entry.network}  {_when(entry.received_at)}  {lane}{error}"


def _when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(sep=" ", timespec="seconds")


def _show(configured: Configured, options: argparse.Namespace) -> int:
    shown = configured.read(
        lambda connection: admin.show(connection, configured.seal, options.id, reveal=options.reveal)
    )
    if shown is None:
        print(f"there is no entry {options.id}", file=sys.stderr)
        return 1
    print(_line(shown.entry))
    print(f"attempts {shown.entry.attempts}, crashes {shown.crashes}")
    if shown.entry.next_attempt_at:
        print(f"next attempt {_when(shown.entry.next_attempt_at)}")
    if shown.payload is not None:
        print(f"payload {_printable(shown.payload)}")
    for one in shown.deliveries:
        error = f"  {one.error}" if one.error else ""
        print(f"  delivery {one.id}  {one.state}  {one.network}  {one.target}  attempts {one.attempts}{error}")
        if one.body:
            print(f"    body {_printable(one.body)}")
    return 0


def _printable(content: bytes) -> str:
    """Text without anything that a terminal would obey."""
    text = content.decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _act(configured: Configured, options: argparse.Namespace) -> int:
    if options.all == bool(options.id):
        print("name entries by their ids, or --all", file=sys.stderr)
        return 2
    replaying = options.journal_command == "replay"
    now = time.time_ns() // 1_000_000

    def act(connection: Connection) -> list[int]:
        entries = options.id or _all_dead(connection, options)
        if replaying:
            return admin.replay(connection, entries, now)
        return admin.drop(connection, entries, now, pending=options.pending and not options.all)

    done = configured.own(lambda database, connection: act(connection))
    for entry in done:
        print(f"{entry} {'waits again' if replaying else 'dropped'}")
    missing = [entry for entry in options.id if entry not in done]
    for entry in missing:
        print(f"{entry} is not there, or not in a state for this", file=sys.stderr)
    return int(bool(missing))


def _all_dead(connection: Connection, options: argparse.Namespace) -> list[int]:
    which = admin.Filter("dead", options.network, options.direction)
    return [entry.id for entry in admin.listed(connection, which, limit=1_000_000)]
