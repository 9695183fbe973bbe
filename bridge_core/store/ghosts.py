"""Ghosts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from bridge_core.api.ids import NetworkId, RemoteUserId, UserId
from bridge_core.engine.store_ports import GhostRow
from bridge_core.store.lru import Lru
from bridge_core.store.reader import Reader
from bridge_core.store.tables import ghost
from bridge_core.store.work import Work
from bridge_core.store.writer import Writer


class _Nobody:
    """Cached knowledge that there is no such ghost."""


_NOBODY = _Nobody()


class GhostStore:
    """Implements `Ghosts`, with a cache in front of both ways of looking."""

    def __init__(self, writer: Writer, reader: Reader, cached: int) -> None:
        self._writer = writer
        self._reader = reader
        self._by_remote: Lru[tuple[str, str], GhostRow | _Nobody] = Lru(cached)
        self._by_user: Lru[str, GhostRow | _Nobody] = Lru(cached)

    async def get(self, network: NetworkId, remote: RemoteUserId) -> GhostRow | None:
        """The ghost of a person."""
        found = self._by_remote.get((network, remote))
        if found is None:
            row = await self._read((ghost.c.network == network) & (ghost.c.remote == remote))
            found = self._by_remote.get((network, remote))  # saved meanwhile?
            if found is None:
                found = row or _NOBODY
                self._by_remote.put((network, remote), found)
        return found if isinstance(found, GhostRow) else None

    async def by_user(self, user: UserId) -> GhostRow | None:
        """Whose ghost a Matrix user is."""
        found = self._by_user.get(user)
        if found is None:
            row = await self._read(ghost.c.user_id == user)
            found = self._by_user.get(user)
            if found is None:
                found = row or _NOBODY
                self._by_user.put(user, found)
        return found if isinstance(found, GhostRow) else None

    async def save(self, row: GhostRow) -> None:
        """Insert or replace; return when committed."""
        work = Work()
        values = (row.network, row.remote, row.user, row.device, row.name, row.avatar, row.avatar_source)
        work.add("ghost_put", values)
        await self._writer.commit(work)
        self._by_remote.put((row.network, row.remote), row)
        self._by_user.put(row.user, row)

    async def _read(self, which: ColumnElement[bool]) -> GhostRow | None:
        return await self._reader.run(lambda connection: _one(connection, which))


def _one(connection: Connection, which: ColumnElement[bool]) -> GhostRow | None:
    row: Any = connection.execute(select(*ghost.columns).where(which)).first()
    if row is None:
        return None
    return GhostRow(NetworkId(row[0]), RemoteUserId(row[1]), UserId(row[2]), *row[3:])
