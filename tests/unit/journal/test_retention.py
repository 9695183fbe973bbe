"""What is forgotten, and when."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from bridge_core.api.content import Attachment, Content, Kind, MediaKind
from bridge_core.api.ids import ChatId, EventId, NetworkId, RoomId, UserId
from bridge_core.api.matrix import MatrixMessage, MatrixSender
from bridge_core.engine.links import LinkLedger
from bridge_core.engine.ports import Outcome
from bridge_core.store.media import MediaRow
from tests.unit.journal.entries import end, loaded, new, routed
from tests.unit.journal.test_journal import holds, query
from tests.unit.store.opening import Opened, journal_on

DAY = 86400_000


async def test_ended_entries_and_keys_are_forgotten_in_time(
    database_url: str, opened: Opened, closing: list[Any]
) -> None:
    """Ended entries go after `keep_done`, keys after `keep_keys`; what waits stays, and the books balance."""
    start = time.time_ns() // 1_000_000
    now = start
    database = await opened(database_url, now_ms=lambda: now)
    journal = await journal_on(database, closing, keep_done=86400.0, keep_keys=3 * 86400.0, keep_messages=86400.0)
    await journal.append([new(dedupe=b"%d" % number) for number in range(30)])
    *ended, waiting, last = await loaded(journal)
    for entry in (*ended, last):
        for one in await routed(journal, entry):
            journal.settle(end(one))
    await journal.settled()
    assert await journal._retention.once() == 0
    now = start + 2 * DAY
    assert await journal._retention.once() == 28
    assert [row[0] for row in await query(database, "SELECT id FROM journal_entry ORDER BY id")] == [
        waiting.id,
        last.id,
    ]
    assert (await journal.append([new(dedupe=b"3")]))[0].duplicate
    now = start + 5 * DAY
    await journal._retention.once()
    assert not (await journal.append([new(dedupe=b"3")]))[0].duplicate
    assert len(await loaded(journal)) == 2
    await holds(journal)


async def test_dead_letters_are_dropped_in_time(database_url: str, opened: Opened, closing: list[Any]) -> None:
    """A dead letter is there until `keep_dead`; then it is rejected, its content gone, and the books balance."""
    start = time.time_ns() // 1_000_000
    now = start
    database = await opened(database_url, now_ms=lambda: now)
    journal = await journal_on(database, closing, keep_dead=3 * 86400.0, keep_done=30 * 86400.0)
    await journal.append([new(), new(), new()])
    first, second, _ = await loaded(journal)
    for entry in (first, second):
        (one,) = await routed(journal, entry)
        journal.settle(end(one, Outcome.DEAD))
        await journal.settled()
        now += 2 * DAY
    assert await journal._retention.once() == 1
    assert await query(database, "SELECT id, state, payload IS NULL FROM journal_entry ORDER BY id LIMIT 2") in (
        [(first.id, 1, 1), (second.id, 2, 0)],
        [(first.id, 1, True), (second.id, 2, False)],
    )
    counters = journal.counters()
    assert (counters["irc", 1, "dead"], counters["irc", 1, "rejected"]) == (1, 1)
    await holds(journal)


async def test_dead_letters_stay_unless_told(database_url: str, opened: Opened, closing: list[Any]) -> None:
    """Without `keep_dead` a dead letter waits for an admin for ever."""
    now = time.time_ns() // 1_000_000
    database = await opened(database_url, now_ms=lambda: now)
    journal = await journal_on(database, closing)
    await journal.append([new(), new()])
    first, _ = await loaded(journal)
    journal.settle(end((await routed(journal, first))[0], Outcome.DEAD))
    await journal.settled()
    now += 1000 * DAY
    await journal._retention.once()
    assert await query(database, "SELECT state FROM journal_entry ORDER BY id LIMIT 1") == [(2,)]


async def test_links_are_remembered_until_they_have_expired(
    database_url: str, opened: Opened, closing: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went out as a link, and what was taken back, is known for `keep_links`; addresses for `keep_keys`."""
    monkeypatch.setattr("bridge_core.store.kv._PAGE", 2)
    monkeypatch.setattr("bridge_core.journal.retention._CHUNK", 1)
    start = time.time_ns() // 1_000_000
    now = start
    database = await opened(database_url, now_ms=lambda: now)
    journal = await journal_on(database, closing, keep_links=2 * 86400.0, keep_keys=4 * 86400.0)
    clock: Any = SimpleNamespace(now_ms=lambda: now)
    ledger = LinkLedger(database.kv, database.media, clock)
    room, sender = RoomId("!r:hs"), MatrixSender(UserId("@anna:hs"), "Anna")

    async def sent(number: int) -> None:
        file = Attachment(MediaKind.FILE, "f", f"mxc://hs/{number}")
        event = EventId(f"${number}")
        message = MatrixMessage(room, event, ChatId("#a"), sender, Content((), Kind.TEXT, (file,)), now)
        await ledger.remember(NetworkId("net"), message)

    for number in range(3):
        await database.kv.put("other", str(number), b"stays")
    for number in range(3):
        await sent(number)
    await database.kv.put("links", "damaged", b"x")
    await query(database, "UPDATE kv SET value = 'x' WHERE key = 'damaged' RETURNING key")
    await ledger.revoke(room, EventId("$0"))
    await database.media.save(MediaRow("key", "mxc://hs/up", True, now))
    now = start + 2 * DAY - 1
    await sent(3)
    await journal._retention.once()
    assert sorted(await database.kv.items("links", "")) == ["!r:hs $0", "!r:hs $1", "!r:hs $2", "!r:hs $3"]
    await ledger.revoke(room, EventId("$1"))
    now = start + 3 * DAY
    await journal._retention.once()
    assert sorted(await database.kv.items("links", "")) == ["!r:hs $3"]
    assert await database.kv.get("links", "!r:hs $0") is None
    assert await query(database, "SELECT link FROM media_revoked") == [("mxc://hs/1",)]
    assert len(await query(database, "SELECT key FROM media")) == 1
    now = start + 5 * DAY
    await journal._retention.once()
    for rows in ("media", "media_revoked", "kv WHERE namespace = 'links'"):
        assert await query(database, f"SELECT 1 FROM {rows}") == [], rows
    assert len(await database.kv.items("other", "")) == 3
