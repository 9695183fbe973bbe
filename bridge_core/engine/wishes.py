"""What is still to become of ghosts' memberships: stored, and in memory where it must be taken back fast."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.store_ports import MemberWish, MemberWishes, Wish

_LEAVING: Final = 100_000
"""Ghosts on their way out that are held in memory. One that is not leaves although it spoke, and comes back when it
speaks again."""

Key = tuple[RoomId, UserId]


class Wishes:
    """All wishes. `due` gives out what is to be done; what changes meanwhile counts, and not what was given out."""

    def __init__(self, store: MemberWishes) -> None:
        self._store = store
        self._leaving: OrderedDict[Key, MemberWish] = OrderedDict()
        self._working: dict[Key, MemberWish] = {}
        self.changed = asyncio.Event()
        """Set when there may be something to do earlier than it was thought."""

    async def load(self) -> None:
        """Read what must be in memory, at start. Raises TransientError."""
        for wish in await self._store.of_wish(Wish.LEAVE, _LEAVING):
            self._leaving.setdefault((wish.room, wish.user), wish)

    def put(self, wish: MemberWish) -> None:
        """This is to become of the ghost in the room, whatever was wished before. Does not block."""
        key = (wish.room, wish.user)
        self._working.pop(key, None)
        self._leaving.pop(key, None)
        if wish.wish is Wish.LEAVE:
            self._leaving[key] = wish
            if len(self._leaving) > _LEAVING:
                self._leaving.popitem(last=False)
        self._store.put(wish)
        if wish.wish is not Wish.NONE:
            self.changed.set()

    def cancel(self, wish: MemberWish) -> None:
        """Nothing is to become of it any more. Does not block."""
        self.put(replace(wish, wish=Wish.NONE))

    def stays(self, room: RoomId, user: UserId) -> bool:
        """The ghost is there after all: it does not leave; whether it was to.

        Does not block, and costs nothing when it was not to.
        """
        wish = self._leaving.get((room, user))
        if wish is not None:
            self.cancel(wish)
        return wish is not None

    async def of_room(self, room: RoomId) -> dict[UserId, MemberWish]:
        """All wishes for a room. Raises TransientError."""
        return await self._store.of_room(room)

    async def due(self, now: int, limit: int) -> list[MemberWish]:
        """What is to be done now; each to be ended by `done` or `later`. Raises TransientError."""
        found = await self._store.due(now, limit)
        self._working = {(wish.room, wish.user): wish for wish in found}
        return found

    def holds(self, wish: MemberWish) -> bool:
        """Whether what `due` gave out is still wished."""
        return self._working.get((wish.room, wish.user)) is wish

    def done(self, wish: MemberWish) -> None:
        """It is so now, or never will be."""
        if self.holds(wish):
            self.cancel(wish)

    def later(self, wish: MemberWish, due: int) -> None:
        """It is to be tried again."""
        if self.holds(wish):
            self.put(replace(wish, due=due))

    async def next_due(self) -> int | None:
        """When the next one will be due. Raises TransientError."""
        return await self._store.next_due()

    async def sweep(self) -> None:
        """Remove what is wished no more. Raises TransientError."""
        await self._store.sweep()

    def put_all(self, wishes: Iterable[MemberWish]) -> None:
        """As `put`, for many."""
        for wish in wishes:
            self.put(wish)
