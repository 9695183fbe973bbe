"""Journal rows: how entries and deliveries are stored, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from bridge_core.engine.payload import VERSION
from bridge_core.engine.ports import Delivery, DeliveryState, Direction, Entry, OpenLane
from bridge_core.store.errors import UnreadableError
from bridge_core.store.seal import Seal
from bridge_core.store.tables import ENTRY_PENDING, journal_delivery, journal_entry
from bridge_core.store.work import Row

PAYLOAD, BODY, SAVED = b"payload", b"body", b"saved"
"""What a sealed value is sealed as."""


def delivery(seal: Seal, one: Delivery) -> Row:
    """The row of a new delivery. An empty body is stored as it is."""
    return (
        one.entry,
        one.id,
        one.network,
        int(one.direction),
        one.target,
        int(one.state),
        seal.row(BODY, one.id, VERSION, one.body) if one.body else b"",
        VERSION,
        one.attempts,
        one.first_attempt_at,
        None if one.saved is None else seal.row(SAVED, one.id, 0, one.saved),
    )


def attempt(seal: Seal, one: Delivery) -> Row:
    """What an attempt changes."""
    saved = None if one.saved is None else seal.row(SAVED, one.id, 0, one.saved)
    return (one.entry, one.id, int(one.state), one.attempts, one.first_attempt_at, saved)


@dataclass(slots=True)
class StoredEntry:
    """An entry and its open deliveries as they are stored."""

    id: int
    entry: Any
    deliveries: list[Any]
    readable: bool = True

    def opened(self, seal: Seal) -> tuple[Entry, list[Delivery]]:
        """The entry with the deliveries that open, and the deliveries that do not."""
        row = self.entry
        try:
            payload = seal.open_row(PAYLOAD, row.id, row.version, row.payload or b"")
        except UnreadableError:
            payload, self.readable = b"", False
        entry = Entry(
            row.id,
            Direction(row.direction),
            row.network,
            row.lane,
            payload,
            row.version,
            row.received_at,
            row.attempts,
            row.next_attempt_at,
            routed=bool(self.deliveries),
        )
        broken: list[Delivery] = []
        for stored in self.deliveries:
            one, opened = _open_delivery(seal, stored)
            (entry.deliveries if opened and self.readable else broken).append(one)
        return entry, broken


def _open_delivery(seal: Seal, row: Any) -> tuple[Delivery, bool]:
    body, saved, opened = b"", None, True
    try:
        body = seal.open_row(BODY, row.id, row.version, row.body) if row.body else b""
        saved = None if row.saved is None else seal.open_row(SAVED, row.id, 0, row.saved)
    except UnreadableError:
        opened = False
    one = Delivery(
        row.id,
        row.entry,
        row.network,
        Direction(row.direction),
        row.target,
        DeliveryState(row.state),
        body,
        row.attempts,
        row.first_attempt_at,
        saved,
    )
    return one, opened


def load(connection: Connection, direction: Direction, lane: str, after: int, limit: int) -> list[StoredEntry]:
    """Pending entries of a lane with ids above `after`, in order."""
    entry, one = journal_entry.c, journal_delivery.c
    query = (
        select(journal_entry)
        .where((entry.state == ENTRY_PENDING) & (entry.direction == int(direction)) & (entry.lane == lane))
        .where(entry.id > after)
        .order_by(entry.id)
        .limit(limit)
    )
    found = {row.id: StoredEntry(row.id, row, []) for row in connection.execute(query)}
    ids = list(found)
    for start in range(0, len(ids), 500):
        open_ones = (
            select(journal_delivery)
            .where(one.entry.in_(ids[start : start + 500]) & (one.state != int(DeliveryState.DEAD)))
            .order_by(one.entry, one.id)
        )
        for row in connection.execute(open_ones):
            found[row.entry].deliveries.append(row)
    return list(found.values())


def open_lanes(connection: Connection) -> list[OpenLane]:
    """All lanes with pending entries."""
    entry = journal_entry.c
    query = (
        select(entry.direction, entry.lane, func.min(entry.network), func.count())
        .where(entry.state == ENTRY_PENDING)
        .group_by(entry.direction, entry.lane)
    )
    return [
        OpenLane(Direction(direction), lane, network, pending)
        for direction, lane, network, pending in connection.execute(query)
    ]
