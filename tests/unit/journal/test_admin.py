"""What an admin may do with the journal, on both databases."""

from typing import Any

from bridge_core.engine.ports import DeliveryState, Direction, Outcome, Settlement
from bridge_core.journal import admin
from bridge_core.journal.journal import DurableJournal
from bridge_core.store.database import Database
from tests.unit.journal.entries import end, loaded, new, routed
from tests.unit.journal.test_journal import holds, query
from tests.unit.store.opening import Opened, journal_on

Closing = list[Any]


async def three_fates(database: Database, journal: DurableJournal) -> tuple[int, int, int]:
    """An entry of two targets of which one died, one that died unrouted, one that waits."""
    await journal.append([new("half"), new("never"), new("waits")])
    half, never, waits = await loaded(journal)
    one, two = await routed(journal, half, ["!a:hs", "!b:hs"])
    one.state, one.attempts, one.first_attempt_at = DeliveryState.ATTEMPTED, 3, 77
    await journal.attempt([one])
    journal.settle(end(one, Outcome.DEAD, done=False, reason="gave up"))
    journal.settle(end(two))
    journal.settle(Settlement(never.id, "irc", Direction.TO_MATRIX, Outcome.DEAD, reason="never understood"))
    await journal.settled()
    return half.id, never.id, waits.id


async def test_entries_are_listed_and_shown_without_contents(
    database_url: str, opened: Opened, closing: Closing
) -> None:
    """Filters hold; contents are shown only when they are revealed."""
    database = await opened(database_url)
    half, never, waits = await three_fates(database, await journal_on(database, closing))

    async def ids(**which: str) -> list[int]:
        found = await database.reader.run(lambda connection: admin.listed(connection, admin.Filter(**which)))
        return [entry.id for entry in found]

    assert await ids() == [half, never, waits]
    assert await ids(state="dead") == [half, never]
    assert await ids(state="dead", network="xmpp") == []
    assert await ids(direction="to-network") == []
    hidden = await database.reader.run(lambda connection: admin.show(connection, database.seal, half))
    assert hidden is not None
    assert hidden.payload is None
    assert [(one.state, one.error, one.body) for one in hidden.deliveries] == [("dead", "gave up", None)]
    shown = await database.reader.run(lambda connection: admin.show(connection, database.seal, half, reveal=True))
    assert shown is not None
    assert shown.payload == b"half"
    assert shown.deliveries[0].body == b"body"
    assert await database.reader.run(lambda connection: admin.show(connection, database.seal, 99)) is None


async def test_replayed_entries_wait_again(database_url: str, opened: Opened, closing: Closing) -> None:
    """Only what died is made again, when it was first tried stays known, and the books balance throughout."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    half, never, waits = await three_fates(database, journal)
    await journal.stop()
    done = await database.writer.run(lambda connection: admin.replay(connection, [half, never, waits, 99], 5000))
    assert done == [half, never]
    await database.stop()
    journal = await journal_on(await opened(database_url), closing)
    first, second, _ = await loaded(journal)
    assert [(one.target, one.state, one.first_attempt_at) for one in first.deliveries] == [
        ("!a:hs", DeliveryState.READY, 77)
    ]
    assert not second.routed
    assert (first.received_at, second.payload) == (5000, b"never")
    assert journal.pending == 3
    await holds(journal)
    journal.settle(end(first.deliveries[0]))
    await journal.settled()
    await holds(journal)


async def test_dropped_entries_are_rejected_and_erased(database_url: str, opened: Opened, closing: Closing) -> None:
    """Dropping ends what is dead, and what waits only when that is asked for; contents go, the books balance."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    half, never, waits = await three_fates(database, journal)
    everything = [half, never, waits]
    assert await database.writer.run(lambda connection: admin.drop(connection, everything, 5000)) == [half, never]
    await holds(journal)
    dropped = await database.writer.run(lambda connection: admin.drop(connection, everything, 5000, pending=True))
    assert dropped == [waits]
    rows = await query(database, "SELECT state, payload, last_error FROM journal_entry")
    assert rows == [(1, None, "dropped by admin")] * 3
    audit = await journal.audit()
    assert audit.holds
    balance = audit.balances["irc", 1]
    assert (balance.delivered, balance.rejected, balance.dead, balance.pending) == (1, 3, 0, 0)
