"""Rooms of portals: made when they are first needed, once, under an alias that makes making them idempotent."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import ChatId, NetworkId, RoomId, UserId
from bridge_core.api.info import ChatInfo
from bridge_core.api.network import NetworkMeta
from bridge_core.engine.bridgestate import BRIDGE_STATE, bridge_content, bridge_key
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.joinrules import stricter
from bridge_core.engine.labels import NAME, TOPIC, label, lines
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, RoomSpec
from bridge_core.engine.named import NamedMembers
from bridge_core.engine.names import Names
from bridge_core.engine.portals import INVITE, UNLISTED, PortalIndex, plumbed_by
from bridge_core.engine.secrecy import ENCRYPTION
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

Describe = Callable[[PortalRow], Awaitable[tuple[NetworkMeta, ChatInfo | None, UserId | None]]]
"""What the network says of a portal's chat, and the owner of the receiving login in a private chat.

Raises UnknownNetworkError when the network is not configured any more.
"""

FurtherState = Callable[[PortalRow, ChatInfo | None], Sequence[tuple[str, str, Mapping[str, Any]]]]
"""Further state of a portal's new room: (type, key, content) each. Must not block, and raises nothing."""

_RETRY: Final = (0.5, 15.0)
"""Seconds between tries to finish rooms: first and longest."""


class UnknownNetworkError(BridgeError):
    """The portal's network is not in the configuration any more."""


