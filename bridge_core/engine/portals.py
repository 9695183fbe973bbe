"""Which room is which chat: all portals, held in memory, written through to the store."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from bridge_core.api.ids import ChatId, LoginId, NetworkId, PortalKey, RoomId
from bridge_core.engine.store_ports import PortalRow, Portals

_MAKING: Final = "making_room"
"""Option of a portal whose room may exist on the homeserver already, though it is not written down here."""


class PortalIndex:
    """All portals by key and by room. One chat may have several rooms, and one room several chats."""

    def __init__(self, store: Portals) -> None:
        self._store = store
        self._by_key: dict[PortalKey, PortalRow] = {}
        self._by_room: dict[RoomId, tuple[PortalRow, ...]] = {}
        self._by_id: dict[int, PortalRow] = {}
        self._making: set[int] = set()

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

    def in_room(self, room: RoomId) -> tuple[PortalRow, ...]:
        """The portals of a room; usually one."""
        return self._by_room.get(room, ())

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
        current = self._by_id.get(row.id, row)
        if current.id in self._making:
            return current
        return await self._save(replace(current, options={**current.options, _MAKING: True}))

    async def not_made(self, row: PortalRow) -> PortalRow:
        """No room was made after all."""
        current = self._by_id.get(row.id, row)
        return await self._save(replace(current, options=_made(current))) if current.id in self._making else current

    async def add_room(self, row: PortalRow, room: RoomId) -> PortalRow:
        """The chat is in this room too."""
        current = self._by_id.get(row.id, row)
        if room in current.rooms:
            return current
        return await self._save(replace(current, rooms=(*current.rooms, room), options=_made(current)))

    async def remove_room(self, row: PortalRow, room: RoomId) -> PortalRow:
        """The chat is not in this room any more."""
        current = self._by_id.get(row.id, row)
        return await self._save(replace(current, rooms=tuple(other for other in current.rooms if other != room)))

    async def update(self, row: PortalRow, *, name: str | None = None, topic: str | None = None) -> PortalRow:
        """The chat has a new name or topic."""
        current = self._by_id.get(row.id, row)
        changed = replace(
            current,
            name=current.name if name is None else name,
            topic=current.topic if topic is None else topic,
        )
        return current if changed == current else await self._save(changed)

    async def delete(self, row: PortalRow) -> None:
        """The chat is bridged no more."""
        await self._store.delete(row.id)
        self._drop(row)

    async def _save(self, row: PortalRow) -> PortalRow:
        stored = await self._store.save(row)
        self._drop(self._by_id.get(row.id, row))
        self._put(stored)
        return stored

    def _put(self, row: PortalRow) -> None:
        self._by_key[PortalKey(row.network, row.chat, row.receiver)] = row
        self._by_id[row.id] = row
        if row.options.get(_MAKING):
            self._making.add(row.id)
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
