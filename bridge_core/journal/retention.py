"""Forgets what was kept long enough, in small pieces so that nothing waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, delete, func, select

from bridge_core.api.errors import BridgeError
from bridge_core.engine import links, puppets
from bridge_core.journal import admin
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store import media, transactions
from bridge_core.store.database import Database
from bridge_core.store.tables import ENTRY_DONE, journal_dedupe, journal_entry, kv, membership, message
from bridge_core.store.work import Work

_log = structlog.get_logger(__name__)

_EVERY = 600.0
_CHUNK = 1000
_DAY = 86400


class Retention:
    """Owns the task that forgets. Times in seconds."""

    def __init__(
        self,
        database: Database,
        keep_done: float,
        keep_keys: float,
        keep_messages: float | None,
        keep_dead: float | None,
        keep_links: float,
    ) -> None:
        self._database = database
        self._keep_done = keep_done
        self._keep_keys = keep_keys
        self._keep_messages = keep_messages
        self._keep_dead = keep_dead
        self._keep_links = keep_links
        self._swept = -1
        self._tasks = TaskOwner("journal")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = self._tasks.spawn(self._repeat(), "retention")

    async def stop(self) -> None:
        """End; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.once()
            except BridgeError as error:
                _log.warning("retention_put_off", error=str(error))
            except Exception:
                _log.exception("retention_failed")

    async def once(self) -> int:
        """Forget all that is due now; return how many rows that were."""
        now, run = self._database.now_ms(), self._database.writer.run
        total = await self._entries(now - int(self._keep_done * 1000))
        if self._keep_messages is not None:
            total += await self._messages(now - int(self._keep_messages * 1000))
        if self._keep_dead is not None:
            total += await self._dead(now - int(self._keep_dead * 1000), now)
        today = now // 1000 // _DAY
        if today != self._swept:
            # A key lives as long as its entry at least, so that an entry being handled is never accepted twice.
            total += await self._keys(today - int(max(self._keep_keys, self._keep_done)) // _DAY)
            total += await run(lambda connection: transactions.sweep(connection, now - 7 * _DAY * 1000))
            total += await self._links(now)
            total += await run(_leftovers)
            self._swept = today
        if total:
            _log.debug("retention", rows=total)
        return total

    async def _entries(self, before: int) -> int:
        total = 0
        while due := await self._database.reader.run(lambda connection: _due(connection, before)):
            work = Work()
            for one in due:
                work.add("entry_remove", (one,))
            await self._database.writer.commit(work)
            total += len(due)
        return total

    async def _dead(self, before: int, now: int) -> int:
        total, removed = 0, _CHUNK
        while removed == _CHUNK:
            removed, counts = await self._database.writer.run(
                lambda connection: admin.expire(connection, before, now, _CHUNK)
            )
            for key, by in counts.items():
                self._database.totals[key] = self._database.totals.get(key, 0) + by
            total += removed
        return total

    async def _messages(self, before: int) -> int:
        total = 0
        while removed := await self._database.writer.run(lambda connection: _messages(connection, before)):
            total += removed
        return total

    async def _links(self, now: int) -> int:
        """Which links went out and were taken back, until all have expired; and addresses of files that were sent."""
        before = now - int(self._keep_links * 1000)
        echoes = now - int(self._keep_keys * 1000)
        await self._database.kv.expire(puppets.ECHOES, lambda value: puppets.came_back_at(value) < echoes)
        total = await self._database.kv.expire(links.NAMESPACE, lambda value: links.remembered_at(value) < before)
        for namespace in (links.USERS, links.KEYS):
            await self._database.kv.expire(namespace, lambda value: links.remembered_at(value) < before)
        # Needed while their message may be sent again; then only so that an equal file is not put there twice.
        addresses = now - int(max(self._keep_keys, self._keep_done) * 1000)
        while removed := await self._database.writer.run(
            lambda connection: media.sweep(connection, addresses, before, _CHUNK)
        ):
            total += removed
        return total

    async def _keys(self, day: int) -> int:
        """Slice by slice: there is no index by day, and no need for one but here."""
        total = 0
        for first in range(256):
            total += await self._database.writer.run(lambda connection, first=first: _keys(connection, first, day))  # type: ignore[misc]
        return total


def _due(connection: Connection, before: int) -> Sequence[int]:
    """The last entry stays: its id tells how far ids have come."""
    entry = journal_entry.c
    last = connection.scalar(select(func.max(entry.id))) or 0
    return connection.scalars(
        select(entry.id)
        .where((entry.state == ENTRY_DONE) & (entry.done_at < before) & (entry.id < last))
        .order_by(entry.id)
        .limit(_CHUNK)
    ).all()


def _keys(connection: Connection, first: int, day: int) -> int:
    key = journal_dedupe.c
    due = delete(journal_dedupe).where((key.key >= bytes([first])) & (key.day < day))
    if first < 255:
        due = due.where(key.key < bytes([first + 1]))
    return connection.execute(due).rowcount


def _messages(connection: Connection, before: int) -> int:
    """The oldest rows are those with the lowest ids, near enough."""
    row = message.c
    oldest = select(row.id).order_by(row.id).limit(_CHUNK)
    return connection.execute(delete(message).where(row.id.in_(oldest) & (row.timestamp < before))).rowcount


def _leftovers(connection: Connection) -> int:
    removed = connection.execute(delete(kv).where(kv.c.value.is_(None))).rowcount
    return removed + connection.execute(delete(membership).where(membership.c.joined == 0)).rowcount
