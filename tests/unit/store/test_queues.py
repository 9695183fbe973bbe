"""The contract of durable queues, on both databases."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import sqlite

from bridge_core.api.errors import RejectedError
from bridge_core.api.queues import QueueItem
from bridge_core.store.errors import UnreadableError
from bridge_core.store.statements import BY_NAME, Kind
from tests.unit.store.opening import Opened

LITERAL = {"literal_binds": True}
SECRET = b"what waits: caf\xc3\xa9 \x00"


async def test_what_waits_is_there_after_a_restart(database_url: str, opened: Opened) -> None:
    """Items come back as they were put, each queue its own."""
    database = await opened(database_url)
    one = QueueItem("one", SECRET, 5, "mail", 2)
    await database.queue("a").put([one, QueueItem("two", b"", 7)])
    await database.queue("b").put([replace(one, body=b"other")])
    await database.stop()
    queue = (await opened(database_url)).queue("a")
    assert await queue.get("one") == one
    assert await queue.page("", 10) == [one, QueueItem("two", b"", 7)]
    assert await queue.page("one", 10) == [QueueItem("two", b"", 7)]
    assert await queue.parts("mail") == [one]
    assert await queue.count() == 2
    assert await queue.get("three") is None


async def test_the_earliest_comes_first(database_url: str, opened: Opened) -> None:
    """What is due comes by time and key, in pieces, and no sooner than it is due."""
    queue = (await opened(database_url)).queue("a")
    assert await queue.next_due() is None
    items = [QueueItem(key, b"", due) for key, due in (("c", 1), ("b", 2), ("d", 2), ("a", 3))]
    await queue.put([items[2], items[0], items[3], items[1]])
    assert await queue.next_due() == 1
    assert await queue.due(0, 10) == []
    assert await queue.due(2, 10) == items[:3]
    assert await queue.due(9, 2) == items[:2]
    assert await queue.due(9, 10, after=items[1]) == items[2:]


async def test_an_attempt_is_recorded_and_ended(database_url: str, opened: Opened) -> None:
    """A key that is put again is replaced, and what is removed in the same commit is gone."""
    queue = (await opened(database_url)).queue("a")
    item = QueueItem("one", b"first", 1, "mail")
    await queue.put([item, replace(item, key="two")])
    tried = replace(item, body=b"second", due=9, attempts=1)
    await queue.put([tried], removed=["two", "never there"])
    assert await queue.page("", 10) == [tried]
    await queue.put(removed=["one"])
    assert await queue.count() == 0
    await queue.put()


async def test_what_is_too_large_is_refused_whole(database_url: str, opened: Opened) -> None:
    """Nothing of a put with a body over the limit is stored."""
    queue = (await opened(database_url)).queue("a")
    with pytest.raises(RejectedError, match="65536 bytes"):
        await queue.put([QueueItem("small", b"", 1), QueueItem("large", bytes(64 * 1024 + 1), 1)])
    assert await queue.count() == 0


async def test_bodies_are_sealed(database_url: str, opened: Opened) -> None:
    """The database itself holds no body in the clear, and one moved to another key does not open there."""
    database = await opened(database_url)
    await database.queue("a").put([QueueItem("one", SECRET, 1)])
    rows = await database.reader.run(lambda connection: connection.execute(text("SELECT body FROM queue_item")).all())
    assert all(SECRET not in bytes(row[0]) for row in rows) and rows
    await database.writer.run(lambda connection: connection.execute(text("UPDATE queue_item SET key = 'two'")))
    with pytest.raises(UnreadableError):
        await database.queue("a").get("two")


async def test_parts_are_looked_up(database_url: str, opened: Opened) -> None:
    """The parts of one thing are found by an index, however long the queue is."""
    database = await opened(database_url)
    if not database_url.startswith("sqlite"):
        return  # PostgreSQL decides by how many rows there are.
    wanted = database.queue("a").parts_wanted("mail").compile(dialect=sqlite.dialect(), compile_kwargs=LITERAL)
    plan = await database.reader.run(lambda connection: connection.execute(text(f"EXPLAIN QUERY PLAN {wanted}")).all())
    steps = [str(step[-1]) for step in plan]
    assert any("queue_item_parts (queue=? AND part_of=?)" in step for step in steps)
    assert any("PRIMARY KEY (queue=? AND key=?)" in step for step in steps)


@pytest.mark.parametrize("rows", [1, 2, 64])
async def test_no_change_walks_through_a_table(database_url: str, opened: Opened, rows: int) -> None:
    """Whatever is changed or removed is found by its key, one row or many: its cost does not grow with the table."""
    database = await opened(database_url)
    if not database_url.startswith("sqlite"):
        return  # PostgreSQL decides by how many rows there are.
    for statement in BY_NAME.values():
        if statement.kind not in {Kind.DELETE, Kind.UPDATE, Kind.RAISE}:
            continue
        wanted = statement.sqlite(rows).replace("?", "1")
        plan = await database.reader.run(
            lambda connection, wanted=wanted: connection.execute(text(f"EXPLAIN QUERY PLAN {wanted}")).all()  # type: ignore[misc]
        )
        walks = [str(step[-1]) for step in plan if str(step[-1]).startswith((f"SCAN {statement.table.name}", "SCAN t"))]
        assert not walks, statement.name
