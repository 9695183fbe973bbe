"""The durable lanes on the store: what was accepted, how it is routed, how each delivery ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from bridge_core.api.errors import BackpressureError, BridgeError, TransientError
from bridge_core.api.network import Accepted
from bridge_core.engine.payload import VERSION
from bridge_core.engine.ports import Delivery, Direction, Entry, NewEntry, OpenLane, Outcome, Settlement, Write
from bridge_core.journal import admin, recovery, rows
from bridge_core.journal.ids import Ids
from bridge_core.journal.retention import Retention
from bridge_core.store.database import Database
from bridge_core.store.work import CountKey, Work

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Bounds of the journal. Times are seconds."""

    max_pending: int = 1_000_000
    """Entries that have not ended at which `append` waits."""
    full_timeout: float = 10.0
    """How long it waits before BackpressureError."""
    load_timeout: float = 30.0
    """How long `load` waits for an unavailable database before TransientError."""
    keep_done: float = 86400.0
    """How long ended entries stay listed, without their contents."""
    keep_keys: float = 30 * 86400.0
    """How long dedupe keys are remembered."""
    keep_messages: float | None = None
    """How long the message map is kept; None: for ever."""
    keep_dead: float | None = None
    """How long dead letters are kept; None: for ever."""
    keep_links: float = 30 * 86400.0
    """How long it is remembered which links to files went out with a message, and which were taken back.

    At least as long as a link works.
    """
    quarantine_after: int = 3
    """Crashes during one entry's handling after which it is set aside."""


