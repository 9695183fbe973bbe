"""The message map: which event is which message."""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, select

from bridge_core.api.ids import EventId, MessageId, RoomId
from bridge_core.engine.ports import Write
from bridge_core.engine.store_ports import MessageRow
from bridge_core.store.lru import Lru
from bridge_core.store.reader import Reader
from bridge_core.store.tables import message as table
from bridge_core.store.writer import Writer

K = TypeVar("K", int, str)


class _Known:
    """Rows for one key. `complete`: the database was asked, there are no more."""

    __slots__ = ("complete", "rows")

    def __init__(self) -> None:
        self.rows: list[MessageRow] = []
        self.complete = False


class MessageStore:
    """Implements `Messages`. A row can be found from the moment it is made, before it is committed."""

    def __init__(self, writer: Writer, reader: Reader, cached: int) -> None:
        self._writer = writer
        self._reader = reader
        self._by_message: Lru[tuple[int, str], _Known] = Lru(cached)
        self._by_event: Lru[tuple[str, str], _Known] = Lru(cached)

    def write(
        self,
        portal: int,
        message: MessageId,
        part: int,
        room: RoomId,
        event: EventId,
        sender: str,
        timestamp: int,
    ) -> Write:
        """The row that maps them, to be committed with a settlement."""
        row = MessageRow(portal, message, part, room, event, sender, timestamp)
        _add(self._by_message, (portal, message), row)
        _add(self._by_event, (room, event), row)
        values = (portal, message, part, room, event, sender, timestamp)
        return Write("message_add", (*values, _message_hash(portal, message), _event_hash(room, event)))

    async def by_message(self, portal: int, message: MessageId) -> list[MessageRow]:
        """All events of a message, by part."""
        where = (
            (table.c.message_hash == _message_hash(portal, message))
            & (table.c.portal == portal)
            & (table.c.message == message)
        )
        return await self._find(self._by_message, (portal, message), where)

    async def by_event(self, room: RoomId, event: EventId) -> list[MessageRow]:
        """What the event is in the portals of its room."""
        where = (table.c.event_hash == _event_hash(room, event)) & (table.c.event == event) & (table.c.room == room)
        return await self._find(self._by_event, (room, event), where)

    def forget(self) -> None:
        """Drop what is cached: rows were deleted."""
        self._by_message.clear()
        self._by_event.clear()

    async def _find(
        self, cache: Lru[tuple[K, str], _Known], key: tuple[K, str], where: ColumnElement[bool]
    ) -> list[MessageRow]:
        known = cache.get(key)
        if known is None or not known.complete:
            if self._writer.uncommitted:
                await self._writer.settled()
            rows = await self._reader.run(lambda connection: _rows(connection, where))
            known = cache.get(key)
            if known is None:
                known = _Known()
                if rows:
                    cache.put(key, known)
            known.rows = _merged(rows, known.rows)
            known.complete = True
        return list(known.rows)


def _add(cache: Lru[tuple[K, str], _Known], key: tuple[K, str], row: MessageRow) -> None:
    known = cache.get(key)
    if known is None:
        known = _Known()
        cache.put(key, known)
    known.rows = _merged(known.rows, [row]) if known.rows else [row]


def _merged(older: list[MessageRow], newer: list[MessageRow]) -> list[MessageRow]:
    """The last row for each place of a message, by part."""
    rows = {(row.portal, row.message, row.part, row.room): row for row in (*older, *newer)}
    return sorted(rows.values(), key=lambda row: row.part)


def _rows(connection: Connection, where: ColumnElement[bool]) -> list[MessageRow]:
    columns = table.c
    found = connection.execute(
        select(
            columns.portal,
            columns.message,
            columns.part,
            columns.room,
            columns.event,
            columns.sender,
            columns.timestamp,
        )
        .where(where)
        .order_by(columns.id)
    )
    return _merged([MessageRow(*row) for row in found], [])


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=6).digest(), "big")


def _message_hash(portal: int, message: str) -> int:
    return _hash(f"{portal}\0{message}")


def _event_hash(room: str, event: str) -> int:
    return _hash(event)
