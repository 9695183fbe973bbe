"""Rooms whose history anybody can read without being in them: a public log, which a network has to allow."""

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.api.network import Grant
from bridge_core.engine.gate import Check
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.privacy import VISIBILITY
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

NAMESPACE: Final = "publicrooms"
_VIEWERS: Final = 3
_WORDS: Final = (
    "anybody can read this room without being in it, and that network does not allow public logs: "
    "set who can read its history to members"
)


class Publicity(Check):
    """Refuses such rooms, and stops those that become so, until they are not."""

    def __init__(
        self,
        networks: Networks,
        portals: PortalIndex,
        matrix: MatrixSide,
        kv: KeyValues,
        status: Status,
        ours: Callable[[RoomId], Awaitable[AbstractSet[UserId]]],
    ) -> None:
        self._ours = ours
        self._networks = networks
        self._portals = portals
        self._matrix = matrix
        self._kv = kv
        self._status = status
        self._rooms: set[RoomId] = set()

    async def load(self) -> None:
        """Read which rooms are stopped."""
        self._rooms = {RoomId(room) for room in await self._kv.items(NAMESPACE, "")}

    def room(self, room: RoomId) -> str:
        """As `Check.room`."""
        return _WORDS if self._rooms and room in self._rooms else ""

    async def refuse(self, network: NetworkId, room: RoomId) -> None:
        """Whether a room may be bridged to a network. Raises RejectedError in words, and as the Matrix side does.

        A room that the bot is not in yet is not known: it is asked about again once it is.
        """
        if self.allowed(network):
            return
        try:
            content = await self._matrix.state(room, VISIBILITY)
        except RejectedError:
            return
        if (content or {}).get("history_visibility") == "world_readable":
            raise RejectedError(_WORDS)

    async def changed(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: others may read a room's history now."""
        if event.get("state_key"):
            return  # another state than the room's
        await self._found(RoomId(event["room_id"]), event["content"])

    async def look(self, room: RoomId) -> bool:
        """Ask who can read a room's history, and stop it or let it go on; False when none of ours can see that.

        Where the bot is not in the room, some of our users that are there are asked for it.
        Raises TransientError, RateLimitedError.
        """
        for viewer in (None, *sorted(await self._ours(room))[:_VIEWERS]):
            try:
                content = await self._matrix.state(room, VISIBILITY, viewer=viewer)
            except RejectedError as error:
                log.info("room_not_seen", room=room, viewer=viewer, error=str(error))
                continue
            await self._found(room, content or {})
            return True
        return False

    async def forget(self, room: RoomId) -> None:
        """The room is not bridged any more. Raises TransientError."""
        if room in self._rooms:
            await self._kv.put(NAMESPACE, room, None)
            self._rooms.discard(room)

    async def _found(self, room: RoomId, content: Mapping[str, Any]) -> None:
        networks = {row.network for row in self._portals.in_room(room) if not self.allowed(row.network)}
        public = content.get("history_visibility") == "world_readable"
        if public and networks and room not in self._rooms:
            self._rooms.add(room)
            await self._kv.put(NAMESPACE, room, b"1")
            log.warning("public_room_stopped", room=room, networks=sorted(networks))
            await self._status.say(room, f"Nothing crosses here any more: {_WORDS}.")
        elif not public and room in self._rooms:
            await self._kv.put(NAMESPACE, room, None)
            self._rooms.discard(room)
            log.warning("public_room_goes_on", room=room)
            await self._status.say(room, "What is said here crosses again.")

    def allowed(self, network: NetworkId) -> bool:
        """Whether a network lets its chats be public logs."""
        found = self._networks.get(network)
        return found is None or found.granted(Grant.PUBLIC_HISTORY)
