"""The database as a whole: opens it, owns the writer and the readers, and gives out the stores."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from sqlalchemy import Connection, select

from bridge_core.engine.faults import FaultPoints, NoFaults
from bridge_core.engine.ports import Write
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store import engines, lease, meta, schema, tables
from bridge_core.store.committer import Committer
from bridge_core.store.crypto import SealedCryptoStore
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.expiring import ExpiringStore
from bridge_core.store.ghosts import GhostStore
from bridge_core.store.kv import KeyValueStore
from bridge_core.store.media import MediaStore
from bridge_core.store.memberships import MembershipStore
from bridge_core.store.messages import MessageStore
from bridge_core.store.portals import PortalStore
from bridge_core.store.queues import StoredQueue
from bridge_core.store.reader import Reader
from bridge_core.store.seal import Seal
from bridge_core.store.sidecar import Sidecar
from bridge_core.store.transactions import TransactionStore
from bridge_core.store.users import UserStore
from bridge_core.store.wishes import WishStore
from bridge_core.store.writer import Writer

_log = structlog.get_logger(__name__)

_HEARTBEAT = 30.0
"""Seconds between notes that this run is alive."""


def wall_clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Database:
    """Implements `Stores`. `start` ... `stop`; nothing else may be called outside of that."""

    def __init__(
        self,
        settings: DatabaseSettings,
        seal: Seal,
        *,
        faults: FaultPoints | None = None,
        now_ms: Callable[[], int] = wall_clock,
    ) -> None:
        self.settings = settings
        self.seal = seal
        self.now_ms = now_ms
        self.url = engines.parse(settings.url)
        file = engines.file_of(self.url)
        self.file: Path | None = file
        self._file_lock = lease.FileLock(file) if file is not None else None
        self._session_lock = lease.SessionLock(settings.lease_timeout)
        self._owner = lease.new_owner()
        self._sidecar = Sidecar(settings.sidecar) if settings.sidecar else Sidecar.beside(file) if file else None
        self._committer = Committer(
            engines.session(self.url, settings),
            faults or NoFaults(),
            (lambda session: None) if file is not None else self._session_lock.held,
        )
        self.writer = Writer(self._committer)
        self.reader = Reader(engines.build(self.url, settings, readers=settings.readers), settings.readers)
        self.last_run = lease.LastRun()
        """How the run before this one ended."""
        self.restored_from: int | None = None
        """Set when the database is older than its sidecar file says: the highest journal id that was seen before."""
        self.handling = 0
        """Set by the journal once entries are being handled: only then does a crash count against them."""
        self._tasks = TaskOwner("store")
        self._beating: asyncio.Task[None] | None = None
        self.ghosts = GhostStore(self.writer, self.reader, settings.cached)
        self.memberships = MembershipStore(self.writer, self.reader, settings.cached)
        self.wishes = WishStore(self.writer, self.reader)
        self.expiring = ExpiringStore(self.writer, self.reader)
        self.messages = MessageStore(self.writer, self.reader, settings.cached)
        self.portals = PortalStore(self.writer, self.reader, self.messages)
        self.users = UserStore(self.writer, self.reader, seal)
        self.kv = KeyValueStore(self.writer, self.reader, seal, settings.cached)
        self.transactions = TransactionStore(self.reader)
        self.crypto = SealedCryptoStore(self.writer, self.reader, seal)
        self.media = MediaStore(self.writer, self.reader, settings.cached)

    def queue(self, name: str) -> StoredQueue:
        """The durable queue of that name."""
        return StoredQueue(self.writer, self.reader, self.seal, name)

    async def start(self) -> None:
        """Take the lease, check or upgrade the schema, check the secret.

        Raises StartError with words for the admin, or TransientError while the server cannot be reached.
        """
        if self.file is not None:
            engines.touch(self.file)
        if self._file_lock is not None:
            self._file_lock.acquire()
        try:
            await self.writer.start()
            await self.writer.run(self._prepare)
        except BaseException:
            await self._close(0.0)
            raise
        self._session_lock.owned_by(self._owner)
        self._beating = self._tasks.spawn(self._beat(), "heartbeat")

    async def stop(self, *, clean: bool = True) -> None:
        """Commit what is submitted, mark the run as ended in good order (if `clean`), and close everything."""
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating
            try:
                async with asyncio.timeout(self.settings.stop_timeout):
                    await self.writer.settled()
                    await self.writer.run(lambda connection: self._give_back(connection, clean=clean))
            except Exception as error:
                _log.warning("database_not_closed_cleanly", error=str(error) or type(error).__name__)
        await self._close(self.settings.stop_timeout)

    async def _close(self, timeout: float) -> None:
        left = await self.writer.stop(timeout)
        if left:
            _log.error("database_work_left", units=left)
        await self.reader.stop()
        if self._file_lock is not None:
            self._file_lock.release()

    def _prepare(self, connection: Connection) -> None:
        schema.prepare(connection, upgrade_allowed=self.settings.auto_migrate)
        meta.check_secret(connection, self.seal.fingerprint)
        self.last_run = lease.take(connection, self._owner, self.now_ms())
        run = meta.next_run(connection)
        for row in connection.execute(select(tables.counter)):
            self._committer.totals[row.network, row.direction, row.name] = row.value
        if self._sidecar is not None:
            seen = self._sidecar.seen()
            last = meta.last_entry(connection)
            if seen is not None and (seen.run >= run or seen.last_entry > last):
                self.restored_from = seen.last_entry
                _log.error("database_restored_from_backup", last_entry=last, last_entry_before=seen.last_entry)
                run = meta.skip_runs(connection, seen.run + 1) if seen.run >= run else run
            self._sidecar.write(run, max(last, seen.last_entry if seen else 0))
        self.run_number = run

    def _give_back(self, connection: Connection, *, clean: bool) -> None:
        if clean:
            lease.give_back(connection, self.now_ms())
        else:
            lease.hand_on(connection, self.last_run)
        self._note(meta.last_entry(connection))

    def _note(self, last_entry: int) -> None:
        if self._sidecar is not None:
            self._sidecar.write(self.run_number, last_entry)

    def start_handling(self, directions: int = lease.ALL) -> None:
        """From now on a crash counts against the entries at the head of lanes in these directions (a bit for each).

        Committed soon.
        """
        self.handling |= directions
        self._heartbeat()

    def _heartbeat(self) -> None:
        self.writer.behind().add("lease_beat", (lease.ROW, self.now_ms(), self.handling))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            self._heartbeat()
            with contextlib.suppress(Exception):
                self._note(await self.reader.run(meta.last_entry))

    def applied(self, writes: Iterable[Write]) -> None:
        """These rows are committed, or sure to be: reads may know of them."""
        for write in writes:
            if write.op == "kv_put":
                self.kv.applied(write.row)
            elif write.op == "txn_put":
                self.transactions.applied(write.row)

    @property
    def alive(self) -> bool:
        """Whether the writer's thread runs."""
        return self.writer.alive

    @property
    def available(self) -> bool:
        """Whether the last commit worked."""
        return self._committer.available

    @property
    def outages(self) -> int:
        """How often the database became unavailable."""
        return self._committer.outages

    @property
    def totals(self) -> dict[tuple[str, int, str], int]:
        """Committed counters: (network, direction, name) -> value. Do not change."""
        return self._committer.totals
