"""How open a chat is: whether its rooms are listed, what speaking in them takes, and who may read along.

The rooms that the bridge made follow their chat; a room that was there before keeps what its admins set.
"""

from typing import Final

import structlog

from bridge_core.api.events import RemoteInfo
from bridge_core.api.ids import RoomId, UserId
from bridge_core.api.info import ChatInfo
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.portals import UNLISTED, PortalIndex, own_rooms
from bridge_core.engine.power import Powers
from bridge_core.engine.powerlevels import NoPowerError, PowerWish, level_of, reconciled
from bridge_core.engine.requests import Prepared
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

_MOST: Final = 100
SPEAK: Final = "speak_power"
"""Option of a portal: the power that speaking in its rooms takes, as its network told."""


class Openness:
    """What RemoteInfo's `speak_power` and `listed`, and RemoteMessage's `least_power`, come to."""

    def __init__(self, portals: PortalIndex, matrix: MatrixSide, members: Members, powers: Powers) -> None:
        self._portals = portals
        self._matrix = matrix
        self._members = members
        self._powers = powers

    async def changed(self, portal: PortalRow, event: RemoteInfo) -> list[Prepared]:
        """A network told of a chat. Returns when all is stored; what it takes is done beside the messages."""
        if event.listed is not None:
            portal = await self._portals.set_option(portal, UNLISTED, None if event.listed else True)
        rooms = own_rooms(portal)
        if event.speak_power is None or not rooms:
            return []
        wanted = min(max(event.speak_power, 0), 100)
        if wanted != portal.options.get(SPEAK, 0):  # what admins of a room set meanwhile is theirs
            for room in rooms:
                await self._powers.speaking(portal.network, room, wanted)
            await self._portals.set_option(portal, SPEAK, wanted or None)
        return []

    async def found(self, portal: PortalRow, info: ChatInfo) -> None:
        """What a chat was like when its room was made. What the network told since, and so set, is newer."""
        now = self._portals.by_id(portal.id)
        if now is None or any(now.options.get(key) != portal.options.get(key) for key in (SPEAK, UNLISTED)):
            return
        listed = info.listed if info.listed is not None and info.listed is bool(now.options.get(UNLISTED)) else None
        said = RemoteInfo(now.chat, receiver=now.receiver, speak_power=info.speak_power, listed=listed)
        await self.changed(now, said)

    async def read(self, room: RoomId, least: int) -> str:
        """Why a message for people of this power may not be shown in a room; empty when all of Matrix there have it.

        Raises as the Matrix side does: nothing is shown while it is not known.
        """
        if least > _MOST:
            return "it is for some people of the chat only"
        visibility = await self._matrix.state(room, "m.room.history_visibility", "") or {}
        if visibility.get("history_visibility") != "joined":
            return "it is for some people of the chat only, and who comes later could read it here"
        power = await self._matrix.power(room)
        if power.levels is None:
            return "it is for some people of the chat only, and nobody knows who they are here"
        for user in await self._members.of(room):
            if user not in power.endless and level_of(power.levels, user) < least:
                return f"it is for people of power {least} only, and others read along here"
        return ""

    async def voiced(self, room: RoomId, ghost: UserId) -> bool:
        """Give a ghost the power to say what its network let it say; whether that was what it lacked.

        Who speaks in a moderated chat has a voice there: the message may overtake the news of that.
        """
        portals = [portal for portal in self._portals.in_room(room) if portal.options.get(SPEAK)]
        if not any(room in own_rooms(portal) for portal in portals):
            return False
        power = await self._matrix.power(room)
        levels = power.levels
        needed = levels.get("events_default", 0) if levels is not None else 0
        if levels is None or not isinstance(needed, int) or level_of(levels, ghost) >= needed:
            return False
        wish = PowerWish({ghost: needed})
        try:
            made = reconciled(power, wish, self._matrix.bot, needed, lambda user: user == ghost)
        except NoPowerError:
            return False
        if made.content is None:
            return False
        log.info("ghost_given_voice", room=room, ghost=ghost, power=needed)
        await self._matrix.set_state(room, "m.room.power_levels", "", made.content, self._matrix.bot)
        return True
