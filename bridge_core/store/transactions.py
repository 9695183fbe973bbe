"""Transactions of the homeserver that were answered."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from bridge_core.engine.ports import Write
from bridge_core.store.lru import Lru
from bridge_core.store.reader import Reader
from bridge_core.store.tables import txn as table
from bridge_core.store.work import Row

KEPT = 1000
"""Transactions remembered. Older ones are told by their events, each of which is known by itself."""


class TransactionStore:
    """Knows a transaction by its id and a digest of its body: a homeserver may number from 1 again."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seen: Lru[tuple[str, bytes], bool] = Lru(KEPT)
        self._loaded = False

    async def seen(self, txn: str, digest: bytes) -> bool:
        """Whether this very transaction was committed. From memory but for the first calls after start."""
        if not self._loaded:
            for row in await self._reader.run(_last):
                self._seen.put(row, True)
            self._loaded = True
        return (txn, digest) in self._seen

    async def newest(self) -> str | None:
        """The id of the transaction that was committed last; None when none is remembered."""
        return await self._reader.run(_newest)

    def write(self, txn: str, digest: bytes, at: int) -> Write:
        """The row, to be committed with the transaction's entries. `at`: milliseconds since 1970."""
        return Write("txn_put", (txn, digest, at))

    def applied(self, row: Row) -> None:
        """The row was committed."""
        self._seen.put((row[0], row[1]), True)


def _last(connection: Connection) -> list[tuple[str, bytes]]:
    rows = connection.execute(select(table.c.id, table.c.digest).order_by(table.c.at.desc()).limit(KEPT))
    return [(id_, digest) for id_, digest in rows][::-1]


def _newest(connection: Connection) -> str | None:
    rows = connection.execute(select(table.c.id, table.c.at).order_by(table.c.at.desc()).limit(100)).all()
    # Those of one millisecond are ordered by their numbers.
    return max((id_ for id_, at in rows if at == rows[0][1]), key=lambda id_: (len(id_), id_), default=None)


def sweep(connection: Connection, before: int) -> int:
    """Forget those answered before this time; return how many there were."""
    return connection.execute(delete(table).where(table.c.at < before)).rowcount
