"""The contract of the journal, on both databases."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bridge_core.api.errors import BackpressureError, TransientError
from bridge_core.engine.ports import DeliveryState, Direction, Outcome, Settlement
from bridge_core.store.database import Database
from tests.unit.journal.entries import LANE, delivery, end, loaded, new, routed
from tests.unit.store.opening import Opened, crash, journal_on

Closing = list[Any]


async def query(database: Database, sql: str) -> list[Any]:
    return await database.reader.run(lambda connection: list(connection.execute(text(sql)).all()))


async def holds(journal: Any) -> None:
    audit = await journal.audit()
    assert audit.holds, audit


async def test_what_is_accepted_is_there_after_a_restart(database_url: str, opened: Opened, closing: Closing) -> None:
    """Entries come back in order, with payload, direction and time, lane by lane."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    accepted = await journal.append([new("one"), new("other", lane="b"), new("two")])
    assert [one.duplicate for one in accepted] == [False] * 3
    await crash(database, journal)
    again = await journal_on(await opened(database_url), closing)
    lanes = {one.lane: (one.pending, one.network, one.direction) for one in await again.open_lanes()}
    assert lanes == {LANE: (2, "irc", Direction.TO_MATRIX), "b": (1, "irc", Direction.TO_MATRIX)}
    assert again.pending == 3
    entries = await loaded(again)
    assert [(entry.payload, entry.id, entry.received_at, entry.routed) for entry in entries] == [
        (b"one", accepted[0].entry, 1000, False),
        (b"two", accepted[2].entry, 1000, False),
    ]
    assert await loaded(again, entries[0].id) == entries[1:]
    assert await again.load(Direction.TO_NETWORK, LANE, 0, 10) == []
    await holds(again)


async def test_a_known_key_is_a_duplicate(database_url: str, opened: Opened, closing: Closing) -> None:
    """In one call, in calls at once, after a restart: a key is accepted once, and tells the entry it was."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    first, second, third = await journal.append([new(dedupe=b"k"), new(dedupe=b"k"), new(dedupe=b"other")])
    assert (first.duplicate, second.duplicate, third.duplicate) == (False, True, False)
    assert second.entry == first.entry
    both = await asyncio.gather(journal.append([new(dedupe=b"n")]), journal.append([new(dedupe=b"n")]))
    assert sorted(one.duplicate for (one,) in both) == [False, True]
    await crash(database, journal)
    again = await journal_on(await opened(database_url), closing)
    (fourth,) = await again.append([new(dedupe=b"k")])
    assert fourth.duplicate
    assert again.pending == 3
    assert again.counters()["irc", 1, "duplicate"] == 3
    await holds(again)


async def test_further_keys_are_known_with_their_entry(database_url: str, opened: Opened, closing: Closing) -> None:
    """An entry of several parts is known by each of them, and is a duplicate when one of its parts was there before."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    paste, part = await journal.append([new(dedupe=b"1", also=(b"2", b"3")), new(dedupe=b"2")])
    assert (part.entry, part.duplicate) == (paste.entry, True)
    (other,) = await journal.append([new(dedupe=b"0", also=(b"3", b"4"))])
    assert (other.entry, other.duplicate) == (paste.entry, True)
    await crash(database, journal)
    again = await journal_on(await opened(database_url), closing)
    part, unknown = await again.append([new(dedupe=b"3"), new(dedupe=b"4")])
    assert part.duplicate and not unknown.duplicate
    assert again.pending == 2


async def test_duplicates_do_not_keep_writes_from_being_stored(
    database_url: str, opened: Opened, closing: Closing
) -> None:
    """A cursor is committed with the entries, also when all of them are duplicates, and can be read at once."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    await journal.append([new(dedupe=b"k")], [database.kv.write("cursors", "irc", b"1")])
    await journal.append([new(dedupe=b"k")], [database.kv.write("cursors", "irc", b"2")])
    assert await database.kv.get("cursors", "irc") == b"2"
    assert await journal.append([], [database.kv.write("cursors", "irc", b"3")]) == []
    assert await database.kv.get("cursors", "irc") == b"3"


async def test_deliveries_come_back_as_they_stood(database_url: str, opened: Opened, closing: Closing) -> None:
    """State, body, attempts and what an adapter saved survive; deliveries that ended are gone."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    await journal.append([new()])
    (entry,) = await loaded(journal)
    one, two, three = await routed(journal, entry, ["!a:hs", "!b:hs", "!c:hs"])
    two.state, two.attempts, two.first_attempt_at, two.saved = DeliveryState.ATTEMPTED, 1, 77, b"ratchet"
    await journal.attempt([two])
    journal.settle(end(one, done=False))
    await journal.settled()
    await crash(database, journal)
    again = await journal_on(await opened(database_url), closing)
    (entry,) = await loaded(again)
    assert entry.routed
    assert entry.deliveries == [two, three]
    assert again.new_delivery_id() > three.id
    await holds(again)


