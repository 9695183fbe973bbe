"""Whether the books balance: counters against one another, and against the rows.

targets  = delivered + rejected + dead + pending
accepted = routed + ignored + waiting
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from bridge_core.engine.ports import DeliveryState
from bridge_core.store.tables import ENTRY_DEAD, ENTRY_PENDING, counter, journal_delivery, journal_entry


@dataclass(slots=True)
class Balance:
    """One network and direction. The first nine are counters, the rest is counted in the rows."""

    accepted: int = 0
    duplicate: int = 0
    routed: int = 0
    ignored: int = 0
    targets: int = 0
    delivered: int = 0
    rejected: int = 0
    dead: int = 0
    pending: int = 0
    """Deliveries that have not ended."""
    waiting: int = 0
    """Entries that are not routed yet."""
    dead_rows: int = 0
    """Dead deliveries, and dead entries that never had any."""

    @property
    def holds(self) -> bool:
        """Whether everything that came is accounted for."""
        return (
            self.targets == self.delivered + self.rejected + self.dead + self.pending
            and self.accepted == self.routed + self.ignored + self.waiting
            and self.dead == self.dead_rows
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """The books of all networks, by (network, direction)."""

    balances: dict[tuple[str, int], Balance]

    @property
    def holds(self) -> bool:
        """Whether every one balances."""
        return all(balance.holds for balance in self.balances.values())


_COUNTERS = ("accepted", "duplicate", "routed", "ignored", "targets", "delivered", "rejected", "dead")


def audit(connection: Connection) -> Audit:
    """Read the books, all as of one moment. Blocks; reads all pending and dead rows."""
    snapshot = "" if connection.dialect.name == "sqlite" else " ISOLATION LEVEL REPEATABLE READ READ ONLY"
    connection.exec_driver_sql(f"BEGIN{snapshot}")
    try:
        return _audit(connection)
    finally:
        connection.exec_driver_sql("COMMIT")


def _audit(connection: Connection) -> Audit:
    balances: dict[tuple[str, int], Balance] = {}

    def balance(network: str, direction: int) -> Balance:
        return balances.setdefault((network, direction), Balance())

    for network, direction, name, value in connection.execute(
        select(counter.c.network, counter.c.direction, counter.c.name, counter.c.value)
    ):
        if name in _COUNTERS:
            setattr(balance(network, direction), name, value)
    entry, delivery = journal_entry.c, journal_delivery.c
    has_delivery = select(delivery.id).where(delivery.entry == entry.id).exists()
    for network, direction, state, number in connection.execute(
        select(delivery.network, delivery.direction, delivery.state, func.count()).group_by(
            delivery.network, delivery.direction, delivery.state
        )
    ):
        if state == int(DeliveryState.DEAD):
            balance(network, direction).dead_rows += number
        else:
            balance(network, direction).pending += number
    for network, direction, state, number in connection.execute(
        select(entry.network, entry.direction, entry.state, func.count())
        .where(entry.state.in_([ENTRY_PENDING, ENTRY_DEAD]) & ~has_delivery)
        .group_by(entry.network, entry.direction, entry.state)
    ):
        if state == ENTRY_DEAD:
            balance(network, direction).dead_rows += number
        else:
            balance(network, direction).waiting += number
    return Audit(balances)
