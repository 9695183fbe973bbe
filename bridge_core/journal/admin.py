"""What an admin sees of the journal, and may do with it. All of it blocks: for jobs of reader and writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, delete, select, update

from bridge_core.engine.ports import DeliveryState, Direction
from bridge_core.journal import rows
from bridge_core.journal.recovery import count
from bridge_core.store.errors import UnreadableError
from bridge_core.store.seal import Seal
from bridge_core.store.tables import (
    ENTRY_DEAD,
    ENTRY_DONE,
    ENTRY_PENDING,
    journal_dedupe,
    journal_delivery,
    journal_entry,
)
from bridge_core.store.work import CountKey

_log = structlog.get_logger(__name__)

STATES = {"pending": ENTRY_PENDING, "done": ENTRY_DONE, "dead": ENTRY_DEAD}
DIRECTIONS = {"to-network": Direction.TO_NETWORK, "to-matrix": Direction.TO_MATRIX}
DROPPED = "dropped by admin"
_DEAD = int(DeliveryState.DEAD)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries. None: any."""

    state: str | None = None
    network: str | None = None
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry without its contents. Times are milliseconds since 1970."""

    id: int
    state: str
    direction: str
    network: str
    lane: str
    received_at: int
    attempts: int
    next_attempt_at: int
    error: str


@dataclass(frozen=True, slots=True)
class ShownDelivery:
    """A delivery that has not ended, or is dead. `body` is None unless it was revealed."""

    id: int
    network: str
    target: str
    state: str
    attempts: int
    first_attempt_at: int
    error: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Shown:
    """All about one entry. `payload` is None unless it was revealed and is still there."""

    entry: Listed
    crashes: int
    payload: bytes | None
    deliveries: tuple[ShownDelivery, ...]


def listed(connection: Connection, which: Filter, *, after: int = 0, limit: int = 100) -> list[Listed]:
    """Entries in the order of their ids."""
    query = select(journal_entry).where(journal_entry.c.id > after).order_by(journal_entry.c.id).limit(limit)
    return [_listed(row) for row in connection.execute(_filtered(query, which))]


def show(connection: Connection, seal: Seal, entry: int, *, reveal: bool = False) -> Shown | None:
    """One entry, with its contents when `reveal`, which is logged. Raises UnreadableError with another secret."""
    row: Any = connection.execute(select(journal_entry).where(journal_entry.c.id == entry)).first()
    if row is None:
        return None
    if reveal:
        _log.warning("journal_content_revealed", entry=entry, network=row.network)
    query = select(journal_delivery).where(journal_delivery.c.entry == entry).order_by(journal_delivery.c.id)
    payload = seal.open_row(rows.PAYLOAD, row.id, row.version, row.payload) if reveal and row.payload else None
    return Shown(
        _listed(row),
        row.crashes,
        payload,
        tuple(_shown(seal, one, reveal=reveal) for one in connection.execute(query)),
    )


def replay(
    connection: Connection, entries: Sequence[int], now: int, counted: dict[CountKey, int] | None = None
) -> list[int]:
    """Let dead entries wait again, as if they had just come; return those that were dead.

    Deliveries that had ended stay ended. When each was first tried stays known, so that towards Matrix the bridge
    looks before it sends again. What that changed of the counters is added to `counted`.
    """
    delivery, entry = journal_delivery.c, journal_entry.c
    done: list[int] = []
    for row in _rows(connection, entries, (ENTRY_DEAD,)):
        counts: dict[CountKey, int] = {}
        dead = _deliveries(connection, row.id)
        for one in dead:
            _add(counts, one.network, one.direction, "dead", -1)
        if not dead:
            for name in ("routed", "targets", "dead"):
                _add(counts, row.network, row.direction, name, -1)
        connection.execute(
            update(journal_delivery)
            .where(delivery.entry == row.id)
            .values(state=int(DeliveryState.READY), attempts=0, last_error=None)
        )
        connection.execute(
            update(journal_entry)
            .where(entry.id == row.id)
            .values(
                state=ENTRY_PENDING,
                attempts=0,
                next_attempt_at=0,
                crashes=0,
                attempts_at_crash=0,
                done_at=0,
                received_at=now,
                last_error=None,
            )
        )
        count(connection, counts)
        _sum(counted, counts)
        done.append(row.id)
        _log.warning("entry_replayed", entry=row.id, network=row.network)
    return done


def drop(
    connection: Connection,
    entries: Sequence[int],
    now: int,
    *,
    pending: bool = False,
    counts: dict[CountKey, int] | None = None,
) -> list[int]:
    """End dead entries (with `pending`, waiting ones too) as rejected; return those that were. Contents are erased.

    What that changed of the counters is added to `counts`.
    """
    states = (ENTRY_DEAD, ENTRY_PENDING) if pending else (ENTRY_DEAD,)
    done, changed = _drop(connection, entries, now, states)
    _sum(counts, changed)
    return done


def expire(connection: Connection, before: int, now: int, limit: int) -> tuple[int, dict[CountKey, int]]:
    """Drop dead entries that died before a time, at most `limit`; how many those were, and what that changed."""
    dead = (journal_entry.c.state == ENTRY_DEAD) & (journal_entry.c.done_at < before)
    due = connection.scalars(select(journal_entry.c.id).where(dead).order_by(journal_entry.c.id).limit(limit)).all()
    done, counts = _drop(connection, due, now, (ENTRY_DEAD,))
    return len(done), counts


def withdraw(connection: Connection, dedupe: bytes, now: int, reason: str) -> tuple[list[int], dict[CountKey, int]]:
    """Drop the dead entry with a dedupe key; which that was, and what that changed."""
    found = connection.scalars(select(journal_dedupe.c.entry).where(journal_dedupe.c.key == dedupe)).all()
    return _drop(connection, found, now, (ENTRY_DEAD,), reason)


def _drop(
    connection: Connection, entries: Sequence[int], now: int, states: tuple[int, ...], reason: str = DROPPED
) -> tuple[list[int], dict[CountKey, int]]:
    done: list[int] = []
    counts: dict[CountKey, int] = {}
    for row in _rows(connection, entries, states):
        left = _deliveries(connection, row.id)
        for one in left:
            if one.state == _DEAD:
                _add(counts, one.network, one.direction, "dead", -1)
            _add(counts, one.network, one.direction, "rejected", 1)
        if not left and row.state == ENTRY_DEAD:
            _add(counts, row.network, row.direction, "dead", -1)
            _add(counts, row.network, row.direction, "rejected", 1)
        elif not left:
            for name in ("routed", "targets", "rejected"):
                _add(counts, row.network, row.direction, name, 1)
        connection.execute(delete(journal_delivery).where(journal_delivery.c.entry == row.id))
        connection.execute(
            update(journal_entry)
            .where(journal_entry.c.id == row.id)
            .values(state=ENTRY_DONE, payload=None, done_at=now, next_attempt_at=0, last_error=reason)
        )
        done.append(row.id)
        _log.warning("entry_dropped", entry=row.id, network=row.network)
    count(connection, counts)
    return done, counts


def _filtered(query: Any, which: Filter) -> Any:
    if which.state is not None:
        query = query.where(journal_entry.c.state == STATES[which.state])
    if which.network is not None:
        query = query.where(journal_entry.c.network == which.network)
    if which.direction is not None:
        query = query.where(journal_entry.c.direction == int(DIRECTIONS[which.direction]))
    return query


def _rows(connection: Connection, entries: Sequence[int], states: tuple[int, ...]) -> list[Any]:
    found: list[Any] = []
    for entry in dict.fromkeys(entries):
        where = (journal_entry.c.id == entry) & journal_entry.c.state.in_(states)
        found += connection.execute(select(journal_entry).where(where)).all()
    return found


def _deliveries(connection: Connection, entry: int) -> list[Any]:
    return list(connection.execute(select(journal_delivery).where(journal_delivery.c.entry == entry)).all())


def _sum(total: dict[CountKey, int] | None, counts: dict[CountKey, int]) -> None:
    if total is not None:
        for key, by in counts.items():
            total[key] = total.get(key, 0) + by


def _add(counts: dict[CountKey, int], network: str, direction: int, name: str, by: int) -> None:
    key = (network, direction, name)
    counts[key] = counts.get(key, 0) + by


def _listed(row: Any) -> Listed:
    return Listed(
        row.id,
        next(name for name, state in STATES.items() if state == row.state),
        next(name for name, direction in DIRECTIONS.items() if int(direction) == row.direction),
        row.network,
        row.lane,
        row.received_at,
        row.attempts,
        row.next_attempt_at,
        row.last_error or "",
    )


def _shown(seal: Seal, row: Any, *, reveal: bool) -> ShownDelivery:
    body: bytes | None = None
    if reveal:
        try:
            body = seal.open_row(rows.BODY, row.id, row.version, row.body) if row.body else b""
        except UnreadableError:
            body = b"(unreadable)"
    return ShownDelivery(
        row.id,
        row.network,
        row.target,
        DeliveryState(row.state).name.lower(),
        row.attempts,
        row.first_attempt_at,
        row.last_error or "",
        body,
    )
