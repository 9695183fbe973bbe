"""Messages that disappear, and when."""

from __future__ import annotations

from sqlalchemy import delete, func, select, update

from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.ports import Write
from bridge_core.engine.store_ports import ExpiringRow
from bridge_core.store.reader import Reader
from bridge_core.store.tables import expiring
from bridge_core.store.writer import Writer


class ExpiringStore:
    """Implements `Expiring`. Uncached: it is read when something is due."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    def write(self, row: ExpiringRow) -> Write:
        """The row, to be committed with a settlement."""
        return Write("expiring_put", (row.room, row.event, row.sender, row.due))

    async def due(self, now: int, limit: int) -> list[ExpiringRow]:
        """What is due, the oldest first."""
        wanted = select(expiring).where(expiring.c.due <= now).order_by(expiring.c.due).limit(limit)
        await self._writer.settled()
        found = await self._reader.run(lambda connection: connection.execute(wanted).all())
        return [ExpiringRow(RoomId(one[0]), EventId(one[1]), UserId(one[2]), one[3]) for one in found]

    async def next_due(self) -> int | None:
        """When the next one will be due; None when there is none."""
        await self._writer.settled()
        found = await self._reader.run(lambda connection: connection.scalar(select(func.min(expiring.c.due))))
        return int(found) if found is not None else None

    async def remove(self, room: RoomId, event: EventId) -> None:
        """It has disappeared; return when committed."""
        which = (expiring.c.room == room) & (expiring.c.event == event)
        await self._writer.run(lambda connection: connection.execute(delete(expiring).where(which)))

    async def postpone(self, room: RoomId, event: EventId, due: int) -> None:
        """It is due later; return when committed."""
        which = (expiring.c.room == room) & (expiring.c.event == event)
        await self._writer.run(lambda connection: connection.execute(update(expiring).where(which).values(due=due)))
