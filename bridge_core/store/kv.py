"""Small named values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select

from bridge_core.engine.ports import Write
from bridge_core.store.errors import UnreadableError
from bridge_core.store.lru import Lru
from bridge_core.store.reader import Reader
from bridge_core.store.seal import Seal
from bridge_core.store.tables import kv
from bridge_core.store.work import Row, Work
from bridge_core.store.writer import Writer

PLAIN = ("plain.",)
"""Namespaces that start like this are stored as they are; all others are sealed."""


_PAGE = 500
_ONE: Final = select(kv.c.value, kv.c.sealed).where(
    (kv.c.namespace == bindparam("in_namespace")) & (kv.c.key == bindparam("named"))
)
"""Made once: to build it costs more than the read."""


class KeyValueStore:
    """Implements `KeyValues`, with a cache of values read or written."""

    def __init__(self, writer: Writer, reader: Reader, seal: Seal, cached: int) -> None:
        self._writer = writer
        self._reader = reader
        self._seal = seal
        self._values: Lru[tuple[str, str], tuple[bytes | None]] = Lru(cached)

    async def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or None."""
        cached = self._values.get((namespace, key))
        if cached is None:
            row = await self._reader.run(
                lambda connection: connection.execute(_ONE, {"in_namespace": namespace, "named": key}).first()
            )
            cached = self._values.get((namespace, key))  # written meanwhile?
            if cached is None:
                cached = (self._open(namespace, key, *row) if row else None,)
                self._values.put((namespace, key), cached)
        return cached[0]

    async def put(self, namespace: str, key: str, value: bytes | None) -> None:
        """Return when committed; None removes."""
        work = Work()
        work.add("kv_put", self._row(namespace, key, value))
        await self._writer.commit(work)
        self._values.put((namespace, key), (value,))

    async def items(self, namespace: str, prefix: str) -> dict[str, bytes]:
        """All keys that start with `prefix`, and their values."""
        await self._writer.settled()
        rows = await self._reader.run(lambda connection: _items(connection, namespace, prefix))
        opened = {key: self._open(namespace, key, value, sealed) for key, value, sealed in rows}
        return {key: value for key, value in opened.items() if value is not None}

    async def expire(self, namespace: str, over: Callable[[bytes], bool]) -> int:
        """Remove the rows whose value is `over`, and those that do not open, in small pieces; return how many."""
        total, last = 0, ""
        while rows := await self._reader.run(lambda connection, after=last: _page(connection, namespace, after)):  # type: ignore[misc]
            due = [key for key, value, sealed in rows if self._over(namespace, key, value, sealed, over)]
            if due:
                total += await self._writer.run(lambda connection, keys=due: _removed(connection, namespace, keys))  # type: ignore[misc]
            for key in due:
                self._values.pop((namespace, key))
            last = rows[-1][0]
        return total

    def _over(self, namespace: str, key: str, value: bytes, sealed: int, over: Callable[[bytes], bool]) -> bool:
        try:
            opened = self._open(namespace, key, value, sealed)
        except UnreadableError:
            return True
        return opened is None or over(opened)

    def write(self, namespace: str, key: str, value: bytes | None) -> Write:
        """The row, to be committed with an append. Reads give the new value once it is."""
        return Write("kv_put", self._row(namespace, key, value))

    def applied(self, row: Row) -> None:
        """The row was committed, or is sure to be."""
        namespace, key, value, sealed = row
        self._values.put((namespace, key), (self._open(namespace, key, value, sealed),))

    def _row(self, namespace: str, key: str, value: bytes | None) -> tuple[str, str, bytes | None, int]:
        if value is None or namespace.startswith(PLAIN):
            return namespace, key, value, 0
        return namespace, key, self._seal.named(f"{namespace}\0{key}", value), 1

    def _open(self, namespace: str, key: str, value: bytes | None, sealed: int) -> bytes | None:
        return self._seal.open_named(f"{namespace}\0{key}", value) if value is not None and sealed else value


def _page(connection: Connection, namespace: str, after: str) -> list[tuple[str, bytes, int]]:
    rows = connection.execute(
        select(kv.c.key, kv.c.value, kv.c.sealed)
        .where((kv.c.namespace == namespace) & (kv.c.key > after) & kv.c.value.is_not(None))
        .order_by(kv.c.key)
        .limit(_PAGE)
    )
    return [(key, value, sealed) for key, value, sealed in rows]


def _removed(connection: Connection, namespace: str, keys: Sequence[str]) -> int:
    return connection.execute(delete(kv).where((kv.c.namespace == namespace) & kv.c.key.in_(keys))).rowcount


def _items(connection: Connection, namespace: str, prefix: str) -> list[tuple[str, bytes, int]]:
    rows = connection.execute(
        select(kv.c.key, kv.c.value, kv.c.sealed)
        .where((kv.c.namespace == namespace) & kv.c.value.is_not(None) & kv.c.key.startswith(prefix, autoescape=True))
        .order_by(kv.c.key)
    )
    return [(key, value, sealed) for key, value, sealed in rows if key.startswith(prefix)]