async def test_an_entry_ends_with_its_last_delivery(database_url: str, opened: Opened, closing: Closing) -> None:
    """Delivered and rejected ones end it: nothing waits, its payload is erased, and the counters say how."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    await journal.append([new()])
    (entry,) = await loaded(journal)
    one, two = await routed(journal, entry, ["!a:hs", "!b:hs"])
    write = database.messages.write(1, "m", 0, "!a:hs", "$e", "nick", 5)  # type: ignore[arg-type]
    journal.settle(
        Settlement(entry.id, "irc", entry.direction, Outcome.DELIVERED, one.id, writes=(write,), entry_done=False)
    )
    journal.settle(end(two, Outcome.REJECTED, reason="no"))
    assert await loaded(journal) == []
    assert journal.pending == 0
    assert await query(database, "SELECT payload, state FROM journal_entry") == [(None, 1)]
    assert await query(database, "SELECT count(*) FROM journal_delivery") == [(0,)]
    assert len(await query(database, "SELECT 1 FROM message")) == 1
    assert journal.counters() == {
        ("irc", 1, "accepted"): 1,
        ("irc", 1, "routed"): 1,
        ("irc", 1, "targets"): 2,
        ("irc", 1, "delivered"): 1,
        ("irc", 1, "rejected"): 1,
    }
    await holds(journal)


async def test_what_follows_of_an_end_is_accepted_with_it(database_url: str, opened: Opened, closing: Closing) -> None:
    """An entry that follows a delivery is there as soon as that has ended, and not before; also in a full journal."""
    database = await opened(database_url)
    journal = await journal_on(database, closing, max_pending=1)
    await journal.append([new()])
    (entry,) = await loaded(journal)
    (one,) = await routed(journal, entry)
    accepted = journal.follow(new("and so"))
    journal.settle(end(one))
    assert await query(database, "SELECT state FROM journal_entry ORDER BY id") == [(0,)]
    (after,) = await loaded(journal)
    assert (after.id, after.payload) == (accepted.entry, b"and so")
    assert await query(database, "SELECT state FROM journal_entry ORDER BY id") == [(1,), (0,)]
    assert journal.pending == 1
    assert journal.counters()["irc", 1, "accepted"] == 2
    await holds(journal)


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_an_entry_without_deliveries_ends(
    database_url: str, opened: Opened, closing: Closing, outcome: Outcome
) -> None:
    """Ignored, delivered, rejected or dead without ever being routed: counted, and nothing waits."""
    journal = await journal_on(await opened(database_url), closing)
    (accepted,) = await journal.append([new()])
    journal.settle(Settlement(accepted.entry, "irc", Direction.TO_MATRIX, outcome, reason="why"))
    assert await loaded(journal) == []
    assert journal.pending == 0
    await holds(journal)


async def test_a_dead_delivery_is_kept_with_its_entry(database_url: str, opened: Opened, closing: Closing) -> None:
    """One target dies and, after a restart, the other is delivered: the entry stays as a dead letter."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    await journal.append([new()])
    (entry,) = await loaded(journal)
    one, two = await routed(journal, entry, ["!a:hs", "!b:hs"])
    journal.settle(end(one, Outcome.DEAD, done=False, reason="gave up"))
    await journal.settled()
    await crash(database, journal)
    database = await opened(database_url)
    again = await journal_on(database, closing)
    (entry,) = await loaded(again)
    assert entry.deliveries == [two]
    again.settle(end(two))
    await again.settled()
    assert await query(database, "SELECT state FROM journal_entry") == [(2,)]
    assert await query(database, "SELECT state, last_error FROM journal_delivery") == [(2, "gave up")]
    assert await loaded(again) == []
    assert again.pending == 0
    await holds(again)


