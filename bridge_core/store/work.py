"""Units of work for the writer: rows for named statements, and what is to be told when they are committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection

from bridge_core.engine.ports import Write

Row = tuple[Any, ...]
CountKey = tuple[str, int, str]
"""Network, direction, name of the counter."""
Candidate = tuple[bytes | None, Row, tuple[str, int]]
"""A new journal entry: its dedupe key, its row, and the network and direction it counts for."""


class Work:
    """Rows to be committed together. Belongs to the loop until it is submitted, then to the writer.

    With a `waiter` somebody awaits it and is told about failure; without one it is retried until it is committed.
    `candidates` are entries of which those with a known key are left out; the waiter's result has, for each, 0 or
    the id of the entry that was there before. `further` are more keys of a candidate, by its first one: each counts as
    that does. `label` names its fault points.
    """

    __slots__ = ("candidates", "counts", "further", "label", "rows", "waiter")

    def __init__(self, label: str = "", waiter: asyncio.Future[Any] | None = None) -> None:
        self.label = label
        self.waiter = waiter
        self.rows: dict[str, list[Row]] = {}
        self.counts: dict[CountKey, int] = {}
        self.candidates: list[Candidate] = []
        self.further: dict[bytes, tuple[bytes, ...]] | None = None

    def add(self, op: str, row: Row) -> None:
        """One more row."""
        rows = self.rows.get(op)
        if rows is None:
            self.rows[op] = [row]
        else:
            rows.append(row)

    def write(self, writes: Iterable[Write]) -> None:
        """Rows that a store made."""
        for one in writes:
            self.add(one.op, one.row)

    def count(self, network: str, direction: int, name: str, by: int = 1) -> None:
        """Count with the commit."""
        key = (network, direction, name)
        self.counts[key] = self.counts.get(key, 0) + by


class Job:
    """A function run by the writer in a transaction of its own, in the order of submission.

    For what is rare: it may read and write anything through SQLAlchemy Core.
    """

    __slots__ = ("run", "waiter")

    def __init__(self, run: Callable[[Connection], Any], waiter: asyncio.Future[Any]) -> None:
        self.run = run
        self.waiter = waiter


class Fence:
    """Resolves `waiter` once everything submitted before it is committed."""

    __slots__ = ("waiter",)

    def __init__(self, waiter: asyncio.Future[Any]) -> None:
        self.waiter = waiter


Item = Work | Job | Fence
