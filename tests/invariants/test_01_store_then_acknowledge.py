"""Invariant 1: store, then acknowledge."""

import asyncio

import orjson
from sqlalchemy import text

from tests.harness import Harness
from tests.invariants.scenes import Events, Gates, event, locked, put_transaction, rows, say, turns
from tests.scripted import Script

ENTRIES = "SELECT count(*) FROM journal_entry"


async def test_a_transaction_is_taken_when_its_commit_is_done(bridge: Harness, gates: Gates) -> None:
    """While the commit hangs the homeserver gets no answer; when it has one, another connection sees the entries."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    before = rows(bridge, ENTRIES)
    gate = gates.hold("append.before_commit")
    accepting = asyncio.ensure_future(bridge.running.engine.intake.accept(Events([event(room, 1), event(room, 2)])))
    await gate.wait()
    await turns()
    assert not accepting.done()
    assert not await bridge.running.database.transactions.seen("t", b"d")
    assert rows(bridge, ENTRIES) == before
    gate.opened.set()
    await accepting
    assert rows(bridge, ENTRIES)[0][0] >= before[0][0] + 2
    assert rows(bridge, "SELECT id FROM txn WHERE id = 't'") == [("t",)]


async def test_what_cannot_be_stored_is_refused_and_comes_again(bridge: Harness, script: Script) -> None:
    """While the database cannot be written the answer is 503; afterwards the same transaction delivers once."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    body = orjson.dumps({"events": [event(room, 1)]})
    async with locked(bridge):
        status, answer = await put_transaction(bridge, "seven", body)
        assert (status, answer["errcode"]) == (503, "M_UNKNOWN")
        bridge.alice.send(room, "pushed by the homeserver")
        delivered = len(bridge.homeserver.transactions)
        await bridge.until(lambda: bridge.homeserver.push_attempts >= delivered + 2)
        assert len(bridge.homeserver.transactions) == delivered
    assert await put_transaction(bridge, "seven", body) == (200, {})
    await bridge.until(lambda: len(script.sent) == 2)
    await bridge.settled()
    assert sorted(script.texts()) == ["pushed 1", "pushed by the homeserver"]


async def test_a_transaction_is_known_by_its_body_too(bridge: Harness, script: Script) -> None:
    """Synapse on SQLite numbers from 1 again after a restart: another body under a known id is another transaction."""
    room = await bridge.portal_room("net", "lobby")
    for number in (1, 2):
        assert (await put_transaction(bridge, "1", orjson.dumps({"events": [event(room, number)]})))[0] == 200
    await bridge.settled()
    assert script.texts() == ["pushed 1", "pushed 2"]


async def test_receive_returns_with_events_cursor_and_state_in_one_commit(
    bridge: Harness, gates: Gates, script: Script
) -> None:
    """`receive` waits for its commit; before it nothing of the events, cursor or state is there, after it all is."""
    assert script.inbox is not None
    await bridge.portal_room("net", "lobby")
    await bridge.settled()
    entries = rows(bridge, ENTRIES)
    values = "SELECT namespace, key FROM kv WHERE namespace <> 'features' ORDER BY namespace"
    gate = gates.hold("append.before_commit")
    receiving = asyncio.ensure_future(script.inbox.receive([say("hello")], cursor=b"42", state={"seen": b"1"}))
    await gate.wait()
    await turns()
    assert not receiving.done()
    assert (rows(bridge, ENTRIES), rows(bridge, values)) == (entries, [])
    late = gates.hold("append.before_commit")  # a second commit of the same call would be held here
    gate.opened.set()
    (accepted,) = await receiving
    assert not late.reached.is_set()
    late.opened.set()
    assert rows(bridge, f"SELECT id FROM journal_entry WHERE id = {accepted.entry}") == [(accepted.entry,)]
    assert rows(bridge, values) == [("cursor", "net"), ("network:net", "seen")]


async def test_a_refused_receive_leaves_the_cursor_where_it_was(bridge: Harness, script: Script) -> None:
    """When the events cannot be stored, the cursor is not advanced either: they are asked for again."""
    assert script.inbox is not None
    async with locked(bridge):
        refused = await asyncio.gather(script.inbox.receive([say("x")], cursor=b"43"), return_exceptions=True)
    assert [type(one).__name__ for one in refused] == ["TransientError"]
    assert await bridge.running.database.kv.get("cursor", "net") is None
    await script.inbox.receive([say("x")], cursor=b"43")
    assert await bridge.running.database.kv.get("cursor", "net") == b"43"


async def test_a_commit_outlives_the_power(bridge: Harness) -> None:
    """The writer's connection waits for the disk at each commit: WAL with synchronous=FULL."""
    found = await bridge.running.database.writer.run(
        lambda connection: [
            connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    assert found == ["wal", 2]
