"""Rooms that were taken from the bridge: it was thrown out, the server deleted them, or their only reader left."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.departures import Departures
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import PortalIndex, plumbed_by
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow, Users
from bridge_core.engine.unbridging import Unbridging
from bridge_core.engine.upgrades import Upgrades

log = structlog.get_logger(__name__)


class LostRooms:
    """Notices that a room is lost, ends its bridging, and tells its owner, or else the `admins`.

    `ghosts` tells who of ours is in a room, as far as is known.
    """

    def __init__(
        self,
        portals: PortalIndex,
        rooms: RoomMaker,
        networks: Networks,
        matrix: MatrixSide,
        users: Users,
        status: Status,
        unbridging: Unbridging,
        upgrades: Upgrades,
        departures: Departures,
        admins: Sequence[UserId],
        ghosts: Callable[[RoomId], Awaitable[AbstractSet[UserId]]],
    ) -> None:
        self._ghosts = ghosts
        self._portals = portals
        self._rooms = rooms
        self._networks = networks
        self._matrix = matrix
        self._users = users
        self._status = status
        self._unbridging = unbridging
        self._upgrades = upgrades
        self._departures = departures
        self._admins = tuple(admins)

    async def membership(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: the bot was thrown out, or a private chat's owner left."""
        room, who = RoomId(event["room_id"]), UserId(event["state_key"])
        membership = event["content"].get("membership")
        if membership not in ("leave", "ban") or not self._portals.in_room(room):
            return
        if who == self._matrix.bot:
            if not await self._is_there(room):
                did = "banned" if membership == "ban" else "removed"
                await self._lost(room, f"{event['sender']} {did} me", str(event["event_id"]))
            return
        for portal in self._portals.in_room(room):
            if portal.receiver is not None and self._owner(portal) == who:
                # Nobody reads it any more. The next message makes a new room, with an invitation.
                await self._departures.note(room)
                try:
                    await self._unbridging.end(portal, room, keep=True)
                finally:
                    self._departures.go(room)

    async def elsewhere(self, room: RoomId) -> RoomId | None:
        """Where what could not be said in a portal's room is to be said instead; None: nowhere.

        Asked when the homeserver refuses an event there. Raises as the Matrix side does.
        """
        replacement = await self._upgrades.follow(room)
        if replacement is not None:
            return replacement
        portals = self._portals.in_room(room)
        if not portals or await self._is_there(room) or await self._is_without(room, portals):
            return None
        await self._lost(room, "it does not let me in any more", f"gone\x1f{room}")
        for portal in portals:
            current = self._portals.by_id(portal.id)
            if current is not None and current.receiver is not None:
                return await self._rooms.ensure(current)
        raise RejectedError("the room is gone")

    async def _is_without(self, room: RoomId, portals: Sequence[PortalRow]) -> bool:
        """Whether it is a private room that will not have the bot: a ghost is in it all the same."""
        if not any(portal.receiver is not None for portal in portals):
            return False
        ghost = min(await self._ghosts(room) - {self._matrix.bot}, default=None)
        return ghost is not None and await self._is_there(room, ghost)

    async def _is_there(self, room: RoomId, user: UserId | None = None) -> bool:
        """Whether the bot, or another user of ours, is in the room."""
        user = user or self._matrix.bot
        try:
            # A homeserver shows who left the state of a room as it was then, their own membership included.
            own = await self._matrix.state(room, "m.room.member", user, viewer=user)
        except MatrixRejectedError as error:
            if error.status not in (403, 404):
                raise
            return False
        return own is not None and own.get("membership") == "join"

    async def _lost(self, room: RoomId, why: str, key: str) -> None:
        await self._departures.note(room)
        try:
            for portal in self._portals.in_room(room):
                by = plumbed_by(portal, room)
                log.warning("room_lost", network=portal.network, chat=portal.chat, room=room, reason=why)
                await self._tell(portal, room, by, why, key)
                await self._unbridging.end(portal, room, there=False, keep=by is None)
        finally:  # what is bridged still is not left, and noted again by who tries again
            self._departures.go(room)

    async def _tell(self, portal: PortalRow, room: RoomId, by: str | None, why: str, key: str) -> None:
        owner = self._owner(portal) or (UserId(by) if by else None)
        text = f"{portal.chat} on {portal.network} is not bridged to {room} any more: {why}."
        for user in (owner,) if owner is not None else self._admins:
            known = await self._users.get(user)
            if known is not None and known.management_room is not None:
                told = f"lost\x1f{portal.id}\x1f{user}\x1f{key}"
                await self._status.say(known.management_room, text, key=told)

    def _owner(self, portal: PortalRow) -> UserId | None:
        network = self._networks.get(portal.network)
        if network is None or portal.receiver is None:
            return None
        login = network.login_of(portal.receiver)
        return login.user if login is not None else None
