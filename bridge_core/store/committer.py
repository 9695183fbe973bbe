"""Commits groups of work, whatever the database does meanwhile. Blocks: it lives in the writer's thread.

A group that fails by one unit's fault is committed unit by unit, so that only that one fails. When the database is
unavailable, awaited units get TransientError, and units nobody awaits are kept and tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from bridge_core.engine.faults import FaultPoints
from bridge_core.store import errors
from bridge_core.store.group import Group, Outcome
from bridge_core.store.session import Session
from bridge_core.store.work import CountKey, Fence, Item, Job, Work

_log = structlog.get_logger(__name__)

_PAUSE = 0.1
"""Seconds between tries to learn the fate of a commit whose connection was lost."""


class Committer:
    """Processes items in order. `held` is called for each new connection and raises when the lease is gone."""

    def __init__(self, session: Session, faults: FaultPoints, held: Callable[[Session], None]) -> None:
        self._session = session
        self._faults = faults
        self._held = held
        self._connected = False
        self._run = f"{time.time_ns():x}"
        self._groups = 0
        self.deadline = float("inf")
        """Monotonic time at which to give up waiting for the database."""
        self.kept: list[Work | Fence] = []
        """What nobody awaits, or awaits for however long, and is not committed yet; in order."""
        self.totals: dict[CountKey, int] = {}
        """Committed counters."""
        self.available = True
        """False from the first failure of the database to the next success."""
        self.outages = 0
        """How often the database became unavailable."""
        self.refused = 0
        """Rows nobody awaited which the database refused for their values; each is logged."""

    def open(self) -> None:
        """Connect. Raises the driver's error or LeaseError."""
        if not self._connected:
            self._session.open()
            try:
                self._held(self._session)
            except BaseException:
                self._session.close()
                raise
            self._connected = True

    def close(self) -> None:
        """Disconnect."""
        self._connected = False
        self._session.close()

    def process(self, items: Sequence[Item]) -> list[Outcome]:
        """Commit, together with what was kept; return what to tell whom."""
        outcomes: list[Outcome] = []
        group: list[Work | Fence] = []
        for item in items:
            if isinstance(item, Job):
                self._commit(group, outcomes)
                group = []
                self._job(item, outcomes)
            else:
                group.append(item)
        self._commit(group, outcomes)
        return outcomes

    def _commit(self, group: list[Work | Fence], outcomes: list[Outcome]) -> None:
        group, self.kept = self.kept + group, []
        if not group:
            return
        try:
            outcomes += self._attempt([one for one in group if isinstance(one, Work)])
        except Exception as error:
            if errors.is_row_fault(error):
                self._one_by_one(group, outcomes)
            else:
                self._put_off(group, error, outcomes)
        else:
            outcomes += [(one.waiter, None, None) for one in group if isinstance(one, Fence)]

    def _attempt(self, works: Sequence[Work]) -> list[Outcome]:
        """Commit these in one transaction and say so, or raise with nothing stored."""
        if not works:
            return []
        self.open()
        session, faults, group = self._session, self._faults, Group(works)
        mark = self._mark(group)
        committing = False
        try:
            group.sort_out(session.known(group.keys) if group.keys else {})
            session.begin()
            group.execute(session)
            for label in group.labels:
                faults.hit(f"{label}.before_commit")
            committing = True
            session.commit()
        except Exception as error:
            self._undo(error)
            if not (committing and mark and self._happened(mark, error)):
                raise
        for label in group.labels:
            faults.hit(f"{label}.after_commit")
        for key, by in group.counts.items():
            self.totals[key] = self.totals.get(key, 0) + by
        self._succeeded()
        return group.outcomes()

    def _mark(self, group: Group) -> str:
        if not self._session.verifies:
            return ""
        self._groups += 1
        mark = f"{self._run}.{self._groups}"
        group.mark(mark)
        return mark

    def _undo(self, error: Exception) -> None:
        self._session.rollback()
        if not errors.is_row_fault(error):
            self._connected = self._connected and self._session.usable()

    def _happened(self, mark: str, error: Exception) -> bool:
        """Whether a commit that raised took place all the same. Waits for the database: only it knows."""
        if errors.is_row_fault(error):
            return False
        while True:
            try:
                self.open()
                return self._session.mark() == mark
            except Exception as again:
                self._undo(again)
                self._failed(again)
                if time.monotonic() > self.deadline:
                    raise
                time.sleep(_PAUSE)

    def _one_by_one(self, group: Sequence[Work | Fence], outcomes: list[Outcome]) -> None:
        """Commit each by itself: a unit that the database refuses fails alone."""
        for position, one in enumerate(group):
            if isinstance(one, Fence):
                outcomes.append((one.waiter, None, None))
                continue
            try:
                outcomes += self._attempt([one])
            except Exception as error:
                if not errors.is_row_fault(error):
                    self._put_off(group[position:], error, outcomes)
                    return
                _log.error("database_refused_unit", label=one.label, error=type(errors.root(error)).__name__)
                if one.waiter is not None:
                    outcomes.append((one.waiter, None, errors.translated(error)))
                    continue
                try:
                    self._salvage(one)
                except Exception as again:
                    self._undo(again)
                    self._put_off(group[position:], again, outcomes)
                    return

    def _salvage(self, work: Work) -> None:
        """Commit a unit nobody awaits without the rows that the database refuses: it must not block what follows."""
        session = self._session
        group = Group([work])
        group.sort_out({})
        session.begin(single=True)
        for name, rows in group.statements():
            for row in rows:
                session.command("SAVEPOINT one")
                try:
                    session.execute(name, [row])
                except Exception as error:
                    if not errors.is_row_fault(error):
                        raise
                    session.command("ROLLBACK TO SAVEPOINT one")
                    self.refused += 1
                    _log.error("database_refused_row", statement=name, error=type(errors.root(error)).__name__)
                session.command("RELEASE SAVEPOINT one")
        session.commit()
        for key, by in work.counts.items():
            self.totals[key] = self.totals.get(key, 0) + by

    def _put_off(self, group: Sequence[Work | Fence], error: Exception, outcomes: list[Outcome]) -> None:
        """Tell those who wait, keep what nobody awaits."""
        self._failed(error)
        shown = errors.translated(error)
        for one in group:
            if isinstance(one, Work) and one.waiter is not None:
                outcomes.append((one.waiter, None, shown))
            else:
                self.kept.append(one)

    def _job(self, job: Job, outcomes: list[Outcome]) -> None:
        try:
            self.open()
            self._session.begin(single=True)
            result: Any = job.run(self._session.connection)
            self._session.commit()
        except Exception as error:
            self._undo(error)
            if errors.is_transient(error):
                self._failed(error)
            driver = errors.is_transient(error) or isinstance(error, SQLAlchemyError)
            outcomes.append((job.waiter, None, errors.translated(error) if driver else error))
        else:
            self._succeeded()
            outcomes.append((job.waiter, result, None))

    def _failed(self, error: Exception) -> None:
        if self.available:
            self.available = False
            self.outages += 1
            _log.error("database_unavailable", error=str(errors.translated(error)))

    def _succeeded(self) -> None:
        if not self.available:
            self.available = True
            _log.info("database_back", kept=len(self.kept))
