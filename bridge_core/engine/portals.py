"""Which room is which chat: all portals, held in memory, written through to the store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import ChatId, LoginId, NetworkId, PortalKey, RoomId
from bridge_core.engine.store_ports import PortalRow, Portals

MADE_BY: Final = "by"
"""Option: the user for whom the portal was made, where there is one."""
_MAKING: Final = "making_room"
"""Option of a portal whose room may exist on the homeserver already, though it is not written down here."""
_PLUMBED: Final = "plumbed"
"""Option: the rooms that were there before the bridge came, each with whoever had it bridged."""
INVITE: Final = "invite"
"""Option: users whom the network names for the chat's rooms (see `named`)."""
_SINCE: Final = "since"
"""Option: since when each of those rooms is bridged to the chat, in milliseconds since 1970."""
UNLISTED: Final = "unlisted"
"""Option: the chat stands in no list and no space."""
RULES: Final = "rules"
"""Option: what the admins of each room have set for it (see `roomrules`)."""
LOOKED: Final = "looked"
"""Option: what each room was looked at for (see `roomsurvey`)."""
ENCRYPTED: Final = "encrypted"
"""Option: one of the rooms is, or was, encrypted."""
_MOVED: Final = "moved"
"""Option: the chat's earlier keys, each with the journal's entry that moved it."""
_MOST_MOVES: Final = 8

Watcher = Callable[[PortalRow, PortalRow | None], None]
"""Told of what a portal was and is; None when it is no more. Must not block."""


def plumbed_by(row: PortalRow, room: RoomId) -> str | None:
    """Who had a room bridged that was there before (empty: the configuration); None for rooms that the bridge made."""
    by = row.options.get(_PLUMBED, {}).get(room)
    return by if isinstance(by, str) else None


def own_rooms(row: PortalRow) -> tuple[RoomId, ...]:
    """The rooms that the bridge made for the chat."""
    plumbed = row.options.get(_PLUMBED)
    return tuple(room for room in row.rooms if room not in plumbed) if plumbed else row.rooms


def plumbed_since(row: PortalRow, room: RoomId) -> int:
    """Since when a room that was there before is bridged to the chat (ms); 0 for others, and where it is not known."""
    at = row.options.get(_SINCE, {}).get(room)
    return at if isinstance(at, int) else 0


