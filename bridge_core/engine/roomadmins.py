"""Who looks after a bridged room, and where they are told what concerns it."""

from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import MADE_BY, PortalIndex, plumbed_by
from bridge_core.engine.powerlevels import level_of
from bridge_core.engine.store_ports import Users

log = structlog.get_logger(__name__)

_FULL: Final = 100
_MOST: Final = 5


class RoomAdmins:
    """Asked of the homeserver each time: for what is said once a day."""

    def __init__(
        self,
        portals: PortalIndex,
        matrix: MatrixSide,
        members: Members,
        is_ours: Callable[[UserId], bool],
        users: Users,
        permissions: Permissions,
    ) -> None:
        self._portals = portals
        self._matrix = matrix
        self._members = members
        self._is_ours = is_ours
        self._users = users
        self._permissions = permissions

    async def of(self, room: RoomId) -> tuple[UserId, ...]:
        """Who had the room bridged, and who has full power there: those who are in it, at most a few."""
        rows = self._portals.in_room(room)
        found = [UserId(by) for row in rows if (by := plumbed_by(row, room) or row.options.get(MADE_BY))]
        try:
            power = await self._matrix.power(room)
            users = (power.levels or {}).get("users")
            named = users if isinstance(users, dict) else {}
            found += [UserId(user) for user in power.endless]
            found += [UserId(user) for user in named if level_of(power.levels or {}, user) >= _FULL]
            there = await self._members.of(room)
        except BridgeError as error:
            log.info("room_admins_not_known", room=room, error=str(error))
            return ()
        return tuple(user for user in dict.fromkeys(found) if user in there and not self._is_ours(user))[:_MOST]

    async def desks(self, admins: tuple[UserId, ...]) -> dict[UserId, RoomId]:
        """The management rooms of these, and of the bridge's admins."""
        return {
            row.id: row.management_room
            for row in await self._users.with_rooms()
            if row.management_room is not None
            and (row.id in admins or self._permissions.of(row.id) is Permission.ADMIN)
        }
