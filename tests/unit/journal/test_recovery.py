"""What crashes do to the entries at the head of their lanes."""

from typing import Any

from bridge_core.engine.ports import Direction, Outcome
from bridge_core.journal.journal import DurableJournal
from bridge_core.store.database import Database
from tests.unit.journal.entries import end, loaded, new, routed
from tests.unit.journal.test_journal import holds, query
from tests.unit.store.opening import Opened, crash, journal_on

Closing = list[Any]


async def handled(
    database_url: str, opened: Opened, closing: Closing, now: int = 5000
) -> tuple[Database, DurableJournal]:
    """A bridge that handles entries."""
    database = await opened(database_url, now_ms=lambda: now)
    journal = await journal_on(database, closing)
    await journal.open_lanes()
    await journal.settled()
    return database, journal


async def test_an_entry_handled_at_three_crashes_is_set_aside(
    database_url: str, opened: Opened, closing: Closing
) -> None:
    """The head of a lane is quarantined at the third crash without progress; the rest of the lane goes on."""
    database, journal = await handled(database_url, opened, closing)
    await journal.append([new("poison"), new("after")])
    await journal.append([new("other", lane="b")])
    for crashes in range(3):
        assert len(await loaded(journal)) == 2, crashes
        (other,) = await loaded(journal, lane="b")
        other.attempts += 1  # this lane makes progress
        await journal.postpone(other, "away", 0)
        await crash(database, journal)
        database, journal = await handled(database_url, opened, closing)
    assert [entry.payload for entry in await loaded(journal)] == [b"after"]
    assert len(await loaded(journal, lane="b")) == 1
    assert journal.counters()["irc", 1, "dead"] == 1
    assert journal.pending == 2
    ((error,),) = await query(database, "SELECT last_error FROM journal_entry WHERE state = 2")
    assert "3 crashes" in error
    await holds(journal)


async def test_its_deliveries_die_with_it(database_url: str, opened: Opened, closing: Closing) -> None:
    """A quarantined entry that was routed leaves its open deliveries as dead letters; the books balance."""
    database, journal = await handled(database_url, opened, closing)
    await journal.append([new("poison")])
    (entry,) = await loaded(journal)
    one, _, _ = await routed(journal, entry, ["!a:hs", "!b:hs", "!c:hs"])
    journal.settle(end(one, done=False))
    await journal.settled()
    for _ in range(3):
        await crash(database, journal)
        database, journal = await handled(database_url, opened, closing)
    assert await loaded(journal) == []
    assert journal.counters()["irc", 1, "dead"] == 2
    assert journal.counters()["irc", 1, "delivered"] == 1
    await holds(journal)


async def test_entries_that_were_not_handled_are_not_blamed(
    database_url: str, opened: Opened, closing: Closing
) -> None:
    """A crash before lanes were opened, or while an entry waits for a later time, does not count against it."""
    database, journal = await handled(database_url, opened, closing)
    await journal.append([new("waits")])
    (entry,) = await loaded(journal)
    entry.attempts = 1
    await journal.postpone(entry, "away", 9999)
    for _ in range(4):
        await crash(database, journal)
        database, journal = await handled(database_url, opened, closing)
    await journal.postpone(entry, "away", 0)
    for _ in range(4):
        await crash(database, journal)
        database = await opened(database_url)
        journal = await journal_on(database, closing)  # lanes are not opened
    await crash(database, journal)
    database, journal = await handled(database_url, opened, closing)
    assert [one.id for one in await loaded(journal)] == [entry.id]


async def test_a_clean_stop_counts_against_nobody(database_url: str, opened: Opened, closing: Closing) -> None:
    """However often a bridge is stopped in good order, what waits goes on waiting."""
    for _ in range(4):
        database, journal = await handled(database_url, opened, closing)
        await journal.append([new()])
        await journal.stop()
        await database.stop()
    _, journal = await handled(database_url, opened, closing)
    assert len(await loaded(journal)) == 4
    for entry in await loaded(journal):
        for one in await routed(journal, entry):
            journal.settle(end(one, Outcome.REJECTED))
    await holds(journal)


async def test_what_was_not_handled_is_not_blamed(database_url: str, opened: Opened, closing: Closing) -> None:
    """Crashes while only the other direction was handled (the homeserver is away) set nothing aside."""
    for crashes in range(5):
        database = await opened(database_url)
        journal = await journal_on(database, closing)
        if not crashes:
            await journal.append([new("waiting")])
        assert await journal.open_lanes(Direction.TO_NETWORK) == []
        await journal.settled()
        await crash(database, journal)
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    assert [entry.payload for entry in await loaded(journal)] == [b"waiting"]
    await holds(journal)
