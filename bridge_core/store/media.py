"""Content addresses of files uploaded, and media links taken back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from bridge_core.store.lru import Lru
from bridge_core.store.reader import Reader
from bridge_core.store.tables import media, media_revoked
from bridge_core.store.work import Work
from bridge_core.store.writer import Writer


@dataclass(frozen=True, slots=True)
class MediaRow:
    """A reserved or used address. `uploaded`: its bytes are known to be there."""

    key: str
    mxc: str
    uploaded: bool
    at: int


def sweep(connection: Connection, addresses: int, revoked: int, limit: int) -> int:
    """Forget at most `limit` addresses stored, and links revoked, before these times; return how many those were."""
    total = 0
    for table, key, before in ((media, media.c.key, addresses), (media_revoked, media_revoked.c.link, revoked)):
        due = select(key).where(table.c.at < before).limit(limit)
        total += connection.execute(delete(table).where(key.in_(due))).rowcount
    return total


class MediaStore:
    """One address per key, stored before its bytes are put."""

    def __init__(self, writer: Writer, reader: Reader, cached: int) -> None:
        self._writer = writer
        self._reader = reader
        self._rows: Lru[str, MediaRow] = Lru(cached)
        self._revoked: Lru[str, str] = Lru(cached)

    async def get(self, key: str) -> MediaRow | None:
        """What is known for the key."""
        row = self._rows.get(key)
        if row is None:
            found = await self._reader.run(
                lambda connection: connection.execute(
                    select(media.c.key, media.c.mxc, media.c.uploaded, media.c.at).where(media.c.key == key)
                ).first()
            )
            if found is not None:
                row = MediaRow(found[0], found[1], bool(found[2]), found[3])
                self._rows.put(key, row)
        return row

    async def save(self, row: MediaRow) -> None:
        """Insert or replace; return when committed."""
        work = Work("address")
        work.add("media_put", (row.key, row.mxc, int(row.uploaded), row.at))
        await self._writer.commit(work)
        self._rows.put(row.key, row)

    async def revoke(self, link: str, at: int) -> None:
        """Take a media link back; return when committed."""
        work = Work()
        work.add("media_revoke", (link, at))
        await self._writer.commit(work)
        self._revoked.put(link, link)

    async def revoked(self, link: str) -> bool:
        """Whether the link was taken back."""
        if link in self._revoked:
            return True
        found = await self._reader.run(
            lambda connection: connection.scalar(select(media_revoked.c.at).where(media_revoked.c.link == link))
        )
        return found is not None
