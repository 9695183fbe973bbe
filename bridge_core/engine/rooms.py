"""Rooms of portals: made when they are first needed, once, under an alias that makes making them idempotent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.events import ChatInfo
from bridge_core.api.ids import ChatId, RoomId, UserId
from bridge_core.api.network import NetworkMeta
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.names import Names
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import MatrixRejectedError, MatrixSide, PortalRow, RoomSpec

log = structlog.get_logger(__name__)

BRIDGE_STATE: Final = ("m.bridge", "uk.half-shot.bridge")
"""State types that tell clients what a room is bridged to (MSC2346, unmerged: both are in use)."""

Describe = Callable[[PortalRow], Awaitable[tuple[NetworkMeta, ChatInfo | None, UserId | None]]]
"""What the network says of a portal's chat, and the owner of the receiving login in a private chat."""


class RoomMaker:
    """Makes the rooms of portals."""

    def __init__(
        self, names: Names, portals: PortalIndex, matrix: MatrixSide, describe: Describe, faults: FaultPoints
    ) -> None:
        self._names = names
        self._portals = portals
        self._matrix = matrix
        self._describe = describe
        self._faults = faults
        self._locks: dict[int, asyncio.Lock] = {}

    async def ensure(self, portal: PortalRow) -> RoomId:
        """The portal's first room, made when it has none.

        Two callers at once get the same room; after a crash half-way the next caller finishes it. Raises
        TransientError, RateLimitedError or MatrixRejectedError (also when somebody else holds the alias).
        """
        if portal.rooms:
            return portal.rooms[0]
        lock = self._locks.setdefault(portal.id, asyncio.Lock())
        try:
            async with lock:
                current = self._portals.by_id(portal.id) or portal
                if current.rooms:
                    return current.rooms[0]
                spec = await self._spec(current)
                current = await self._portals.making(current)
                self._faults.hit("room.before_create")
                try:
                    room = await self._matrix.ensure_room(spec)
                except MatrixRejectedError:
                    await self._portals.not_made(current)
                    raise
                self._faults.hit("room.after_create")
                await self._portals.add_room(current, room)
                log.info("portal_room_made", network=portal.network, chat=portal.chat, room=room)
                return room
        finally:
            if not lock.locked():
                self._locks.pop(portal.id, None)

    async def finish(self) -> None:
        """Make, or find, the rooms that an earlier process was making. Raises TransientError, RateLimitedError."""
        for portal in self._portals.unfinished():
            try:
                await self.ensure(portal)
            except MatrixRejectedError as error:
                log.error("portal_room_not_made", network=portal.network, chat=portal.chat, error=str(error))

    def alias(self, portal: PortalRow) -> str:
        """The alias localpart of a portal's room: no other portal of the network has the same.

        Chats may be called anything, so the separator in front of the receiver is doubled where it is part of an id.
        """
        name = portal.chat.replace("\x1f", "\x1f\x1f")
        if portal.receiver:
            name += f"\x1f/{portal.receiver}"
        return self._names.alias(portal.network, ChatId(name))

    async def _spec(self, portal: PortalRow) -> RoomSpec:
        meta, info, owner = await self._describe(portal)
        name = (info.name if info else None) or portal.name or portal.chat
        topic = (info.topic if info else None) or portal.topic
        invite = tuple(UserId(user) for user in portal.options.get("invite", ()))
        if owner is not None and owner not in invite:
            invite = (*invite, owner)
        return RoomSpec(
            alias_localpart=self.alias(portal),
            name=name,
            topic=topic,
            invite=invite,
            public=False,
            join_rule="invite" if portal.receiver else portal.options.get("join_rule", "public"),
            history_visibility="joined" if not portal.receiver else "invited",
            power_levels=self._power_levels(),
            state=self._bridge_state(portal, meta, name),
        )

    def _power_levels(self) -> dict[str, Any]:
        return {
            "users": {self._matrix.bot: 100},
            "users_default": 0,
            "events_default": 0,
            "state_default": 50,
            "ban": 50,
            "kick": 50,
            "redact": 50,
            "invite": 0,
            "events": {"m.room.tombstone": 100, "m.room.server_acl": 100, "m.room.encryption": 100},
        }

    def _bridge_state(
        self, portal: PortalRow, meta: NetworkMeta, name: str
    ) -> tuple[tuple[str, str, dict[str, Any]], ...]:
        content = {
            "bridgebot": self._matrix.bot,
            "protocol": {"id": meta.protocol, "displayname": meta.name},
            "network": {"id": portal.network, "displayname": meta.name},
            "channel": {"id": portal.chat, "displayname": name},
            "dev.matrix_bridge.plaintext": meta.plaintext.value,
        }
        key = f"dev.matrix_bridge://{portal.network}/{portal.chat}"
        return tuple((kind, key, content) for kind in BRIDGE_STATE)

    async def adopt(self, portal: PortalRow, room: RoomId, *, joined: bool = False) -> PortalRow:
        """Plumb an existing room to the chat: the bot joins it and tells what it is bridged to.

        Raises MatrixRejectedError when the bot may not join. State that it may not set is left out: a plumbed room
        belongs to its admins.
        """
        if not joined:
            await self._matrix.join(room, self._matrix.bot)
        row = await self._portals.add_room(portal, room)
        meta, _, _ = await self._describe(row)
        for kind, key, content in self._bridge_state(row, meta, row.name or row.chat):
            try:
                await self._matrix.set_state(room, kind, key, content, self._matrix.bot)
            except BridgeError as error:
                log.info("bridge_state_not_set", room=room, error=str(error))
                break
        return row
