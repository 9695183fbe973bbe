"""Ghosts: the Matrix users that stand for people of the networks, made when they first speak."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Protocol

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.labels import NAME, label
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.store_ports import GhostRow, Ghosts, Memberships, MemberWish
from bridge_core.engine.wishes import Wishes

log = structlog.get_logger(__name__)


class Looks(Protocol):
    """Who makes ghosts look as they should: `looks.GhostLooks`."""

    def want(self, row: GhostRow, source: str | None, drifted: bool = False) -> None:
        """Wish for the picture at `source` (None: what the network knows). `drifted`: the profile may have changed."""


class GhostPool:
    """Makes ghosts, keeps their names right, and gets them into rooms. Holds at most `cache` of them in memory.

    `bridged` tells whether a room is a portal's, by being true or false.
    """

    def __init__(
        self,
        names: Names,
        store: Ghosts,
        memberships: Memberships,
        wishes: Wishes,
        matrix: MatrixSide,
        bridged: Callable[[RoomId], Any],
        faults: FaultPoints,
        cache: int = 20_000,
    ) -> None:
        self._names = names
        self._store = store
        self._memberships = memberships
        self._wishes = wishes
        self._matrix = matrix
        self._bridged = bridged
        self._faults = faults
        self._size = cache
        self._looks: Looks
        self._stranded: Callable[[RoomId], Awaitable[None]]
        self._known: OrderedDict[tuple[str, str], GhostRow] = OrderedDict()
        self._joined: OrderedDict[tuple[str, str], None] = OrderedDict()

    def ready(self, network: NetworkId, sender: RemoteSender) -> GhostRow | None:
        """The ghost if it is in memory under its present name. Does not block: the hot path."""
        row = self._known.get((network, sender.id))
        if row is None or (sender.name is not None and sender.name != row.name):
            return None
        if sender.avatar is not None and sender.avatar != row.avatar_source:
            self._looks.want(row, sender.avatar)
        return row

    def attach(self, looks: "Looks") -> None:
        """Who makes ghosts look as they should. Before the first ghost."""
        self._looks = looks

    def watch(self, stranded: Callable[[RoomId], Awaitable[None]]) -> None:
        """Tell this of each room that ceased to be bridged while a ghost was on its way into it."""
        self._stranded = stranded

    def in_memory(self, network: NetworkId, remote: RemoteUserId) -> GhostRow | None:
        """The ghost if it is in memory. Does not block."""
        return self._known.get((network, remote))

    async def change(self, row: GhostRow, **changes: str | None) -> GhostRow:
        """The ghost with these columns changed. Those who change others at the same time lose nothing."""
        key = (row.network, row.remote)
        row = replace(self._known.get(key, row), **changes)  # type: ignore[arg-type]
        self._remember(key, row)
        await self._store.save(row)
        return row

    async def ensure(self, network: NetworkId, sender: RemoteSender) -> GhostRow:
        """The ghost of a person, registered, with its device and its present name.

        Raises TransientError, RateLimitedError or MatrixRejectedError. A name that cannot be set delays nobody.
        """
        key = (network, sender.id)
        row = self._known.get(key) or await self._store.get(network, sender.id)
        fresh, made = key not in self._known, False
        if row is None:
            user = self._names.ghost(network, sender.id)
            self._faults.hit("ghost.before_register")
            device = await self._matrix.ensure_registered(user)
            self._faults.hit("ghost.after_register")
            row = GhostRow(network, sender.id, user, device)
            await self._store.save(row)
            made = True
        name = sender.name or (sender.id if row.name is None else row.name)
        if name != row.name:
            name = label(name, NAME) or label(sender.id, NAME) or "?"  # homeservers refuse longer ones, each time
        if name != row.name:
            try:
                await self._matrix.set_profile(row.user, name, None)
            except BridgeError as error:
                log.warning("ghost_name_not_set", ghost=row.user, error=str(error))
            else:
                row = await self.change(row, name=name)
        row = self._known.get(key, row)  # its picture may have come meanwhile
        self._remember(key, row)
        if fresh or (sender.avatar is not None and sender.avatar != row.avatar_source):
            self._looks.want(row, sender.avatar, drifted=fresh and not made)
        return row

    async def existing(self, network: NetworkId, remote: RemoteUserId) -> GhostRow | None:
        """The ghost of a person who has one; nothing is made, whatever they are called now."""
        return self._known.get((network, remote)) or await self._store.get(network, remote)

    async def by_user(self, user: UserId) -> GhostRow | None:
        """The person behind a ghost; None for everybody else."""
        if not self._names.is_ours(user):
            return None
        return await self._store.by_user(user)

    def in_room(self, room: RoomId, user: UserId) -> bool:
        """Whether a ghost is known to be in the room. Does not block."""
        return (room, user) in self._joined

    async def is_in(self, room: RoomId, user: UserId) -> bool:
        """Whether a ghost is known to be in the room, from a start before too."""
        return (room, user) in self._joined or user in await self._memberships.joined(room)

    async def join(self, room: RoomId, user: UserId) -> None:
        """Get a ghost into a room, once. Raises as the Matrix side does; also where it is not bridged (any more)."""
        key = (room, user)
        if key in self._joined:
            return
        if not self._bridged(room):
            raise _not_bridged()
        self._wishes.stays(room, user)
        if user not in await self._memberships.joined(room):
            self._faults.hit("ghost.before_join")
            await self._matrix.join(room, user)
            self._faults.hit("ghost.after_join")
            await self._memberships.set(room, user, True)
            if not self._bridged(room):
                await self._stranded(room)
                raise _not_bridged()
        self._joined[key] = None
        if len(self._joined) > self._size:
            self._joined.popitem(last=False)

    async def came(self, room: RoomId, user: UserId) -> None:
        """A ghost is in a room that may not be bridged yet. Raises TransientError."""
        self._wishes.stays(room, user)
        await self._memberships.set(room, user, True)

    async def rejoin(self, room: RoomId, user: UserId) -> None:
        """Get a ghost back that is not in a room where it was known to be. Raises as `join`."""
        if self._bridged(room):
            await self.left(room, user)
        await self.join(room, user)

    async def knows(self, room: RoomId, user: UserId) -> bool:
        """Whether a ghost is in the room, as far as is known. Raises TransientError."""
        return (room, user) in self._joined or user in await self._memberships.joined(room)

    async def known(self, room: RoomId) -> AbstractSet[UserId]:
        """Our users in the room, as far as is known, as they come and go. Raises TransientError."""
        return await self._memberships.joined(room)

    def leaves(self, wish: MemberWish) -> None:
        """The ghost leaves when the wish is due, unless it speaks or comes back before. Does not block."""
        # Not known to be there any more: when it speaks, `join` is asked, and the wish is taken back.
        self._joined.pop((wish.room, wish.user), None)
        self._wishes.put(wish)

    async def left(self, room: RoomId, user: UserId) -> None:
        """A ghost is not in the room any more (it left, or was kicked)."""
        self._joined.pop((room, user), None)
        await self._memberships.set(room, user, False)

    def _remember(self, key: tuple[str, RemoteUserId], row: GhostRow) -> None:
        self._known[key] = row
        self._known.move_to_end(key)
        if len(self._known) > self._size:
            self._known.popitem(last=False)


def _not_bridged() -> MatrixRejectedError:
    return MatrixRejectedError("M_FORBIDDEN", "this room is not bridged any more", 403)
