"""Implements `engine.desk.Desk`: the journal's admin at run time, with the counters and the lanes kept right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from bridge_core.engine.desk import DeskDelivery, DeskEntry
from bridge_core.engine.ports import Direction
from bridge_core.journal import admin
from bridge_core.journal.journal import DurableJournal
from bridge_core.store.database import Database
from bridge_core.store.work import CountKey

Replayed = Callable[[Direction, str, Sequence[int]], None]
"""Told which entries of a lane wait again. Must not block."""


class JournalDesk:
    """Acts on entries that are dead: nobody is handling those."""

    def __init__(self, database: Database, journal: DurableJournal, replayed: Replayed) -> None:
        self._database = database
        self._journal = journal
        self._replayed = replayed

    async def entries(self, state: str, network: str | None, after: int, limit: int) -> list[DeskEntry]:
        """As `Desk.entries`."""
        which = admin.Filter(state, network)
        await self._journal.settled()
        found = await self._database.reader.run(
            lambda connection: admin.listed(connection, which, after=after, limit=limit)
        )
        return [_shown(one) for one in found]

    async def entry(self, entry: int) -> tuple[DeskEntry, list[DeskDelivery]] | None:
        """As `Desk.entry`."""
        await self._journal.settled()
        found = await self._database.reader.run(lambda connection: admin.show(connection, self._database.seal, entry))
        if found is None:
            return None
        deliveries = [DeskDelivery(one.id, one.network, one.state, one.attempts, one.error) for one in found.deliveries]
        return _shown(found.entry), deliveries

    async def replay(self, entries: Sequence[int]) -> list[DeskEntry]:
        """As `Desk.replay`."""
        await self._journal.settled()

        def job(connection: Connection) -> tuple[list[admin.Listed], dict[CountKey, int]]:
            counts: dict[CountKey, int] = {}
            done = admin.replay(connection, entries, self._database.now_ms(), counts)
            found = [admin.show(connection, self._database.seal, entry) for entry in done]
            return [one.entry for one in found if one is not None], counts

        done, counts = await self._database.writer.run(job)
        self._journal.revived(len(done), counts)
        shown = [_shown(one) for one in done]
        for direction, lane in dict.fromkeys((one.direction, one.lane) for one in shown):
            self._replayed(direction, lane, [one.id for one in shown if (one.direction, one.lane) == (direction, lane)])
        return shown

    async def drop(self, entries: Sequence[int]) -> list[int]:
        """As `Desk.drop`."""
        await self._journal.settled()

        def job(connection: Connection) -> tuple[list[int], dict[CountKey, int]]:
            counts: dict[CountKey, int] = {}
            return admin.drop(connection, entries, self._database.now_ms(), counts=counts), counts

        done, counts = await self._database.writer.run(job)
        self._journal.revived(0, counts)
        return done


def _shown(one: admin.Listed) -> DeskEntry:
    return DeskEntry(
        one.id,
        one.state,
        admin.DIRECTIONS[one.direction],
        one.network,
        one.lane,
        one.received_at,
        one.attempts,
        one.next_attempt_at,
        one.error,
    )