class RoomMaker:
    """Makes the rooms of portals.

    `finished` is called when no room is half-made any more: until then the lanes hold what is said in unknown rooms.
    `join_rules` are those of networks whose portal rooms are not public.
    """

    def __init__(
        self,
        names: Names,
        portals: PortalIndex,
        matrix: MatrixSide,
        describe: Describe,
        faults: FaultPoints,
        clock: Clock,
        tasks: TaskOwner,
        finished: Callable[[], None],
        join_rules: Mapping[NetworkId, str],
    ) -> None:
        self.named = NamedMembers(portals, matrix, clock)
        self._names = names
        self._portals = portals
        self._matrix = matrix
        self._describe = describe
        self._faults = faults
        self._clock = clock
        self._tasks = tasks
        self._finished = finished
        self._join_rules = join_rules
        self._further: tuple[FurtherState, ...] = ()
        self._refuse: tuple[Callable[[NetworkId, RoomId], Awaitable[None]], ...] = ()
        self._remarks: tuple[Callable[[PortalRow, RoomId], str], ...] = ()
        self._bridged: tuple[Callable[[PortalRow, RoomId], Awaitable[None]], ...] = ()
        self._closed: frozenset[NetworkId] = frozenset()
        self._may: Callable[[PortalRow], None] | None = None
        self._leave: Callable[[RoomId], Awaitable[None]] | None = None
        self._turns: WeakValueDictionary[int | str, asyncio.Lock] = WeakValueDictionary()
        """One for each portal and each alias that somebody is at."""
        self._finishing: asyncio.Task[None] | None = None

    def begin_with(self, further: FurtherState) -> None:
        """Let new rooms begin with this state as well: saying it later would be one event more in each."""
        self._further = (*self._further, further)

    def look_out(self, *refuse: Callable[[NetworkId, RoomId], Awaitable[None]]) -> None:
        """Ask these whether a room that was there may be bridged to a network: RejectedError where it may not be."""
        self._refuse = refuse

    def when_bridged(self, *told: Callable[[PortalRow, RoomId], Awaitable[None]]) -> None:
        """Tell these of each room that was there and is bridged now. They raise as the Matrix side does."""
        self._bridged = (*self._bridged, *told)

    def remark_by(self, remark: Callable[[PortalRow, RoomId], str]) -> None:
        """Ask this for a sentence to whoever has just bridged a room; empty for none. Must not block."""
        self._remarks = (*self._remarks, remark)

    def remarks(self, portal: PortalRow, room: RoomId) -> str:
        """What is to be said of a room that was just bridged: sentences, each with a space before it."""
        return "".join(f" {said}" for remark in self._remarks if (said := remark(portal, room)))

    async def refuse(self, network: NetworkId, room: RoomId) -> None:
        """Whether a room that was there may be bridged. Raises RejectedError in words, and as the Matrix side does."""
        for refuse in self._refuse:
            await refuse(network, room)

    def closed_for(self, networks: frozenset[NetworkId]) -> None:
        """New rooms of these networks let in only who was let in, by the bridge or by the room's moderators."""
        self._closed = networks

    def guard(self, may: Callable[[PortalRow], None]) -> None:
        """Ask this before a room is made: it raises RejectedError where none may be. Must not block."""
        self._may = may

    def leave_by(self, leave: Callable[[RoomId], Awaitable[None]]) -> None:
        """Have this leave rooms whose chat was ended while they were made."""
        self._leave = leave

    async def ensure(self, portal: PortalRow) -> RoomId:
        """The portal's first room, made when it has none.

        Two callers at once get the same room. When it fails half-way, or is cancelled, a task goes on with it: the
        room may be there. Raises TransientError (also when the portal is no more), RateLimitedError, RejectedError
        (also when somebody else holds the alias) or UnknownNetworkError.
        """
        if portal.rooms:
            return portal.rooms[0]
        await self._allowed(portal)
        try:
            async with self._turn(portal.id):
                current = self._portals.current(portal)
                return current.rooms[0] if current.rooms else await self._make(current)
        finally:
            if self._portals.is_making(portal):
                self._finish_later()
            else:
                self._maybe_finished()

    async def _make(self, portal: PortalRow) -> RoomId:
        spec = await self._spec(portal)
        # A chat that was called so before may have its room still under way: that is not this chat's.
        async with self._turn(spec.alias_localpart):
            before = self._portals.current(portal)
            if self.alias(before) != spec.alias_localpart:
                raise TransientError("the chat has another key now")
            current = await self.named.room_is_made(await self._portals.making(before))
            self._faults.hit("room.before_create")
            try:
                room = await self._matrix.ensure_room(spec)
            except RejectedError:
                await self._portals.not_made(current)
                raise
            self._faults.hit("room.after_create")
            # Before it is the portal's: what is said there first is for those who are invited.
            await self.named.room_is_there(current, room)
            try:
                row = await self._portals.add_room(current, room)
            except TransientError:
                if self._portals.by_id(portal.id) is None:
                    await self._unwanted(spec.alias_localpart, room)
                raise
            log.info("portal_room_made", network=row.network, chat=row.chat, room=room)
            if self.alias(row) != spec.alias_localpart:
                await self._moved(before, row, room)
            return room

    async def _unwanted(self, alias: str, room: RoomId) -> None:
        """The chat was ended while its room was made: its alias is free again, and our users leave it."""
        log.info("room_made_for_nobody", room=room, alias=alias)
        # First: where the bot is gone, whoever finds the room by its alias cannot use it.
        await self._free(alias)
        if self._leave is not None:
            await self._leave(room)

    async def _moved(self, before: PortalRow, now: PortalRow, room: RoomId) -> None:
        """The chat got another key while its room was made: alias and bridge state follow, as far as they can."""
        try:
            await self._point(self.alias(now), room)
            await self._free(self.alias(before))
            for kind in BRIDGE_STATE:
                key = bridge_key(before.network, before.chat)
                await self._matrix.set_state(room, kind, key, {}, self._matrix.bot)
            await self.tell(now, room)
        except BridgeError as error:
            log.warning("alias_not_moved", network=now.network, chat=now.chat, room=room, error=str(error))

    async def move_alias(self, room: RoomId, old: str, new: str) -> None:
        """The room's chat has another key: so has its room, unless it is not that chat's any more.

        Raises as the Matrix side does.
        """
        async with self._turn(new):
            if any(self.alias(portal) == new for portal in self._portals.in_room(room)):
                await self._point(new, room)
        await self.free_alias(old)

    async def free_alias(self, alias: str) -> None:
        """An alias leads nowhere any more, unless another chat is called so by now, and it leads to that one's room.

        Raises as the Matrix side does.
        """
        async with self._turn(alias):
            await self._free(alias)

    async def _free(self, alias: str) -> None:
        try:
            room = await self._matrix.room_of(f"#{alias}:{self._matrix.server_name}")
        except MatrixRejectedError as error:
            if error.status != 404:
                raise
            return
        if not any(self.alias(portal) == alias for portal in self._portals.in_room(room)):
            await self._matrix.drop_alias(alias)

    async def _point(self, alias: str, room: RoomId) -> None:
        await self._matrix.point_alias(alias, room)
        full = f"#{alias}:{self._matrix.server_name}"
        try:
            await self._matrix.set_state(room, "m.room.canonical_alias", "", {"alias": full}, self._matrix.bot)
        except (TransientError, RateLimitedError):
            raise
        except BridgeError as error:
            log.info("canonical_alias_not_set", room=room, error=str(error))

    def _turn(self, what: int | str) -> asyncio.Lock:
        lock = self._turns.get(what)
        if lock is None:
            lock = self._turns[what] = asyncio.Lock()
        return lock

    async def _allowed(self, portal: PortalRow) -> None:
        """Raises RejectedError where no room may be made: one that was being made is not made any more."""
        if self._may is None:
            return
        try:
            self._may(portal)
        except RejectedError:
            if self._portals.is_making(portal):
                await self._portals.not_made(portal)
                self._maybe_finished()
            raise

    def finish(self) -> None:
        """Make, or find, the rooms that an earlier process was making, in the background. Does not block."""
        self._finish_later(0.0)

    def _finish_later(self, delay: float = _RETRY[0]) -> None:
        if self._finishing is None or self._finishing.done():
            with contextlib.suppress(RuntimeError):  # the bridge stops: the next start goes on with it
                self._finishing = self._tasks.spawn(self._finish(delay), "unfinished-rooms")

    async def _finish(self, delay: float) -> None:
        """Try all half-made rooms until each is made or refused. One that fails keeps no other waiting."""
        pause = _RETRY[0]
        while self._portals.unfinished():
            await self._clock.sleep(delay)
            delay, pause = pause, min(pause * 2, _RETRY[1])
            for portal in self._portals.unfinished():
                if self._portals.is_making(portal):  # it may have been made, or removed, meanwhile
                    delay = max(delay, await self._finish_one(portal))

    async def _finish_one(self, portal: PortalRow) -> float:
        """Seconds that the homeserver asks to wait."""
        about = {"network": portal.network, "chat": portal.chat}
        try:
            try:
                await self.ensure(portal)
            except UnknownNetworkError:
                # Nothing can come from or go to it. Should it come back, the room is found by its alias.
                log.warning("unfinished_room_given_up", **about)
                await self._portals.not_made(portal)
                self._maybe_finished()
        except RejectedError as error:
            log.error("portal_room_not_made", **about, error=str(error))
        except BridgeError as error:
            log.warning("room_not_finished", **about, error=str(error))
            return error.retry_after if isinstance(error, RateLimitedError) else 0.0
        except Exception:
            # Whatever an adapter or a bug makes of one portal, the others go on.
            log.exception("room_not_finished", **about)
        return 0.0

    def _maybe_finished(self) -> None:
        if not self._portals.unfinished():
            self._finished()

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
        if info is not None and info.listed is False:
            portal = await self._portals.set_option(portal, UNLISTED, True)
        further = [state for one in self._further for state in one(portal, info)]
        widest = "invite" if portal.receiver else self._join_rules.get(portal.network, "public")
        closed = portal.network in self._closed and not portal.receiver
        if closed:
            widest = stricter(widest, "knock")
        name = (info.name if info else None) or portal.name or portal.chat
        topic = lines((info.topic if info else None) or portal.topic, TOPIC)
        return RoomSpec(
            alias_localpart=self.alias(portal),
            is_others=lambda room: self._is_others(portal, room),
            name=label(name, NAME) or "?",
            topic=topic,
            invite=() if owner is None else (owner,),
            public=False,
            join_rule=stricter(widest, info.join_rule if info is not None else None),
            # Who is named is to see what was said before they had come: a room begins with its first words.
            history_visibility="invited" if portal.receiver or portal.options.get(INVITE) else "joined",
            power_levels={**self._power_levels(), "invite": 50 if closed else 0},
            state=(
                *self._bridge_state(portal, meta, name, encrypted=any(kind == ENCRYPTION for kind, _, _ in further)),
                *further,
            ),
        )

    async def _is_others(self, portal: PortalRow, room: RoomId) -> bool:
        """Whether the bridge made a room for another chat. A room that somebody bridged to further ones is its own.

        The alias leads there no more, unless the other chat has it by now.
        """
        there = self._portals.in_room(room)
        others = any(other.id != portal.id and plumbed_by(other, room) is None for other in there)
        if others:
            await self._free(self.alias(portal))
        return others

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
        self, portal: PortalRow, meta: NetworkMeta, name: str, *, encrypted: bool = False
    ) -> tuple[tuple[str, str, dict[str, Any]], ...]:
        content = bridge_content(self._matrix.bot, portal, meta, name, encrypted=encrypted)
        key = bridge_key(portal.network, portal.chat)
        return tuple((kind, key, dict(content)) for kind in BRIDGE_STATE)

    async def adopt(self, portal: PortalRow, room: RoomId, *, by: str = "", joined: bool = False) -> PortalRow:
        """Plumb an existing room to the chat: the bot joins it and tells what it is bridged to.

        `by` is who had it done, empty for the configuration.

        Raises MatrixRejectedError when the bot may not join, TransientError when the portal is no more. State that it
        may not set is left out: a plumbed room belongs to its admins.
        """
        if not joined:
            await self._matrix.join(room, self._matrix.bot)
        await self.refuse(portal.network, room)
        row = await self._portals.add_room(portal, room, plumbed=by, since=self._clock.now_ms())
        await self.taken(row, room)
        await self.tell(self._portals.by_id(row.id) or row, room)
        return self._portals.by_id(row.id) or row

    async def taken(self, row: PortalRow, room: RoomId) -> None:
        """A room that was there is a portal's now: whoever wants to look at it does. Raises as they do."""
        for told in self._bridged:
            await told(row, room)

    async def tell(self, row: PortalRow, room: RoomId) -> None:
        """The room tells clients what it is bridged to, as far as the bot may say so there. Idempotent."""
        meta, _, _ = await self._describe(row)
        for kind, key, content in self._bridge_state(row, meta, row.name or row.chat):
            try:
                await self._matrix.set_state(room, kind, key, content, self._matrix.bot)
            except BridgeError as error:
                log.info("bridge_state_not_set", room=room, error=str(error))
                break

    async def powers(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: with a new power the bot may say what it could not before."""
        room = RoomId(event["room_id"])
        for portal in self._portals.in_room(room):
            await self.tell(portal, room)