class PortalIndex:
    """All portals by key and by room. One chat may have several rooms, and one room several chats.

    Rows are as old as whoever holds them: a change is made to what the portal is now, and changes none that is no more.
    """

    def __init__(self, store: Portals) -> None:
        self._store = store
        self._by_key: dict[PortalKey, PortalRow] = {}
        self._by_room: dict[RoomId, tuple[PortalRow, ...]] = {}
        self._by_id: dict[int, PortalRow] = {}
        self._making: set[int] = set()
        self._moved: dict[PortalKey, tuple[int, int]] = {}
        self._watchers: tuple[Watcher, ...] = ()
        self._changing: dict[int, tuple[asyncio.Lock, int]] = {}
        """Portals that are being changed, each with how many do, or wait to."""

    def watch(self, watcher: Watcher) -> None:
        """Tell this one of every portal that changes from now on; not of those that are loaded."""
        self._watchers = (*self._watchers, watcher)

    async def load(self) -> None:
        """Read all portals once, at start."""
        for row in await self._store.all():
            self._put(row)

    def get(self, key: PortalKey) -> PortalRow | None:
        """The portal of a chat."""
        return self._by_key.get(key)

    def by_id(self, portal: int) -> PortalRow | None:
        """The portal with this number."""
        return self._by_id.get(portal)

    def current(self, row: PortalRow) -> PortalRow:
        """The portal as it is now. Raises TransientError when it is no more: whoever wants the chat begins again."""
        current = self._by_id.get(row.id)
        if current is None:
            raise TransientError("the bridging of this chat was just ended")
        return current

    def in_room(self, room: RoomId) -> tuple[PortalRow, ...]:
        """The portals of a room; usually one."""
        return self._by_room.get(room, ())

    def meant(self, key: PortalKey, entry: int) -> PortalRow | None:
        """The portal that a journal's entry for a chat is about: the chat may have moved since it was accepted."""
        if self._moved:
            moved = self._moved.get(key)
            if moved is not None and entry <= moved[1] and moved[0] in self._by_id:
                return self._by_id[moved[0]]
        return self._by_key.get(key)

    def all(self) -> Iterable[PortalRow]:
        """All portals."""
        return list(self._by_key.values())

    def of_network(self, network: NetworkId) -> Iterable[PortalRow]:
        """All portals of a network."""
        return [row for row in self._by_key.values() if row.network == network]

    def __len__(self) -> int:
        return len(self._by_key)

    async def ensure(
        self,
        network: NetworkId,
        chat: ChatId,
        receiver: LoginId | None = None,
        *,
        name: str = "",
        options: dict[str, Any] | None = None,
    ) -> PortalRow:
        """The portal of a chat, made when there is none yet. It may not have a room."""
        key = PortalKey(network, chat, receiver)
        row = self._by_key.get(key)
        if row is not None:
            return row
        stored = await self._store.save(PortalRow(0, network, chat, receiver, (), name, "", options or {}))
        known = self._by_key.get(key)
        if known is not None:  # made at the same time elsewhere; the store gave both the same row
            return known
        self._put(stored)
        return stored

    def unfinished(self) -> list[PortalRow]:
        """Portals whose room may exist already, though it is not known which it is. Usually none."""
        return [self._by_id[number] for number in self._making]

    def is_making(self, row: PortalRow) -> bool:
        """Whether the portal's room may exist already, though it is not known which it is."""
        return row.id in self._making

    async def making(self, row: PortalRow) -> PortalRow:
        """A room for the chat is about to be made. Stored: it may be there after a crash."""
        return await self._change(row, lambda current: replace(current, options={**current.options, _MAKING: True}))

    async def not_made(self, row: PortalRow) -> PortalRow:
        """No room was made after all."""
        return await self._change(row, lambda current: replace(current, options=_made(current)))

    async def add_room(self, row: PortalRow, room: RoomId, *, plumbed: str | None = None, since: int = 0) -> PortalRow:
        """The chat is in this room too. `plumbed`: it was there before, and who had it bridged, `since` when (ms).

        Raises TransientError when the portal is no more: the room is not its.
        """

        def added(current: PortalRow) -> PortalRow:
            if room in current.rooms:
                return current
            options = _made(current)
            if plumbed is not None:
                options[_PLUMBED] = {**options.get(_PLUMBED, {}), room: plumbed}
                if since:
                    options[_SINCE] = {**options.get(_SINCE, {}), room: since}
            return replace(current, rooms=(*current.rooms, room), options=options)

        changed = await self._change(row, added)
        self.current(changed)
        return changed

    async def remove_room(self, row: PortalRow, room: RoomId) -> PortalRow:
        """The chat is not in this room any more."""

        def removed(current: PortalRow) -> PortalRow:
            if room not in current.rooms:
                return current
            rooms = tuple(other for other in current.rooms if other != room)
            return replace(current, rooms=rooms, options=_without(current, room))

        return await self._change(row, removed)

    async def replace_room(self, row: PortalRow, old: RoomId, new: RoomId) -> PortalRow:
        """The room went on as another one."""

        def replaced(current: PortalRow) -> PortalRow:
            if old not in current.rooms:
                return current
            by, since = plumbed_by(current, old), plumbed_since(current, old)
            options = _without(current, old)
            if by is not None:
                options[_PLUMBED] = {**options.get(_PLUMBED, {}), new: by}
            if since:
                options[_SINCE] = {**options.get(_SINCE, {}), new: since}
            rooms = dict.fromkeys(new if room == old else room for room in current.rooms)
            return replace(current, rooms=tuple(rooms), options=options)

        return await self._change(row, replaced)

    async def move(self, row: PortalRow, chat: ChatId, entry: int) -> PortalRow:
        """The chat is called `chat` from the journal's entry on; its number, rooms and messages stay.

        Raises TransientError when the portal is no more.
        """

        def moved(current: PortalRow) -> PortalRow:
            moves = [*current.options.get(_MOVED, ()), [current.chat, entry]][-_MOST_MOVES:]
            return replace(current, chat=chat, options={**current.options, _MOVED: moves})

        changed = await self._change(row, moved)
        self.current(changed)
        return changed

    async def set_option(self, row: PortalRow, name: str, value: Any) -> PortalRow:
        """Keep something with the portal; None removes it."""
        return await self.set_options(row, {name: value})

    async def set_options(self, row: PortalRow, values: Mapping[str, Any]) -> PortalRow:
        """As `set_option`, for several in one commit."""

        def kept(current: PortalRow) -> PortalRow:
            options = {**current.options, **values}
            return replace(current, options={name: value for name, value in options.items() if value is not None})

        return await self._change(row, kept)

    async def set_for_room(self, row: PortalRow, name: str, room: RoomId, change: Callable[[Any], Any]) -> PortalRow:
        """Keep something with one of the portal's rooms, beside what is kept there of the others.

        `change` makes it of what is kept now (None: nothing), in turn with all others; None and empty values remove it.
        Nothing is kept with a room that is not the portal's any more.
        """

        def kept(current: PortalRow) -> PortalRow:
            if room not in current.rooms:
                return current
            values = dict(current.options.get(name) or {})
            value = change(values.pop(room, None))
            if value:
                values[room] = value
            rest = {other: value for other, value in current.options.items() if other != name}
            return replace(current, options={**rest, name: values} if values else rest)

        return await self._change(row, kept)

    async def update(self, row: PortalRow, *, name: str | None = None, topic: str | None = None) -> PortalRow:
        """The chat has a new name or topic."""

        def described(current: PortalRow) -> PortalRow:
            return replace(
                current,
                name=current.name if name is None else name,
                topic=current.topic if topic is None else topic,
            )

        return await self._change(row, described)

    async def _change(self, row: PortalRow, change: Callable[[PortalRow], PortalRow]) -> PortalRow:
        """The row as `change` makes it. One after another: of two changes at once neither is lost.

        A portal that was deleted meanwhile stays so: the row is given back as it is.
        """
        async with self._turn(row.id):
            current = self._by_id.get(row.id)
            if current is None:
                return row
            changed = change(current)
            return current if changed == current else await self._save(changed)

    @asynccontextmanager
    async def _turn(self, portal: int) -> AsyncIterator[None]:
        """Waits until nobody else changes the portal."""
        lock, waiting = self._changing.get(portal) or (asyncio.Lock(), 0)
        self._changing[portal] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            _, waiting = self._changing.pop(portal)
            if waiting > 1:
                self._changing[portal] = (lock, waiting - 1)

    async def delete(self, row: PortalRow) -> None:
        """The chat is bridged no more."""
        async with self._turn(row.id):
            await self._delete(self._by_id.get(row.id, row))

    async def delete_without_rooms(self, row: PortalRow) -> bool:
        """As `delete`, unless a room has come to the chat meanwhile. Whether the portal is no more."""
        async with self._turn(row.id):
            current = self._by_id.get(row.id)
            if current is None:
                return True
            if current.rooms:
                return False
            await self._delete(current)
            return True

    async def _delete(self, row: PortalRow) -> None:
        await self._store.delete(row.id)
        self._drop(row)
        for watcher in self._watchers:
            watcher(row, None)

    async def _save(self, row: PortalRow) -> PortalRow:
        stored = await self._store.save(row)
        before = self._by_id.get(row.id, row)
        self._drop(before)
        self._put(stored)
        for watcher in self._watchers:
            watcher(before, stored)
        return stored

    def _put(self, row: PortalRow) -> None:
        self._by_key[PortalKey(row.network, row.chat, row.receiver)] = row
        self._by_id[row.id] = row
        if row.options.get(_MAKING):
            self._making.add(row.id)
        for chat, entry in row.options.get(_MOVED, ()):
            self._moved[PortalKey(row.network, chat, row.receiver)] = (row.id, entry)
        for room in row.rooms:
            self._by_room[room] = (*(other for other in self._by_room.get(room, ()) if other.id != row.id), row)

    def _drop(self, row: PortalRow) -> None:
        self._by_key.pop(PortalKey(row.network, row.chat, row.receiver), None)
        self._by_id.pop(row.id, None)
        self._making.discard(row.id)
        for room in row.rooms:
            rest = tuple(other for other in self._by_room.get(room, ()) if other.id != row.id)
            if rest:
                self._by_room[room] = rest
            else:
                self._by_room.pop(room, None)


def _made(row: PortalRow) -> dict[str, Any]:
    return {key: value for key, value in row.options.items() if key != _MAKING}


def _without(row: PortalRow, room: RoomId) -> dict[str, Any]:
    """The options, without what they say of a room."""
    options = dict(row.options)
    for name in (_PLUMBED, _SINCE, RULES, LOOKED):
        rest = {other: value for other, value in options.pop(name, {}).items() if other != room}
        if rest:
            options[name] = rest
    return options
