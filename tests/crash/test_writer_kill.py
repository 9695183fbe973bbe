"""SIGKILL inside the writer: what was committed is there, what was not is not, and the books balance."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge_core.testing.faults import KILL_AT
from tests.unit.journal.entries import loaded
from tests.unit.journal.test_journal import holds
from tests.unit.store.opening import Opened, closing, database_url, journal_on, opened

__all__ = ["closing", "database_url", "opened"]

# Handles one entry after the other and says on its output what it was told is committed.
BRIDGE = """
import asyncio, sys
from bridge_core.engine.ports import *
from bridge_core.journal.journal import DurableJournal, JournalSettings
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from bridge_core.testing.faults import KillingFaults

LANE = "irc\\x1f#chan\\x1f"

async def main():
    database = Database(DatabaseSettings(sys.argv[1]), Seal("a secret for tests"), faults=KillingFaults())
    await database.start()
    journal = DurableJournal(database, JournalSettings())
    await journal.start()
    for number in range(10):
        write = database.kv.write("cursors", "irc", b"%d" % number)
        new = NewEntry(Direction.TO_MATRIX, "irc", LANE, b"%d" % number, 5, b"key%d" % number)
        (accepted,) = await journal.append([new], [write])
        print("accepted", number, flush=True)
        (entry,) = await journal.load(Direction.TO_MATRIX, LANE, accepted.entry - 1, 1)
        number_of = journal.new_delivery_id()
        delivery = Delivery(number_of, entry.id, "irc", entry.direction, "!r:hs", DeliveryState.READY, b"b")
        await journal.route(entry, [delivery])
        print("routed", number, flush=True)
        row = database.messages.write(1, str(number), 0, "!r:hs", f"${number}", "nick", 5)
        journal.settle(Settlement(entry.id, "irc", entry.direction, Outcome.DELIVERED, delivery.id, "", (row,)))
        await journal.settled()
        print("delivered", number, flush=True)

asyncio.run(main())
"""

POINTS = [
    ("append.before_commit", 0, 0, 0),
    ("append.after_commit", 1, 0, 0),
    ("route.before_commit", 1, 0, 0),
    ("route.after_commit", 1, 1, 0),
    ("settle.before_commit", 1, 1, 0),
    ("settle.after_commit", 1, 1, 1),
]


@pytest.mark.crash
@pytest.mark.parametrize(("point", "accepted", "routed", "delivered"), POINTS)
async def test_exactly_what_was_committed_survives(
    database_url: str, opened: Opened, closing: list[Any], point: str, accepted: int, routed: int, delivered: int
) -> None:
    """Killed at the fourth pass of each point: everything told as committed is there, and nothing half of it."""
    killed = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BRIDGE,
        database_url,
        env={**os.environ, KILL_AT: f"{point}:4"},
        stdout=asyncio.subprocess.PIPE,
        cwd=Path.cwd(),
    )
    output, _ = await killed.communicate()
    assert killed.returncode == -9
    told = output.decode().split("\n")
    database = await opened(database_url, lease_timeout=60.0)
    journal = await journal_on(database, closing)
    await holds(journal)
    counters = journal.counters()
    counted = [counters["irc", 1, name] for name in ("accepted", "routed", "delivered")]
    assert counted == [3 + accepted, 3 + routed, 3 + delivered]
    for word, number in zip(("accepted", "routed", "delivered"), counted, strict=True):
        assert sum(line.startswith(word) for line in told) <= number
    assert await database.kv.get("cursors", "irc") == b"%d" % (2 + accepted)
    assert len(await database.messages.by_message(1, "3")) == delivered  # type: ignore[arg-type]
    pending = await loaded(journal)
    assert [(entry.payload, entry.routed) for entry in pending] == [(b"3", bool(routed))] * (accepted - delivered)