async def test_a_postponed_entry_keeps_its_time(database_url: str, opened: Opened, closing: Closing) -> None:
    """Attempts, the reason and when to try again survive a restart."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    await journal.append([new()])
    (entry,) = await loaded(journal)
    entry.attempts = 4
    await journal.postpone(entry, "it's away", 12345)
    await crash(database, journal)
    again = await journal_on(await opened(database_url), closing)
    (entry,) = await loaded(again)
    assert (entry.attempts, entry.next_attempt_at) == (4, 12345)


async def test_the_journal_refuses_when_full_and_goes_on_when_not(
    database_url: str, opened: Opened, closing: Closing
) -> None:
    """At its bound `append` waits, then refuses with nothing stored; when something ends, who waits gets on."""
    journal = await journal_on(await opened(database_url), closing, max_pending=2, full_timeout=0.05)
    first, _ = await journal.append([new(), new()])
    with pytest.raises(BackpressureError):
        await journal.append([new()])
    assert journal.refused == 1
    assert journal.pending == 2
    journal._settings = replace(journal._settings, full_timeout=10.0)
    waiting = asyncio.ensure_future(journal.append([new()]))
    await asyncio.sleep(0)
    assert not waiting.done()
    journal.settle(Settlement(first.entry, "irc", Direction.TO_MATRIX, Outcome.IGNORED))
    assert not (await waiting)[0].duplicate
    assert journal.pending == 2
    await holds(journal)


async def test_a_damaged_payload_is_a_dead_letter(database_url: str, opened: Opened, closing: Closing) -> None:
    """What does not open is set aside as unreadable; what comes after it is handled."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)
    await journal.append([new("one"), new("two"), new("three")])
    first, second, third = await loaded(journal)
    await routed(journal, second)

    def damage(connection: Any) -> None:
        connection.execute(text(f"UPDATE journal_entry SET id = -1 WHERE id = {first.id}"))
        connection.execute(text(f"UPDATE journal_delivery SET version = 9 WHERE entry = {second.id}"))

    await database.writer.run(damage)
    assert [entry.payload for entry in await loaded(journal, -2)] == [b"three"]
    assert third.payload == b"three"
    await journal.settled()
    assert [row[0] for row in await query(database, "SELECT state FROM journal_entry ORDER BY id")] == [2, 2, 0]
    assert journal.pending == 1
    await holds(journal)


async def test_contents_are_sealed_and_erased(tmp_path: Path, opened: Opened, closing: Closing) -> None:
    """Neither payload nor body nor what an adapter saved can be found in the database's files."""
    database = await opened(f"sqlite:///{tmp_path / 'bridge.db'}")
    journal = await journal_on(database, closing)
    secrets = [b"payload-in-the-clear", b"body-in-the-clear", b"state-in-the-clear", b"value-in-the-clear"]
    await journal.append([new(secrets[0].decode())], [database.kv.write("irc", "k", secrets[3])])
    (entry,) = await loaded(journal)
    one = delivery(journal, entry, body=secrets[1])
    one.saved = secrets[2]
    await journal.route(entry, [one])
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert LANE.encode() in files
    assert [secret for secret in secrets if secret in files] == []


async def test_ids_are_never_given_out_twice(database_url: str, opened: Opened, closing: Closing) -> None:
    """Ids grow over restarts although the rows that had them are gone: keys derived from them stay unique."""
    seen: list[int] = []
    for _ in range(3):
        database = await opened(database_url)
        journal = await journal_on(database, closing)
        await journal.append([new()])
        (entry,) = await loaded(journal)
        (one,) = await routed(journal, entry)
        seen.append(one.id)
        journal.settle(end(one))
        await journal.settled()
        await crash(database, journal)
    assert seen == sorted(set(seen))


async def test_nothing_is_stored_of_what_was_refused(tmp_path: Path, opened: Opened, closing: Closing) -> None:
    """While the database is locked `append` raises TransientError; afterwards the same key is new, and counted once."""
    database = await opened(f"sqlite:///{tmp_path / 'bridge.db'}", busy_timeout=0.05)
    journal = await journal_on(database, closing)
    other = sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError):
        await journal.append([new(dedupe=b"k")])
    assert journal.pending == 0
    other.execute("ROLLBACK")
    other.close()
    (accepted,) = await journal.append([new(dedupe=b"k")])
    assert not accepted.duplicate
    await holds(journal)


async def test_many_lanes_at_once_balance(database_url: str, opened: Opened, closing: Closing) -> None:
    """Twenty lanes append, route and settle at the same time: each keeps its order and the books balance."""
    database = await opened(database_url)
    journal = await journal_on(database, closing)

    async def lane(name: str) -> list[bytes]:
        done: list[bytes] = []
        for number in range(10):
            await journal.append([new(f"{number}.{part}", lane=name) for part in range(3)])
        last = 0
        while entries := await journal.load(Direction.TO_MATRIX, name, last, 7):
            for entry in entries:
                for one in await routed(journal, entry):
                    journal.settle(end(one))
                done.append(entry.payload)
                last = entry.id
        return done

    expected = [f"{number}.{part}".encode() for number in range(10) for part in range(3)]
    assert await asyncio.gather(*(lane(str(number)) for number in range(20))) == [expected] * 20
    assert await journal.open_lanes() == []
    assert journal.pending == 0
    assert journal.counters()["irc", 1, "delivered"] == 600
    await holds(journal)
