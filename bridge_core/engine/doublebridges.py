"""Rooms that another bridge joins to the same kind of network: what crossed would cross again, or loop.

What rooms tell of bridges anybody with power there can write. It is read to refuse, and never to allow anything.
"""

from collections.abc import Mapping
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.engine.bridgestate import BRIDGE_STATE
from bridge_core.engine.gate import Check
from bridge_core.engine.labels import NAME, label
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

NAMESPACE: Final = "doublebridges"


class DoubleBridges(Check):
    """Refuses rooms that tell of another bridge, and stops those that begin to, until it is gone."""

    def __init__(
        self, networks: Networks, portals: PortalIndex, matrix: MatrixSide, kv: KeyValues, status: Status
    ) -> None:
        self._networks = networks
        self._portals = portals
        self._matrix = matrix
        self._kv = kv
        self._status = status
        self._rooms: dict[RoomId, str] = {}

    async def load(self) -> None:
        """Read which rooms are stopped."""
        found = await self._kv.items(NAMESPACE, "")
        self._rooms = {RoomId(room): value.decode() for room, value in found.items()}

    def room(self, room: RoomId) -> str:
        """As `Check.room`."""
        return self._rooms.get(room, "") if self._rooms else ""

    async def refuse(self, network: NetworkId, room: RoomId) -> None:
        """Whether a room may be bridged to a network: not when another bridge is there. Raises RejectedError in words.

        A room that the bot is not in yet is not known: it is asked about again once it is. Raises as the Matrix side.
        """
        await self._seen(network, room)

    async def told(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: a bridge tells that it is, or is no more, in a room that is bridged."""
        room = RoomId(event["room_id"])
        for portal in self._portals.in_room(room):
            network = self._networks.get(portal.network)
            if network is None or self.allowed(network.id):
                continue
            other = await self._other(network, room, event)
            if other and room not in self._rooms:
                await self._stop(network.id, room, other)
                return
        if room in self._rooms and not await self._still(room):
            await self._go_on(room)

    async def look(self, room: RoomId) -> bool:
        """Ask whether another bridge is in a room, and stop it or let it go on; False when the bot cannot see that.

        Raises TransientError, RateLimitedError.
        """
        for portal in self._portals.in_room(room):
            try:
                if not await self._seen(portal.network, room):
                    return False
            except RejectedError as other:
                if room not in self._rooms:
                    await self._stop(portal.network, room, str(other))
                return True
        if room in self._rooms:
            await self._go_on(room)
        return True

    async def _seen(self, network: NetworkId, room: RoomId) -> bool:
        """Whether the bot can see the room. Raises RejectedError in words when another bridge is there."""
        found = self._networks.get(network)
        if found is None or self.allowed(network):
            return True
        try:
            state = await self._matrix.all_state(room)
        except RejectedError:
            return False
        for event in state:
            if event.get("type") in BRIDGE_STATE and (other := await self._other(found, room, event)):
                raise RejectedError(other)
        return True

    async def forget(self, room: RoomId) -> None:
        """The room is not bridged any more. Raises TransientError."""
        if room in self._rooms:
            await self._kv.put(NAMESPACE, room, None)
            self._rooms.pop(room, None)

    def allowed(self, network: NetworkId) -> bool:
        """Whether another bridge may join a network's rooms to the same kind of network."""
        found = self._networks.get(network)
        return found is None or found.options.double_bridges

    async def _stop(self, network: NetworkId, room: RoomId, other: str) -> None:
        self._rooms[room] = other
        await self._kv.put(NAMESPACE, room, other.encode())
        log.warning("double_bridge_stopped", network=network, room=room, reason=other)
        await self._status.say(room, f"Nothing crosses here any more: {other}. Remove one of the bridges.")

    async def _go_on(self, room: RoomId) -> None:
        del self._rooms[room]
        await self._kv.put(NAMESPACE, room, None)
        log.warning("double_bridge_gone", room=room)
        await self._status.say(room, "The other bridge is gone: what is said here crosses again.")

    async def _still(self, room: RoomId) -> bool:
        """Whether any bridge but this one is told of in a room."""
        try:
            for portal in self._portals.in_room(room):
                await self.refuse(portal.network, room)
        except RejectedError:
            return True
        except BridgeError:
            return True  # not known
        return False

    async def _other(self, network: Network, room: RoomId, event: Mapping[str, Any]) -> str:
        """What is against a room of which this state tells; empty when it is nothing of another bridge to this kind."""
        content = event.get("content")
        if not isinstance(content, dict):
            return ""
        bot, protocol, channel = (content.get(key) for key in ("bridgebot", "protocol", "channel"))
        if not isinstance(bot, str) or bot == self._matrix.bot or not isinstance(protocol, dict):
            return ""
        if protocol.get("id") != network.meta.protocol:
            return ""
        try:
            member = await self._matrix.state(room, "m.room.member", bot)
        except RejectedError:
            member = None
        if member is None or member.get("membership") != "join":
            return ""  # what a bridge left behind when it went
        name = channel.get("id") if isinstance(channel, dict) else None
        where = f" ({label(name, NAME)})" if isinstance(name, str) else ""
        return f"{UserId(label(bot, NAME))} bridges this room to {network.meta.protocol} as well{where}"
