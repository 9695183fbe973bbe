"""Which of our users are in which rooms."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from sqlalchemy import select

from bridge_core.api.ids import RoomId, UserId
from bridge_core.store.lru import Lru
from bridge_core.store.reader import Reader
from bridge_core.store.tables import membership
from bridge_core.store.writer import Writer


class MembershipStore:
    """Implements `Memberships`. Written behind: forgetting a join only means asking for it again."""

    def __init__(self, writer: Writer, reader: Reader, cached: int) -> None:
        self._writer = writer
        self._reader = reader
        self._rooms: Lru[str, set[UserId]] = Lru(max(cached // 10, 16))

    async def joined(self, room: RoomId) -> AbstractSet[UserId]:
        """Our users joined to the room, as they come and go: not to be kept over an await."""
        return await self._joined(room)

    async def _joined(self, room: RoomId) -> set[UserId]:
        known = self._rooms.get(room)
        if known is not None:
            return known
        await self._writer.settled()
        found = await self._reader.run(
            lambda connection: connection.scalars(
                select(membership.c.user_id).where((membership.c.room == room) & (membership.c.joined == 1))
            ).all()
        )
        known = self._rooms.get(room)
        if known is None:
            known = {UserId(user) for user in found}
            self._rooms.put(room, known)
        return known

    async def set(self, room: RoomId, user: UserId, joined: bool) -> None:
        """Remember."""
        known = await self._joined(room)
        if (user in known) == joined:
            return
        # Changed in place: a copy for each of 10,000 ghosts that enter a room would be a hundred million of them.
        (known.add if joined else known.discard)(user)
        self._writer.behind().add("membership_put", (room, user, int(joined)))
