"""Private chats: a portal of one login, with one ghost in it."""

from typing import Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Grant, Login
from bridge_core.api.optional import NamesPeople, OpensDirectChats
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.grants import NO_PRIVATE
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.portals import MADE_BY, PortalIndex
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.store_ports import GhostRow, PortalRow

log = structlog.get_logger(__name__)

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
    ) -> None:
        self._names = names
        self._networks = networks
        self._portals = portals
        self._ghosts = ghosts
        self._rooms = rooms
        self._matrix = matrix
        self._gate = gate

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

    async def invited(self, room: RoomId, inviter: UserId, ghost_user: UserId) -> bool:
        """A user invited a ghost: in a room of the two that is a private chat. Whether it is. Raises RejectedError."""
        ghost = await self._ghosts.by_user(ghost_user) or await self._new(room, inviter, ghost_user)
        network = self._networks.get(ghost.network)
        if network is None:
            raise RejectedError(_NOBODY)
        await self._matrix.join(room, ghost_user)
        await self._ghosts.join(room, ghost_user)
        members = await self._matrix.members(room, ghost_user)
        others = set(members) - {inviter, ghost_user, self._matrix.bot}
        if inviter not in members or others or self._portals.in_room(room):
            return self._is_of(room, network, ghost.remote)
        portal = await self._portal(network, inviter, members[inviter].name or inviter, ghost.remote)
        row = await self._portals.add_room(portal, room)
        try:
            # The bot tells users there what went wrong; a room that will not have it is bridged all the same.
            await self._matrix.invite(room, self._matrix.bot, ghost_user)
            await self._matrix.join(room, self._matrix.bot)
        except MatrixRejectedError as error:
            log.info("bot_not_in_private_room", room=room, error=str(error))
        await self._rooms.taken(row, room)
        return True

    async def _new(self, room: RoomId, inviter: UserId, user: UserId) -> GhostRow:
        """The ghost of somebody who was never seen, as if they were named in a command. Raises RejectedError."""
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
        await self._allowed(found, inviter, inviter, person)  # nothing is made for who may not
        return await self._ghosts.ensure(network, RemoteSender(person, remote))

    def _is_of(self, room: RoomId, network: Network, person: RemoteUserId) -> bool:
        if not isinstance(network.connector, OpensDirectChats):
            return False
        chat = network.connector.direct_chat(person)
        return any((row.network, row.chat) == (network.id, chat) for row in self._portals.in_room(room))

    async def _portal(self, network: Network, user: UserId, name: str, remote: RemoteUserId) -> PortalRow:
        chat, login = await self._allowed(network, user, name, remote)
        return await self._portals.ensure(network.id, chat, login.id, name=remote, options={MADE_BY: user})

    async def _allowed(self, network: Network, user: UserId, name: str, remote: RemoteUserId) -> tuple[ChatId, Login]:
        """The chat of a user and a person, and the user's login. Raises RejectedError."""
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
        return chat, login

    async def _login(self, network: Network, user: UserId, name: str) -> Login:
        login = await network.login_for(MatrixSender(user, name))
        if login is None:
            raise RejectedError("you need a login on that network for private chats")
        return login
