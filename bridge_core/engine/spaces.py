"""Spaces: one per network with its shared chats, one per user and network with that user's private chats.

Which room is in which space is worked out from the portals and brought about beside the messages, also after a crash:
what was done is stored, and the difference to what should be is done next.
"""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import ChatId, NetworkId, RoomId, UserId
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.labels import NAME, label
from bridge_core.engine.matrix_ports import MatrixSide, RoomSpec
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import UNLISTED, PortalIndex, own_rooms
from bridge_core.engine.store_ports import KeyValues, PortalRow

log = structlog.get_logger(__name__)

_CHILDREN: Final = "plain.space-children"
"""By `SPACE\\x1fROOM`, where SPACE is the network, or `NETWORK\\x1fUSER`: the room is in that space."""
_LONGEST: Final = 60.0


class SpaceKind(StrEnum):
    """Which spaces a network has."""

    NONE = "none"
    NETWORK = "network"
    USER = "user"
    BOTH = "both"


Key = tuple[NetworkId, UserId | None]
"""A space: of a network, or of one user on it."""


class Spaces:
    """Keeps the spaces right. `kinds`: which a network has. `rate`: changes per second at most."""

    def __init__(
        self,
        names: Names,
        kv: KeyValues,
        portals: PortalIndex,
        networks: Networks,
        matrix: MatrixSide,
        clock: Clock,
        kinds: Mapping[NetworkId, SpaceKind],
        join_rules: Mapping[NetworkId, str],
        rate: float,
        faults: FaultPoints,
    ) -> None:
        self._names = names
        self._kv = kv
        self._portals = portals
        self._networks = networks
        self._matrix = matrix
        self._clock = clock
        self._kinds = kinds
        self._join_rules = join_rules
        self._interval = 1 / rate
        self._faults = faults
        self.done: set[tuple[Key, RoomId]] = set()
        """Which room is in which space now, as far as was brought about."""
        self._rooms: dict[Key, RoomId] = {}
        self._changed = asyncio.Event()
        portals.watch(self._watch)

    def _watch(self, before: PortalRow, after: PortalRow | None) -> None:
        changed = after is None or before.rooms != after.rooms or before.chat != after.chat
        if changed or (after is not None and before.options.get(UNLISTED) != after.options.get(UNLISTED)):
            self._changed.set()

    async def run(self) -> None:
        """Work until cancelled. Without spaces, now and before, there is nothing to do."""
        pause, loaded = 0.5, False
        while True:
            try:
                if not loaded:
                    self.done = {_parsed(stored) for stored in await self._kv.items(_CHILDREN, "")}
                    loaded = True
                self._changed.clear()
                await self._reconcile()
                pause = 0.5
                await self._changed.wait()
            except (TransientError, RateLimitedError) as error:
                wait = error.retry_after if isinstance(error, RateLimitedError) else pause
                log.info("spaces_wait", error=str(error), seconds=wait)
                await self._clock.sleep(wait)
                pause = min(pause * 2, _LONGEST)
            except Exception:
                log.exception("spaces_stumbled")
                await self._clock.sleep(_LONGEST)

    def wished(self) -> set[tuple[Key, RoomId]]:
        """Which room is to be in which space. Rooms that were there before the bridge are in none."""
        found: set[tuple[Key, RoomId]] = set()
        for portal in self._portals.all():
            key = self._space_of(portal)
            if key is not None:
                found.update((key, room) for room in own_rooms(portal))
        return found

    def _space_of(self, portal: PortalRow) -> Key | None:
        kind = self._kinds.get(portal.network, SpaceKind.NONE)
        if portal.options.get(UNLISTED):
            return None
        if portal.receiver is None:
            return (portal.network, None) if kind in (SpaceKind.NETWORK, SpaceKind.BOTH) else None
        network = self._networks.get(portal.network)
        login = network.login_of(portal.receiver) if network is not None else None
        return (portal.network, login.user) if login is not None and kind in (SpaceKind.USER, SpaceKind.BOTH) else None

    async def _reconcile(self) -> None:
        wished = self.wished()
        # In order, so that a restart goes on where the last one ended.
        for key, room in sorted(wished - self.done, key=_stored):
            await self._put(key, room, there=True)
        for key, room in sorted(self.done - wished, key=_stored):
            await self._put(key, room, there=False)

    async def _put(self, key: Key, room: RoomId, *, there: bool) -> None:
        await self._clock.sleep(self._interval)
        try:
            space = await self._space(key)
            via = {"via": [self._matrix.server_name]}
            await self._matrix.set_state(space, "m.space.child", room, via if there else {}, self._matrix.bot)
            if there or self._portals.in_room(room):
                # Of a room that is bridged no more nothing is said: the bot may have left it.
                parent = {**via, "canonical": True} if there else {}
                await self._matrix.set_state(room, "m.space.parent", space, parent, self._matrix.bot)
        except (TransientError, RateLimitedError):
            raise
        except BridgeError as error:
            log.warning("space_not_kept", network=key[0], room=room, error=str(error))
        self._faults.hit("space.after_child")
        await self._kv.put(_CHILDREN, _stored((key, room)), b"1" if there else None)
        (self.done.add if there else self.done.discard)((key, room))

    async def _space(self, key: Key) -> RoomId:
        """The space's room, made when there is none: its alias is reserved for it."""
        known = self._rooms.get(key)
        if known is not None:
            return known
        network, user = key
        found = self._networks.get(network)
        name = found.meta.name if found is not None else network
        self._faults.hit("space.before_create")
        room = await self._matrix.ensure_room(
            RoomSpec(
                alias_localpart=self.alias(key),
                name=label(name if user is None else f"{name} ({user})", NAME),
                invite=(user,) if user is not None else (),
                join_rule="invite" if user is not None else self._join_rules.get(network, "public"),
                history_visibility="shared",
                power_levels={"users": {self._matrix.bot: 100}, "events_default": 100, "invite": 50},
                kind="m.space",
            )
        )
        self._faults.hit("space.after_create")
        self._rooms[key] = room
        log.info("space_ready", network=network, user=user, room=room)
        return room

    def alias(self, key: Key) -> str:
        """The alias localpart of a space: no portal has it, since in those a separator is doubled or before a slash."""
        network, user = key
        return self._names.alias(network, ChatId("\x1fspace" if user is None else f"\x1fspace\x1f{user}"))


def _stored(item: tuple[Key, RoomId]) -> str:
    (network, user), room = item
    return f"{network}\x1f{user or ''}\x1f{room}"


def _parsed(stored: str) -> tuple[Key, RoomId]:
    network, user, room = stored.split("\x1f")
    return (NetworkId(network), UserId(user) if user else None), RoomId(room)
