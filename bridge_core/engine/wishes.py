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
    """All wishes. `due` gives out what is to be done; what changes meanwhile counts, and not what was given out.

    A ghost whose membership is being changed (from `begins` on, to `done`) may be in the room already, or out of it:
    what is then taken back becomes the opposite wish, which is stored, and worked off afterwards.
    """

    def __init__(self, store: MemberWishes) -> None:
        self._store = store
        self._leaving: OrderedDict[Key, MemberWish] = OrderedDict()
        self._working: dict[Key, MemberWish] = {}
        self._moving: set[Key] = set()
        self._meanwhile: set[Key] | None = None
        """What was put since the store began to read what is due; None while it does not read."""
        self.changed = asyncio.Event()
        """Set when there may be something to do earlier than it was thought."""

    async def load(self) -> None:
        """Read what must be in memory, at start. Raises TransientError."""
        for wish in await self._store.of_wish(Wish.LEAVE, _LEAVING):
            self._leaving.setdefault(_key(wish), wish)

    def put(self, wish: MemberWish) -> None:
        """This is to become of the ghost in the room, whatever was wished before. Does not block."""
        key = _key(wish)
        self._working.pop(key, None)
        self._leaving.pop(key, None)
        if self._meanwhile is not None:
            self._meanwhile.add(key)
        if wish.wish is Wish.LEAVE:
            self._leaving[key] = wish
            if len(self._leaving) > _LEAVING:
                self._leaving.popitem(last=False)
        self._store.put(wish)
        if wish.wish is not Wish.NONE:
            self.changed.set()

    def goes(self, wish: MemberWish) -> None:
        """The ghost is not to come, whatever was wished; one that is on its way in goes out again. Does not block."""
        self._instead(wish, Wish.LEAVE)

    def remains(self, wish: MemberWish) -> None:
        """The ghost is not to leave, whatever was wished; one that is on its way out comes again. Does not block."""
        self._instead(wish, Wish.JOIN)

    def stays(self, room: RoomId, user: UserId) -> bool:
        """The ghost is there after all: it does not leave; whether it was to.

        Does not block, and costs nothing when it was not to.
        """
        wish = self._leaving.get((room, user))
        if wish is not None:
            self.remains(wish)
        return wish is not None

    def leaving(self, room: RoomId, user: UserId) -> MemberWish | None:
        """By which wish the ghost is to leave, as far as is in memory. Does not block."""
        return self._leaving.get((room, user))

    async def of_room(self, room: RoomId) -> dict[UserId, MemberWish]:
        """All wishes for a room. Raises TransientError."""
        return await self._store.of_room(room)

    async def due(self, now: int, limit: int) -> list[MemberWish]:
        """What is to be done now; each to be ended by `done` or `later`. Raises TransientError."""
        meanwhile: set[Key] = set()
        self._meanwhile = meanwhile
        try:
            found = await self._store.due(now, limit)
        finally:
            self._meanwhile = None
        # What was put while it was read comes next time, as it is wished by then.
        self._working = {_key(wish): wish for wish in found if _key(wish) not in meanwhile}
        return list(self._working.values())

    def holds(self, wish: MemberWish) -> bool:
        """Whether what `due` gave out is still wished."""
        return self._working.get(_key(wish)) is wish

    def moving(self, room: RoomId, user: UserId) -> bool:
        """Whether the ghost may be on its way in or out by a wish. Does not block."""
        return (room, user) in self._moving

    def begins(self, wish: MemberWish) -> bool:
        """It is about to be done, if it is still wished: whether it is."""
        if not self.holds(wish):
            return False
        self._moving.add(_key(wish))
        return True

    def done(self, wish: MemberWish) -> None:
        """It is so now, or never will be."""
        self._moving.discard(_key(wish))
        if self.holds(wish):
            self.put(replace(wish, wish=Wish.NONE))

    def later(self, wish: MemberWish, due: int) -> None:
        """It is to be tried again; until then it may be so or not."""
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

    def _instead(self, wish: MemberWish, opposite: Wish) -> None:
        # Due for ever when it is to be undone: it goes before whatever crowd is on its way.
        self.put(replace(wish, wish=opposite if _key(wish) in self._moving else Wish.NONE, due=0))


def _key(wish: MemberWish) -> Key:
    return wish.room, wish.user
