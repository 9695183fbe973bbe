"""The end of bridging: a room and a chat part, because somebody said so, or because one of them is gone."""

from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.events import RemoteChatGone
from bridge_core.api.ids import NetworkId, PortalKey, RoomId
from bridge_core.api.optional import WatchesChats
from bridge_core.engine import requests
from bridge_core.engine.acts import Acts
from bridge_core.engine.bridgestate import BRIDGE_STATE, bridge_key
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.departures import Departures
from bridge_core.engine.injection import Injection
from bridge_core.engine.labels import TOPIC, label
from bridge_core.engine.matrix_ports import MatrixSide, SendRequest
from bridge_core.engine.networks import Networks
from bridge_core.engine.payload import Departure
from bridge_core.engine.portals import PortalIndex, own_rooms
from bridge_core.engine.ports import Entry
from bridge_core.engine.requests import Prepared
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

_UNBRIDGE: Final = "unbridge"
_DEPART: Final = "depart"


class Unbridging:
    """Ends bridging. All of it may be done twice."""

    def __init__(
        self,
        portals: PortalIndex,
        rooms: RoomMaker,
        networks: Networks,
        matrix: MatrixSide,
        departures: Departures,
        injection: Injection,
    ) -> None:
        self._portals = portals
        self._rooms = rooms
        self._networks = networks
        self._matrix = matrix
        self._departures = departures
        self._injection = injection
        self._conversion: Conversion | None = None

    def add_to(self, conversion: Conversion, acts: Acts) -> None:
        """Take part in what networks say."""
        self._conversion = conversion
        conversion.add(RemoteChatGone, self._gone)
        conversion.add(Departure, self._departure)
        acts.add(_UNBRIDGE, self._perform)
        acts.add(_DEPART, self._depart)

    async def end(self, portal: PortalRow, room: RoomId, *, there: bool = True, keep: bool = False) -> None:
        """The chat is not in the room any more, the room tells nothing of it, and its own alias is free again.

        `there`: the bot is in it. Without any room the portal is gone, unless it is to `keep`: then a room is made
        when one is needed. Who of ours is in the room stays until `leave`.
        Raises TransientError, RateLimitedError.
        """
        current = self._portals.by_id(portal.id)
        if current is None or room not in current.rooms:
            return
        if there:
            await self._untell(current, room)
        if room in own_rooms(current):
            await self._matrix.drop_alias(self._rooms.alias(current))
        left = await self._portals.remove_room(current, room)
        log.info("room_unbridged", network=left.network, chat=left.chat, room=room)
        if not left.rooms and not keep and await self._portals.delete_without_rooms(left):
            await self._removed(left)

    async def _removed(self, portal: PortalRow) -> None:
        """The network is told that the chat has no portal, where it has none: it may be bridged again by now."""
        network, key = self._networks.get(portal.network), PortalKey(portal.network, portal.chat)
        if network is None or portal.receiver is not None or not isinstance(network.connector, WatchesChats):
            return
        if self._portals.get(key) is None:
            await network.connector.chat_removed(portal.chat)
            if self._portals.get(key) is not None:  # what was told last is to be true
                await network.connector.chat_added(portal.chat)

    async def leave(self, room: RoomId) -> None:
        """Our users leave the room once everything that was to be said there is said, unless it is bridged again."""
        await self._injection.core(room, Departure(room))

    async def _untell(self, portal: PortalRow, room: RoomId) -> None:
        key = bridge_key(portal.network, portal.chat)
        for kind in BRIDGE_STATE:
            try:
                await self._matrix.set_state(room, kind, key, {}, self._matrix.bot)
            except (TransientError, RateLimitedError):
                raise
            except BridgeError as error:
                log.info("bridge_state_not_removed", room=room, error=str(error))
                return

    async def _gone(self, entry: Entry, event: RemoteChatGone) -> list[Prepared]:
        portal = self._portals.meant(PortalKey(NetworkId(entry.network), event.chat, event.receiver), entry.id)
        if portal is None:
            raise NothingToDo("no portal for this chat")
        reason = f": {label(event.reason, TOPIC)}" if event.reason else ""
        return await self.parting(entry, portal, f"This chat is gone{reason}. The room is bridged no more.")

    async def parting(self, entry: Entry, portal: PortalRow, said: str) -> list[Prepared]:
        """What ends a chat in all its rooms, which are told so. Raises NothingToDo when it has none."""
        if not portal.rooms:
            if await self._portals.delete_without_rooms(portal):
                raise NothingToDo("the chat had no room")
            portal = self._portals.current(portal)
        assert self._conversion is not None
        made = []
        for room in portal.rooms:
            made.append(await self._conversion.notice(entry, room, said, None))
            made.append(requests.act(_UNBRIDGE, room, self._matrix.bot, {}, subject=str(portal.id)))
            made.append(requests.act(_DEPART, room, self._matrix.bot, {}))
        return made

    async def _departure(self, entry: Entry, event: Departure) -> list[Prepared]:
        return [requests.act(_DEPART, event.room, self._matrix.bot, {})]

    async def _perform(self, request: SendRequest) -> None:
        portal = self._portals.by_id(int(request.type))
        if portal is not None:
            await self.end(portal, request.room)

    async def _depart(self, request: SendRequest) -> None:
        if not self._portals.in_room(request.room):
            await self._departures.note(request.room)
            self._departures.go(request.room)
