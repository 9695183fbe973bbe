"""A chat has another key (a channel was renamed, a group became another kind): its portal goes with it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import orjson
import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteChatMoved
from bridge_core.api.ids import NetworkId, PortalKey
from bridge_core.api.optional import WatchesChats
from bridge_core.engine import requests
from bridge_core.engine.acts import Acts
from bridge_core.engine.bridgestate import BRIDGE_STATE, bridge_content, bridge_key
from bridge_core.engine.consents import against
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.gate import Gate
from bridge_core.engine.labels import NAME, label
from bridge_core.engine.matrix_ports import MatrixSide, SendRequest
from bridge_core.engine.networks import Networks
from bridge_core.engine.plumbing import MOST_TOGETHER
from bridge_core.engine.portals import PortalIndex, own_rooms, plumbed_by, plumbed_since
from bridge_core.engine.ports import Entry
from bridge_core.engine.requests import Prepared
from bridge_core.engine.rooms import Describe, RoomMaker
from bridge_core.engine.roomstates import RoomStates
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

_ALIAS: Final = "move_alias"


class Moves:
    """Moves portals. Their number, rooms and messages stay; the old key is free for another chat."""

    def __init__(
        self,
        portals: PortalIndex,
        rooms: RoomMaker,
        networks: Networks,
        matrix: MatrixSide,
        states: RoomStates,
        describe: Describe,
        gate: Gate,
        parting: Callable[[Entry, PortalRow, str], Awaitable[list[Prepared]]],
    ) -> None:
        self._portals = portals
        self._rooms = rooms
        self._networks = networks
        self._matrix = matrix
        self._states = states
        self._describe = describe
        self._gate = gate
        self._parting = parting

    def add_to(self, conversion: Conversion, acts: Acts) -> None:
        """Take part in what networks say."""
        conversion.add(RemoteChatMoved, self._moved)
        acts.add(_ALIAS, self._move_alias)

    async def _moved(self, entry: Entry, event: RemoteChatMoved) -> list[Prepared]:
        old = PortalKey(NetworkId(entry.network), event.chat, event.receiver)
        portal = self._portals.meant(old, entry.id)
        if portal is None or event.chat == event.new:
            raise NothingToDo("no portal for this chat")
        before = replace(portal, chat=event.chat)
        if portal.chat != event.new:
            if why := self._against(portal, replace(old, chat=event.new)):
                log.info("portal_not_moved", network=entry.network, chat=event.chat, new=event.new, reason=why)
                goes_on = f"This chat goes on as {label(event.new, NAME)}, where the bridge does not follow: {why}."
                return await self._parting(entry, portal, f"{goes_on} The room is bridged no more.")
            portal = await self._move(portal, replace(old, chat=event.new), entry)
        meta, _, _ = await self._describe(portal)
        content = bridge_content(self._matrix.bot, portal, meta, portal.name or portal.chat)
        made = []
        for room in portal.rooms:
            for kind in BRIDGE_STATE:
                made.append(self._states.wish(room, kind, {}, bridge_key(old.network, event.chat)))
                made.append(self._states.wish(room, kind, content, bridge_key(portal.network, portal.chat)))
        for room in own_rooms(portal)[:1]:
            aliases = {"old": self._rooms.alias(before), "new": self._rooms.alias(portal)}
            made.append(requests.act(_ALIAS, room, self._matrix.bot, aliases))
        if not made:
            raise NothingToDo("the chat has no room yet")
        return made

    def _against(self, portal: PortalRow, key: PortalKey) -> str:
        """Why a portal may not go to another key; empty when it may: a chat that has no portal to be may not get one
        so, nor may rooms come to one whose own side was asked and has not agreed."""
        try:
            self._gate.new_chat(key.network, key.chat)
        except RejectedError as error:
            return str(error)
        there = self._portals.get(key)
        if there is None:
            return ""
        if len({*there.rooms, *portal.rooms}) > MOST_TOGETHER:
            return f"it would be bridged to more than {MOST_TOGETHER} rooms"
        return against(there)

    async def _move(self, portal: PortalRow, key: PortalKey, entry: Entry) -> PortalRow:
        """The portal under its new key. One that is there already takes the rooms in."""
        there = self._portals.get(key)
        if there is not None and not await self._portals.delete_without_rooms(there):
            for room in portal.rooms:
                there = await self._portals.add_room(
                    there, room, plumbed=plumbed_by(portal, room) or "", since=plumbed_since(portal, room)
                )
            await self._portals.delete(portal)
            return there
        moved = await self._portals.move(portal, key.chat, entry.id)
        log.info("portal_moved", network=key.network, chat=portal.chat, new=key.chat)
        network = self._networks.get(key.network)
        if network is not None and key.receiver is None and isinstance(network.connector, WatchesChats):
            await network.connector.chat_added(moved.chat)
            await network.connector.chat_removed(portal.chat)
        return moved

    async def _move_alias(self, request: SendRequest) -> None:
        aliases = orjson.loads(request.body)
        await self._rooms.move_alias(request.room, aliases["old"], aliases["new"])
