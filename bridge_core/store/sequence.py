"""Rows whose order counts, put together into as few statements as that allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bridge_core.store.statements import BY_NAME
from bridge_core.store.work import Row


def in_sequence(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Statements whose effect is that of the rows one after the other; a row is a statement's name and its values.

    A row joins an earlier run of its statement unless something after that run is about the same row of the table.
    """
    runs: list[tuple[str, dict[Any, Row]]] = []
    newest: dict[str, int] = {}  # the last run of each statement
    touched: dict[tuple[str, Row], int] = {}  # the last run that is about a table's row
    floor = 0  # nothing may join a run before this one
    for name, *values in rows:
        row = tuple(values)
        statement = BY_NAME[name]
        key = row[: statement.keys]
        place = (statement.table.name, key)
        at = newest.get(name, -1)
        if statement.of_many and at != len(runs) - 1:
            at = -1
        if at < max(touched.get(place, 0), floor) or (key in runs[at][1] and not statement.replaces):
            at = newest[name] = len(runs)
            runs.append((name, {}))
        runs[at][1][key] = row
        touched[place] = at
        if statement.of_many:
            floor = at
    return iter([(name, list(run.values())) for name, run in runs])
