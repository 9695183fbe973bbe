"""Rooms that go on as other rooms (`m.room.tombstone`): followed only when both rooms say so, and one who may said it.

A replacement is followed when the homeserver holds the tombstone as the room's present state, its sender has the power
to change the room's settings, and the new room's creation names the old one as its predecessor (CVE-2021-32659).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.ids import RoomId
from bridge_core.engine.bridgestate import BRIDGE_STATE, bridge_key
from bridge_core.engine.departures import Departures
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.portals import PortalIndex, own_rooms
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues, PortalRow

log = structlog.get_logger(__name__)

_WAITING: Final = "plain.upgrades-waiting"
"""By new room: the old one, where the bot was not let in yet, or may not follow yet."""
_FOLLOWED: Final = "plain.upgrades"
"""By old room: the one that it went on as."""


async def _alike(old: RoomId, new: RoomId) -> str:
    return ""


class Upgrades:
    """Follows upgrades. Ghosts follow when they speak."""

    def __init__(
        self,
        portals: PortalIndex,
        rooms: RoomMaker,
        matrix: MatrixSide,
        departures: Departures,
        status: Status,
        kv: KeyValues,
        faults: FaultPoints,
    ) -> None:
        self._portals = portals
        self._rooms = rooms
        self._matrix = matrix
        self._departures = departures
        self._status = status
        self._kv = kv
        self._faults = faults
        self._lock = asyncio.Lock()
        self.unlike: Callable[[RoomId, RoomId], Awaitable[str]] = _alike
        """Why the new room is not to be followed yet, in words; empty: it may be. The bot is in both."""

    async def tombstoned(self, event: Mapping[str, Any]) -> None:
        """A handler of room events. What the event itself says is not believed."""
        room = RoomId(event["room_id"])
        if event["state_key"] == "" and self._portals.in_room(room):
            await self.follow(room)

    async def membership(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: the bot may have been let in where it was waiting to be."""
        if event["state_key"] == self._matrix.bot and event["content"].get("membership") == "invite":
            await self.changed(event)

    async def changed(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: what kept a room from being followed may be over."""
        old = await self._kv.get(_WAITING, event["room_id"])
        if old is not None:
            await self.follow(RoomId(old.decode()))

    async def follow(self, old: RoomId) -> RoomId | None:
        """The room that a portal's room goes on as; None when there is none, or none that may be followed (yet).

        Raises TransientError, RateLimitedError.
        """
        async with self._lock:  # two of them may find it out at once
            return await self._follow(old)

    async def _follow(self, old: RoomId) -> RoomId | None:
        if not self._portals.in_room(old):
            known = await self._kv.get(_FOLLOWED, old)
            return RoomId(known.decode()) if known is not None else None
        try:
            if await self._matrix.state(old, "m.room.tombstone") is None:
                return None
        except MatrixRejectedError:
            return None  # the bot is not there
        found = await self._matrix.tombstone(old)
        if found is None or found.replacement == old:
            return None
        new = found.replacement
        if not found.powerful:
            self._refused(old, new, f"{found.sender} has not the power to move the room")
            return None
        try:
            await self._matrix.enter(new, found.sender.partition(":")[2])
        except MatrixRejectedError as error:
            log.warning("upgrade_waits", room=old, replacement=new, error=str(error))
            await self._kv.put(_WAITING, new, old.encode())
            words = f"This room goes on as {new}, but I cannot get in there: invite me."
            await self._status.say(old, words, key=f"upgrade\x1f{old}\x1f{new}")
            return None
        create = await self._matrix.state(new, "m.room.create") or {}
        predecessor = create.get("predecessor")
        if not isinstance(predecessor, dict) or predecessor.get("room_id") != old:
            if not self._portals.in_room(new):
                await self._matrix.leave(new, self._matrix.bot)
            self._refused(old, new, "the new room does not name this one as its predecessor")
            return None
        unlike = await self.unlike(old, new)
        if unlike:
            self._refused(old, new, unlike)
            await self._kv.put(_WAITING, new, old.encode())
            words = f"This room goes on as {new}. I do not follow yet: {unlike}"
            await self._status.say(old, words, key=f"upgrade\x1f{old}\x1f{new}\x1f{unlike}")
            return None
        return new if await self._move(old, new) else None

    def _refused(self, old: RoomId, new: RoomId, why: str) -> None:
        log.warning("upgrade_refused", room=old, replacement=new, reason=why)

    async def _move(self, old: RoomId, new: RoomId) -> bool:
        """Whether a portal has moved: each may be ended, or leave the room, while the homeserver is asked."""
        # The portals move last: until then all of it is done again after a crash.
        self._faults.hit("upgrade.before_move")
        portals = self._portals.in_room(old)
        for portal in portals:
            if old in own_rooms(portal):
                await self._matrix.point_alias(self._rooms.alias(portal), new)
            await self._rooms.tell(portal, new)
            for kind in BRIDGE_STATE:
                await self._untell(old, kind, bridge_key(portal.network, portal.chat))
        await self._kv.put(_FOLLOWED, old, new.encode())
        await self._departures.note(old, bot=False)
        try:
            self._faults.hit("upgrade.before_portals")
            for portal in portals:
                await self._portals.replace_room(portal, old, new)
            self._faults.hit("upgrade.after_portals")
            followed = await self._arrived(portals, old, new)
        finally:  # what is bridged still is not left, and noted again by who tries again
            self._departures.go(old)
        log.info("room_upgraded" if followed else "upgrade_followed_by_nobody", room=old, replacement=new)
        return followed

    async def _arrived(self, portals: Sequence[PortalRow], old: RoomId, new: RoomId) -> bool:
        """Whether any of the portals is in the new room; neither alias nor state say so of those that are not."""
        await self._kv.put(_WAITING, new, None)
        there = {portal.id for portal in self._portals.in_room(new)}
        followed = any(portal.id in there for portal in portals)
        if not followed:
            await self._kv.put(_FOLLOWED, old, None)
            await self._departures.note(new)
        try:
            for portal in portals:
                if portal.id not in there:
                    await self._rooms.free_alias(self._rooms.alias(portal))
                    for kind in BRIDGE_STATE:
                        await self._untell(new, kind, bridge_key(portal.network, portal.chat))
        finally:
            self._departures.go(new)
        return followed

    async def _untell(self, room: RoomId, kind: str, key: str) -> None:
        try:
            await self._matrix.set_state(room, kind, key, {}, self._matrix.bot)
        except (TransientError, RateLimitedError):
            raise
        except BridgeError as error:
            log.info("bridge_state_not_removed", room=room, error=str(error))
