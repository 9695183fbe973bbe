"""Units of work merged, so that each statement runs once for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bridge_core.store.sequence import in_sequence
from bridge_core.store.session import Session
from bridge_core.store.statements import BY_NAME, ORDER, SEQUENCE
from bridge_core.store.work import CountKey, Row, Work

Outcome = tuple[asyncio.Future[Any] | None, Any, Exception | None]
"""Who waits, for what result or error."""

DAY = 86400


class Group:
    """What one transaction commits."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = works
        self.keys = [key for work in works for key, _, _ in work.candidates if key is not None]
        for work in works:
            if work.further is not None:
                self.keys += [key for keys in work.further.values() for key in keys]
        self.labels = sorted({work.label for work in works if work.label})
        self.counts: dict[CountKey, int] = {}
        self._rows: dict[str, list[Row]] = {}
        self._results: list[list[int] | None] = []
        for work in works:
            for name, rows in work.rows.items():
                self._extend(name, rows)
            for key, by in work.counts.items():
                self.counts[key] = self.counts.get(key, 0) + by

    def _extend(self, name: str, rows: list[Row]) -> None:
        mine = self._rows.get(name)
        if mine is None:
            self._rows[name] = list(rows)
        else:
            mine += rows

    def mark(self, mark: str) -> None:
        """Store `mark` with the commit, to recognise it by."""
        self._extend("meta_put", [("commit", mark)])

    def sort_out(self, known: Mapping[bytes, int]) -> None:
        """Leave out the candidates whose key is known, from before or from this very group."""
        seen = dict(known)
        entries: list[Row] = []
        keys: list[Row] = []
        day = int(time.time()) // DAY
        counts = self.counts
        for work in self.works:
            if not work.candidates:
                self._results.append(None)
                continue
            result: list[int] = []
            further = work.further
            for key, row, (network, direction) in work.candidates:
                name = "accepted"
                if key is not None and key in seen:
                    result.append(seen[key])
                    name = "duplicate"
                elif further is not None and key in further and (before := _any(further[key], seen)):
                    result.append(before)
                    name = "duplicate"
                else:
                    if key is not None:
                        seen[key] = row[0]
                        keys.append((key, row[0], day))
                        if further is not None and key in further:
                            for other in further[key]:
                                seen[other] = row[0]
                                keys.append((other, row[0], day))
                    entries.append(row)
                    result.append(0)
                count = (network, direction, name)
                counts[count] = counts.get(count, 0) + 1
            self._results.append(result)
        if entries:
            self._extend("entry_add", entries)
        if keys:
            self._extend("dedupe_add", keys)

    def statements(self) -> Iterator[tuple[str, list[Row]]]:
        """What to run, in order: the names of statements and their rows."""
        if self.counts:
            self._rows["counter_add"] = [(*key, by) for key, by in self.counts.items()]
        for name in ORDER:
            rows = self._rows.get(name)
            if rows is None:
                continue
            if name == SEQUENCE:
                yield from in_sequence(rows)
            else:
                yield name, _lasting(name, rows)

    def execute(self, session: Session) -> None:
        """Run everything in the transaction begun. Raises the driver's error."""
        for name, rows in self.statements():
            session.execute(name, rows)

    def outcomes(self) -> list[Outcome]:
        """What to tell the waiters after the commit."""
        return [
            (work.waiter, result, None)
            for work, result in zip(self.works, self._results, strict=True)
            if work.waiter is not None
        ]


def _lasting(name: str, rows: list[Row]) -> list[Row]:
    """The rows for one statement; of several for one key the last where only that one counts."""
    statement = BY_NAME[name]
    if len(rows) > 1 and statement.last_wins:
        keys = statement.keys
        return list({row[:keys]: row for row in rows}.values())
    return rows


def _any(keys: Sequence[bytes], seen: Mapping[bytes, int]) -> int:
    """The entry of the first of these keys that is known; 0 for none."""
    return next((seen[key] for key in keys if key in seen), 0)
