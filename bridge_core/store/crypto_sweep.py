"""Removes keys and notes of encryption that are too old: found by readers, removed by the writer in small pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
)

from bridge_core.store import crypto_tables as tables
from bridge_core.store.crypto_rows import floor_position, inbound_digest
from bridge_core.store.reader import Reader
from bridge_core.store.writer import Writer

_PIECE: Final = 200
"""Rows removed in one transaction: others wait a few milliseconds at most."""


class CryptoSweep:
    """One pass over each table, in the order of its key; what is used again meanwhile stays."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def run(self, received_before: int, unused_before: int, forgotten_before: int) -> dict[str, int]:
        """Remove; return how many rows of what, without those that went along with an inbound session."""
        inbound, to_device = tables.inbound, tables.to_device
        # The highest id stays, so that ids go on from it.
        handled = and_(
            to_device.c.value.is_(None),
            to_device.c.at < forgotten_before,
            to_device.c.id < select(func.max(to_device.c.id)).scalar_subquery(),
        )
        aged = or_(inbound.c.received_at < received_before, inbound.c.used_at < unused_before)
        # Anybody may give us keys of rooms that we have nothing to do with.
        known = exists().where(tables.room.c.room == inbound.c.room)
        stray = and_(inbound.c.used_at == inbound.c.received_at, inbound.c.received_at < forgotten_before, ~known)
        return {
            "inbound": await self._remove(inbound, or_(aged, stray)),
            "olm": await self._remove(tables.olm, tables.olm.c.used_at < unused_before),
            "to_device": await self._remove(to_device, handled),
            "shares": await self._remove(tables.shares, tables.shares.c.at < forgotten_before),
            "withheld": await self._remove(tables.withheld, tables.withheld.c.at < forgotten_before),
            "requests": await self._remove(tables.request, tables.request.c.at < forgotten_before),
        }

    async def _remove(self, table: Table, too_old: ColumnElement[bool]) -> int:
        key = tuple(table.primary_key.columns)
        total, after = 0, None
        while True:
            wanted = select(*key).where(too_old).order_by(*key).limit(_PIECE)
            if after is not None:
                wanted = wanted.where(tuple_(*key) > after)
            found = await self._reader.run(lambda connection, wanted=wanted: connection.execute(wanted).all())  # type: ignore[misc]
            if not found:
                return total
            rows = [tuple(row) for row in found]
            total += await self._writer.run(lambda connection, rows=rows: _removed(connection, table, too_old, rows))  # type: ignore[misc]
            after = rows[-1]


def _removed(connection: Connection, table: Table, too_old: ColumnElement[bool], rows: Sequence[Any]) -> int:
    names = [column.name for column in table.primary_key.columns]
    this = and_(*[column == bindparam(f"this_{column.name}") for column in table.primary_key.columns])
    count = 0
    for row in rows:
        values = {f"this_{name}": value for name, value in zip(names, row, strict=True)}
        if connection.execute(delete(table).where(this, too_old), values).rowcount != 1:
            continue  # used again since it was found
        count += 1
        if table is tables.inbound:
            digest = inbound_digest(*row)
            _keep_floor(connection, digest)
            room, session, _ = row
            connection.execute(
                delete(tables.shares).where(tables.shares.c.room == room, tables.shares.c.session == session)
            )
    return count


def _keep_floor(connection: Connection, digest: bytes) -> None:
    """Of the used indexes of a session only the highest stays: should the session come again, none up to it is good."""
    table = tables.position
    mine = table.c.inbound == digest
    rows = connection.execute(
        select(table).where(mine, or_(table.c.position < 0, table.c.position == _last(digest)))
    ).all()
    if rows:
        kept = max(rows, key=lambda row: floor_position(row.position) if row.position < 0 else row.position)
        place = min(kept.position, floor_position(kept.position))
        connection.execute(delete(table).where(mine))
        connection.execute(insert(table).values(inbound=digest, position=place, event=kept.event, ts=kept.ts))


def _last(digest: bytes) -> Any:
    table = tables.position
    return select(func.max(table.c.position)).where(table.c.inbound == digest).scalar_subquery()
