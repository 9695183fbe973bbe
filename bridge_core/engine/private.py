"""Private chats: a portal of one login, with one ghost in it."""

from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Grant, Login
from bridge_core.api.optional import NamesPeople, OpensDirectChats
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.grants import NO_PRIVATE
from bridge_core.engine.hourly import Hourly
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.portals import MADE_BY, PortalIndex
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.store_ports import GhostRow, PortalRow

log = structlog.get_logger(__name__)

_MOST_NEW: Final = 30
"""Ghosts that one user has made in an hour by inviting them: each is an account of the homeserver, for good."""
_NOBODY: Final = "there is nobody of that name"


class PrivateChats:
    """Opens private chats from Matrix. Those begun on the network are made by the incoming side."""

    def __init__(
        self,
        names: Names,
        networks: Networks,
        portals: PortalIndex,
        ghosts: GhostPool,
        rooms: RoomMaker,
        matrix: MatrixSide,
        gate: Gate,
        clock: Clock,
    ) -> None:
        self._names = names
        self._networks = networks
        self._portals = portals
        self._ghosts = ghosts
        self._rooms = rooms
        self._matrix = matrix
        self._gate = gate
        self._hourly = Hourly(clock)

    async def open(self, network: NetworkId, user: UserId, name: str, person: str) -> RoomId:
        """The room of a user's private chat with a person; made when there is none. Raises RejectedError."""
        found = self._networks.get(network)
        if found is None or not isinstance(found.connector, NamesPeople):
            raise RejectedError(f"there is no network {network} with people to talk to")
        try:
            remote = found.connector.person(person)
        except ValueError as error:
            raise RejectedError(str(error)) from error
        portal = await self._portal(found, user, name, remote)
        room = await self._rooms.ensure(portal)
        ghost = await self._ghosts.ensure(network, RemoteSender(remote, person))
        await self._ghosts.join(room, ghost.user)
        await self._matrix.invite(room, user)
        return room

    async def invited(self, room: RoomId, inviter: UserId, ghost: GhostRow) -> bool:
        """A user invited a ghost: in a room of the two that is a private chat. Whether it is. Raises RejectedError."""
        network = self._networks.get(ghost.network)
        if network is None:
            raise RejectedError(_NOBODY)
        await self._matrix.join(room, ghost.user)
        await self._ghosts.came(room, ghost.user)
        members = await self._matrix.members(room, ghost.user)
        others = set(members) - {inviter, ghost.user, self._matrix.bot}
        row = self._chat_with(room, network, ghost.remote)
        if inviter not in members or others or (row is None and self._portals.in_room(room)):
            return row is not None
        if row is None:
            portal = await self._portal(network, inviter, members[inviter].name or inviter, ghost.remote)
            row = await self._portals.add_room(portal, room)
        try:
            # The bot tells users there what went wrong; a room that will not have it is bridged all the same.
            await self._matrix.invite(room, self._matrix.bot, ghost.user)
            await self._matrix.join(room, self._matrix.bot)
        except MatrixRejectedError as error:
            log.info("bot_not_in_private_room", room=room, error=str(error))
        await self._rooms.taken(row, room)
        return True

    async def ghost(self, room: RoomId, inviter: UserId, user: UserId) -> GhostRow:
        """Whom a user invited; who was never seen is made, as if a command named them. Raises RejectedError."""
        known = await self._ghosts.by_user(user)
        if known is not None:
            return known
        network, remote = self._names.person_of(user) or (NetworkId(""), RemoteUserId(""))
        found = self._networks.get(network)
        if found is None or not isinstance(found.connector, NamesPeople) or self._portals.in_room(room):
            raise RejectedError(_NOBODY)  # a bridged chat has who is there, and nobody else
        try:
            person = found.connector.person(remote)
        except ValueError as error:
            raise RejectedError(str(error)) from error
        if (other := self._names.ghost(network, person)) != user:
            raise RejectedError(f"they are {other}")
        counted = self._hourly.count("ghost", inviter)
        if counted.number > _MOST_NEW:
            raise RejectedError("you have invited many people whom I have never seen: wait an hour")
        try:
            return await self._ghosts.ensure(network, RemoteSender(person, remote))
        except BridgeError:
            self._hourly.take_back([counted])  # it is tried again
            raise

    def _chat_with(self, room: RoomId, network: Network, person: RemoteUserId) -> PortalRow | None:
        """The private chat that the room is already: an earlier try may not have come to its end."""
        if not isinstance(network.connector, OpensDirectChats):
            return None
        chat = network.connector.direct_chat(person)
        return next((row for row in self._portals.in_room(room) if (row.network, row.chat) == (network.id, chat)), None)

    async def _portal(self, network: Network, user: UserId, name: str, remote: RemoteUserId) -> PortalRow:
        if not network.granted(Grant.PRIVATE_REPLIES) and not network.granted(Grant.PRIVATE_MESSAGES):
            raise RejectedError(NO_PRIVATE)
        login = await self._login(network, user, name)
        if not isinstance(network.connector, OpensDirectChats):
            raise RejectedError("private chats cannot be opened from Matrix there")
        chat = network.connector.direct_chat(remote)
        if self._portals.get(PortalKey(network.id, chat, login.id)) is None:
            if not network.granted(Grant.PRIVATE_MESSAGES):
                raise RejectedError(NO_PRIVATE)
            self._gate.new_portal(user, network.id, chat)
        return await self._portals.ensure(network.id, chat, login.id, name=remote, options={MADE_BY: user})

    async def _login(self, network: Network, user: UserId, name: str) -> Login:
        login = await network.login_for(MatrixSender(user, name))
        if login is None:
            raise RejectedError("you need a login on that network for private chats")
        return login
