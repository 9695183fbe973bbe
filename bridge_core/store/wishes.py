"""Memberships of ghosts that are still to be brought about."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, delete, func, select

from bridge_core.api.ids import NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.engine.store_ports import MemberWish, Wish
from bridge_core.store.reader import Reader
from bridge_core.store.tables import member_wish
from bridge_core.store.writer import Writer

_NEVER: Final = 2**62


class WishStore:
    """Implements `MemberWishes`. Uncached: nothing on a message's way reads it."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    def put(self, wish: MemberWish) -> None:
        """Insert or replace; `Wish.NONE` removes. Does not block."""
        due = wish.due if wish.wish is not Wish.NONE else _NEVER
        row = (wish.room, wish.user, int(wish.wish), due, wish.network, wish.remote, wish.name)
        self._writer.behind().add("wish_put", row)

    async def due(self, now: int, limit: int) -> list[MemberWish]:
        """Wishes that are due, the oldest first."""
        return await self._find(member_wish.c.due <= now, limit)

    async def next_due(self) -> int | None:
        """When the next one will be due; None when there is none."""
        await self._writer.settled()
        found = await self._reader.run(
            lambda connection: connection.scalar(
                select(func.min(member_wish.c.due)).where(member_wish.c.due < _NEVER),
            )
        )
        return int(found) if found is not None else None

    async def of_room(self, room: RoomId) -> dict[UserId, MemberWish]:
        """All wishes for a room."""
        found = await self._find((member_wish.c.room == room) & (member_wish.c.due < _NEVER), None)
        return {wish.user: wish for wish in found}

    async def of_wish(self, wish: Wish, limit: int) -> list[MemberWish]:
        """At most `limit` wishes of one kind."""
        return await self._find((member_wish.c.wish == int(wish)) & (member_wish.c.due < _NEVER), limit)

    async def sweep(self) -> None:
        """Remove the rows of wishes that are none any more."""
        await self._writer.run(lambda connection: connection.execute(delete(member_wish).where(_gone())))

    async def count(self) -> int:
        """How many there are."""
        await self._writer.settled()
        counted = select(func.count()).select_from(member_wish).where(member_wish.c.due < _NEVER)
        return await self._reader.run(lambda connection: int(connection.scalar(counted) or 0))

    async def _find(self, which: ColumnElement[bool], limit: int | None) -> list[MemberWish]:
        await self._writer.settled()
        wanted = select(member_wish).where(which).order_by(member_wish.c.due).limit(limit)
        rows = await self._reader.run(lambda connection: connection.execute(wanted).all())
        return [
            MemberWish(
                RoomId(row.room),
                UserId(row.user_id),
                Wish(row.wish),
                row.due,
                NetworkId(row.network),
                RemoteUserId(row.remote),
                row.name,
            )
            for row in rows
        ]


def _gone() -> ColumnElement[bool]:
    return (member_wish.c.due == _NEVER) & (member_wish.c.wish == int(Wish.NONE))