class DurableJournal:
    """Implements `Journal`. `start` after the database's start; `stop` before its stop."""

    def __init__(self, database: Database, settings: JournalSettings) -> None:
        self._database = database
        self._writer = database.writer
        self._seal = database.seal
        self._settings = settings
        self._entry_ids = Ids("entry_ids")
        self._delivery_ids = Ids("delivery_ids")
        self.new_delivery_id: Callable[[], int] = self._delivery_ids.next
        """The next delivery id."""
        self.last_entry: Callable[[], int] = self._entry_ids.last
        """No entry accepted so far has a higher id."""
        self._dead: set[int] = set()
        """Pending entries that have a dead delivery."""
        self.pending = 0
        """Entries that have not ended, those being appended included."""
        self._room: asyncio.Event = asyncio.Event()
        self.refused = 0
        """Entries refused since the journal was full."""
        self._retention = Retention(
            database,
            settings.keep_done,
            settings.keep_keys,
            settings.keep_messages,
            settings.keep_dead,
            settings.keep_links,
        )

    async def start(self) -> None:
        """Learn what is pending; set aside what was being handled at several crashes. Then retention begins."""
        found = await self._writer.run(
            lambda connection: recovery.recover(
                connection, self._database.last_run, self._settings.quarantine_after, self._database.now_ms()
            )
        )
        self.pending = found.pending
        self._dead = set(found.with_dead)
        ahead = self._database.restored_from or 0
        self._entry_ids.start(max(found.last_entry, ahead), found.entry_limit)
        self._delivery_ids.start(found.last_delivery, found.delivery_limit)
        for key, by in found.counts.items():
            self._database.totals[key] = self._database.totals.get(key, 0) + by
        self._retention.start()

    async def stop(self) -> None:
        """End retention; commit what is settled, if the database can be used."""
        await self._retention.stop()
        try:
            async with asyncio.timeout(self._database.settings.stop_timeout):
                await self.settled()
        except (TimeoutError, TransientError):
            _log.warning("journal_not_settled_at_stop")

    async def append(
        self, entries: Sequence[NewEntry], writes: Sequence[Write] = (), *, urgent: bool = False
    ) -> list[Accepted]:
        """As `Journal.append`. Cancelling it does not undo it: shield it where entries go on to lanes."""
        count = len(entries)
        if self.pending and not urgent and self.pending + count > self._settings.max_pending:
            await self._wait_for_room(count)
        self.pending += count
        work = Work("append")
        seal, candidates, new_id = self._seal.row, work.candidates, self._entry_ids.next
        for entry in entries:
            direction = int(entry.direction)
            number = new_id()
            payload = seal(rows.PAYLOAD, number, VERSION, entry.payload)
            candidates.append(
                (
                    entry.dedupe,
                    (number, direction, entry.network, entry.lane, payload, VERSION, entry.received_at),
                    (entry.network, direction),
                )
            )
            if entry.also and entry.dedupe is not None:
                if work.further is None:
                    work.further = {}
                work.further.setdefault(entry.dedupe, entry.also)
        self._entry_ids.store(work)
        work.write(writes)
        try:
            earlier: list[int] | None = await self._writer.commit(work)
        except BridgeError:
            self._entry_ids.unstored()
            self._ended(count)
            raise
        if writes:
            self._database.applied(writes)
        if not earlier:
            return []
        duplicates = len(earlier) - earlier.count(0)
        if duplicates:
            self._ended(duplicates)
        return [
            Accepted(before, True) if before else Accepted(candidate[1][0])
            for before, candidate in zip(earlier, candidates, strict=True)
        ]

    def follow(self, entry: NewEntry) -> Accepted:
        """As `Journal.follow`. What is routed of it later is submitted later, so it is never stored without it."""
        work = self._writer.behind()
        number, direction = self._entry_ids.next(), int(entry.direction)
        payload = self._seal.row(rows.PAYLOAD, number, VERSION, entry.payload)
        row = (number, direction, entry.network, entry.lane, payload, VERSION, entry.received_at)
        work.candidates.append((entry.dedupe, row, (entry.network, direction)))
        self._entry_ids.store(work)
        self.pending += 1
        return Accepted(number)

    async def _wait_for_room(self, count: int) -> None:
        _log.warning("journal_full", pending=self.pending)
        try:
            async with asyncio.timeout(self._settings.full_timeout):
                while self.pending and self.pending + count > self._settings.max_pending:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            self.refused += count
            raise BackpressureError(f"the journal is full: {self.pending} entries wait") from None

    def _ended(self, count: int) -> None:
        self.pending -= count
        if not self._room.is_set():
            self._room.set()

    async def route(self, entry: Entry, deliveries: Sequence[Delivery]) -> None:
        """As `Journal.route`."""
        await self.route_many([(entry, deliveries)])

    async def route_many(self, routed: Sequence[tuple[Entry, Sequence[Delivery]]]) -> None:
        """As `Journal.route_many`."""
        work = Work("route")
        added = work.rows["delivery_add"] = []
        seal = self._seal
        for entry, deliveries in routed:
            if not deliveries:
                continue
            work.count(entry.network, int(entry.direction), "routed")
            for delivery in deliveries:
                added.append(rows.delivery(seal, delivery))
                work.count(delivery.network, int(delivery.direction), "targets")
        if not added:
            return
        self._delivery_ids.store(work)
        try:
            await self._writer.commit(work)
        except BridgeError:
            self._delivery_ids.unstored()
            raise

    async def attempt(self, deliveries: Sequence[Delivery]) -> None:
        """As `Journal.attempt`."""
        work = Work("attempt")
        for delivery in deliveries:
            work.add("delivery_attempt", rows.attempt(self._seal, delivery))
        await self._writer.commit(work)

    def settle(self, settlement: Settlement) -> None:
        """As `Journal.settle`."""
        work = self._writer.behind()
        entry, outcome, delivery = settlement.entry, settlement.outcome, settlement.delivery
        network, direction = settlement.network, int(settlement.direction)
        if delivery is None:
            work.count(network, direction, "ignored" if outcome is Outcome.IGNORED else "routed")
            if outcome is not Outcome.IGNORED:
                work.count(network, direction, "targets")
        if outcome is Outcome.DEAD:
            work.count(network, direction, "dead")
            self._dead.add(entry)
            if delivery is not None:
                work.add("delivery_dead", (entry, delivery, settlement.reason))
        elif delivery is not None:
            work.add("delivery_end", (entry, delivery))
        if outcome is Outcome.DELIVERED:
            work.count(network, direction, "delivered")
        elif outcome is Outcome.REJECTED or (outcome is Outcome.IGNORED and delivery is not None):
            work.count(network, direction, "rejected")
        for write in settlement.writes:
            work.add(write.op, write.row)
        if settlement.writes:
            self._database.applied(settlement.writes)
        if settlement.entry_done:
            self._end_entry(work, entry, settlement.reason)

    def _end_entry(self, work: Work, entry: int, reason: str) -> None:
        now = self._database.now_ms()
        if entry in self._dead:
            self._dead.discard(entry)
            work.add("entry_dead", (entry, now, reason))
        else:
            work.add("entry_done", (entry, now))
        self._ended(1)

    async def settled(self) -> None:
        """As `Journal.settled`. Waits through outages of the database: bound it."""
        await self._writer.settled()

    async def withdraw(self, dedupe: bytes, reason: str) -> bool:
        """As `Journal.withdraw`."""
        await self.settled()
        done, counts = await self._writer.run(
            lambda connection: admin.withdraw(connection, dedupe, self._database.now_ms(), reason)
        )
        for key, by in counts.items():
            self._database.totals[key] = self._database.totals.get(key, 0) + by
        return bool(done)

    async def postpone(self, entry: Entry, error: str, next_attempt_at: int) -> None:
        """As `Journal.postpone`; `entry.attempts` is stored as it stands."""
        work = Work("postpone")
        work.add("entry_postpone", (entry.id, entry.attempts, next_attempt_at, error))
        await self._writer.commit(work)

    async def open_lanes(self, direction: Direction | None = None) -> list[OpenLane]:
        """As `Journal.open_lanes`. From now on a crash counts against the first entry of each of these lanes."""
        await self.settled()
        found = await self._database.reader.run(rows.open_lanes)
        if direction is None:
            self._database.start_handling()
            return found
        self._database.start_handling(1 << int(direction))
        return [lane for lane in found if lane.direction is direction]

    async def load(self, direction: Direction, lane: str, after: int, limit: int) -> list[Entry]:
        """As `Journal.load`. What does not open is dead-lettered as unreadable and left out."""
        try:
            async with asyncio.timeout(self._settings.load_timeout):
                await self.settled()  # or what has just ended would be found once more
        except TimeoutError:
            raise TransientError("the database cannot be written now") from None
        entries: list[Entry] = []
        while not entries:
            start = after
            stored = await self._database.reader.run(
                lambda connection, start=start: rows.load(connection, direction, lane, start, limit)  # type: ignore[misc]
            )
            if not stored:
                break
            after = stored[-1].id
            entries = [entry for entry in map(self._opened, stored) if entry is not None]
        return entries

    def _opened(self, stored: rows.StoredEntry) -> Entry | None:
        entry, broken = stored.opened(self._seal)
        for delivery in broken:
            last = not entry.deliveries and delivery is broken[-1]
            self._unreadable(entry, delivery, last)
        if stored.readable and (entry.deliveries or not broken):
            return entry
        if not broken:
            self._unreadable(entry, None, True)
        return None

    def _unreadable(self, entry: Entry, delivery: Delivery | None, last: bool) -> None:
        _log.error("entry_unreadable", entry=entry.id, delivery=delivery.id if delivery else None)
        self.settle(
            Settlement(
                entry.id,
                delivery.network if delivery else entry.network,
                entry.direction,
                Outcome.DEAD,
                delivery.id if delivery else None,
                "unreadable",
                entry_done=last,
            )
        )

    def revived(self, entries: int, counts: dict[CountKey, int]) -> None:
        """So many dead entries wait again, and this has changed of the counters, by an admin's hand."""
        self.pending += entries
        for key, by in counts.items():
            self._database.totals[key] = self._database.totals.get(key, 0) + by

    def counters(self) -> dict[tuple[str, int, str], int]:
        """Committed counters: (network, direction, name) -> value, since the database was made."""
        return dict(self._database.totals)

    async def audit(self) -> Any:
        """Whether counters and rows agree; see `audit.Audit`."""
        from bridge_core.journal.audit import audit

        await self.settled()
        return await self._database.reader.run(audit)
