"""What a start finds: what is pending, and what was being handled when the last run crashed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection, func, insert, select, update

from bridge_core.engine.ports import DeliveryState, Direction
from bridge_core.store import meta
from bridge_core.store.lease import LastRun
from bridge_core.store.tables import ENTRY_DEAD, ENTRY_PENDING, counter, journal_delivery, journal_entry
from bridge_core.store.work import CountKey

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Found:
    """What there was."""

    pending: int = 0
    with_dead: list[int] = field(default_factory=list)
    """Pending entries of which some delivery is dead."""
    last_entry: int = 0
    last_delivery: int = 0
    entry_limit: int = 0
    delivery_limit: int = 0
    quarantined: list[int] = field(default_factory=list)
    counts: dict[CountKey, int] = field(default_factory=dict)


def recover(connection: Connection, last: LastRun, quarantine_after: int, now: int) -> Found:
    """Look, and set aside what crashed the bridge `quarantine_after` times."""
    found = Found()
    if not last.clean and last.handling:
        _count_crashes(connection, last, quarantine_after, now, found)
    entry, delivery = journal_entry.c, journal_delivery.c
    found.pending = connection.scalar(select(func.count()).where(entry.state == ENTRY_PENDING)) or 0
    found.with_dead = list(
        connection.scalars(
            select(entry.id)
            .distinct()
            .join(journal_delivery, delivery.entry == entry.id)
            .where((entry.state == ENTRY_PENDING) & (delivery.state == int(DeliveryState.DEAD)))
        )
    )
    found.last_entry = meta.last_entry(connection)
    found.last_delivery = connection.scalar(select(func.max(delivery.id))) or 0
    found.entry_limit = int(meta.get(connection, "entry_ids") or 0)
    found.delivery_limit = int(meta.get(connection, "delivery_ids") or 0)
    return found


def _count_crashes(connection: Connection, last: LastRun, quarantine_after: int, now: int, found: Found) -> None:
    """Count the crash against the first entry of each lane that was handled at all, unless it waited for a later time.

    Lanes towards a homeserver that was away were not handled: what waits in them has no part in a crash.
    """
    entry = journal_entry.c
    directions = [int(direction) for direction in Direction if last.handling >> int(direction) & 1]
    heads = (
        select(func.min(entry.id))
        .where((entry.state == ENTRY_PENDING) & entry.direction.in_(directions))
        .group_by(entry.direction, entry.lane)
    )
    rows = connection.execute(
        select(entry.id, entry.attempts, entry.crashes, entry.attempts_at_crash).where(
            entry.id.in_(heads) & (entry.next_attempt_at <= last.heartbeat)
        )
    ).all()
    for row in rows:
        again = row.crashes > 0 and row.attempts == row.attempts_at_crash
        crashes = row.crashes + 1 if again else 1
        connection.execute(
            update(journal_entry).where(entry.id == row.id).values(crashes=crashes, attempts_at_crash=row.attempts)
        )
        if crashes >= quarantine_after:
            _quarantine(connection, row.id, crashes, now, found)


def _quarantine(connection: Connection, entry: int, crashes: int, now: int, found: Found) -> None:
    reason = f"set aside: it was being handled at {crashes} crashes"
    delivery = journal_delivery.c
    row: Any = connection.execute(select(journal_entry).where(journal_entry.c.id == entry)).one()
    opened = connection.execute(
        select(delivery.network, delivery.direction).where(
            (delivery.entry == entry) & (delivery.state != int(DeliveryState.DEAD))
        )
    ).all()
    changes: dict[CountKey, int] = {}
    for network, direction in opened:
        changes[network, direction, "dead"] = changes.get((network, direction, "dead"), 0) + 1
    if not opened:
        changes = {(row.network, row.direction, name): 1 for name in ("routed", "targets", "dead")}
    connection.execute(
        update(journal_delivery)
        .where((delivery.entry == entry) & (delivery.state != int(DeliveryState.DEAD)))
        .values(state=int(DeliveryState.DEAD), last_error=reason)
    )
    connection.execute(
        update(journal_entry)
        .where(journal_entry.c.id == entry)
        .values(state=ENTRY_DEAD, done_at=now, last_error=reason)
    )
    count(connection, changes)
    for key, by in changes.items():
        found.counts[key] = found.counts.get(key, 0) + by
    found.quarantined.append(entry)
    _log.error("entry_quarantined", entry=entry, network=row.network, crashes=crashes)


def count(connection: Connection, changes: dict[CountKey, int]) -> None:
    """Change counters, in the caller's transaction."""
    for (network, direction, name), by in changes.items():
        key = (counter.c.network == network) & (counter.c.direction == direction) & (counter.c.name == name)
        if not connection.execute(update(counter).where(key).values(value=counter.c.value + by)).rowcount:
            connection.execute(insert(counter).values(network=network, direction=direction, name=name, value=by))
