"""The durable queues of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, func, select, tuple_

from bridge_core.api.errors import RejectedError
from bridge_core.api.queues import QueueItem
from bridge_core.store.reader import Reader
from bridge_core.store.seal import Seal
from bridge_core.store.tables import queue_item as table
from bridge_core.store.work import Work
from bridge_core.store.writer import Writer

LARGEST: Final = 64 * 1024
"""Bytes of one item's body."""
_COLUMNS = (table.c.key, table.c.body, table.c.due, table.c.part_of, table.c.attempts)


class StoredQueue:
    """The `Queue` of the contract; `name` is unique in the database. Uncached: what is waiting may be much."""

    def __init__(self, writer: Writer, reader: Reader, seal: Seal, name: str) -> None:
        self._writer = writer
        self._reader = reader
        self._seal = seal
        self._name = name

    async def put(self, items: Sequence[QueueItem] = (), *, removed: Sequence[str] = ()) -> None:
        """As `Queue.put`. Raises RejectedError when a body is too large; then nothing is stored."""
        work = Work()
        for item in items:
            if len(item.body) > LARGEST:
                raise RejectedError(f"a queue's item holds {LARGEST} bytes at most")
            sealed = self._seal.named(self._place(item.key), item.body)
            work.add("queue_put", (self._name, item.key, sealed, item.due, item.part_of, item.attempts))
        for key in removed:
            work.add("queue_remove", (self._name, key))
        if work.rows:
            await self._writer.commit(work)

    async def due(self, now: int, limit: int, *, after: QueueItem | None = None) -> list[QueueItem]:
        """As `Queue.due`."""
        wanted = self._all().where(table.c.due <= now).order_by(table.c.due, table.c.key).limit(limit)
        if after is not None:
            wanted = wanted.where(tuple_(table.c.due, table.c.key) > (after.due, after.key))
        return await self._items(wanted)

    async def next_due(self) -> int | None:
        """As `Queue.next_due`."""
        found = await self._reader.run(
            lambda connection: connection.scalar(select(func.min(table.c.due)).where(table.c.queue == self._name))
        )
        return int(found) if found is not None else None

    async def get(self, key: str) -> QueueItem | None:
        """As `Queue.get`."""
        return next(iter(await self._items(self._all().where(table.c.key == key))), None)

    async def parts(self, part_of: str) -> list[QueueItem]:
        """As `Queue.parts`."""
        return await self._items(self.parts_wanted(part_of))

    async def page(self, after: str, limit: int) -> list[QueueItem]:
        """As `Queue.page`."""
        return await self._items(self._all().where(table.c.key > after).order_by(table.c.key).limit(limit))

    async def count(self) -> int:
        """As `Queue.count`."""
        wanted = select(func.count()).select_from(table).where(table.c.queue == self._name)
        return await self._reader.run(lambda connection: connection.scalar(wanted)) or 0

    def parts_wanted(self, part_of: str) -> Select[Any]:
        """The statement of `parts`."""
        # Keys first, from an index that holds them: asked for whole rows, SQLite walks through the whole queue.
        keys = select(table.c.key).where(table.c.queue == self._name, table.c.part_of == part_of)
        return self._all().where(table.c.key.in_(keys)).order_by(table.c.key)

    def _all(self) -> Select[Any]:
        return select(*_COLUMNS).where(table.c.queue == self._name)

    async def _items(self, wanted: Select[Any]) -> list[QueueItem]:
        rows = await self._reader.run(lambda connection: connection.execute(wanted).all())
        return [
            QueueItem(key, self._seal.open_named(self._place(key), bytes(body)), due, part_of, attempts)
            for key, body, due, part_of, attempts in rows
        ]

    def _place(self, key: str) -> str:
        return f"queue\0{self._name}\0{key}"
