"""Portals and their rooms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from bridge_core.api.ids import ChatId, LoginId, NetworkId, RoomId
from bridge_core.engine.store_ports import PortalRow
from bridge_core.store import meta
from bridge_core.store.messages import MessageStore
from bridge_core.store.reader import Reader
from bridge_core.store.tables import message, portal, portal_room
from bridge_core.store.writer import Writer

_IDS = "portal_ids"
"""The fact that tells the highest id ever given out."""


class PortalStore:
    """Implements `Portals`. Uncached: the engine holds all of them."""

    def __init__(self, writer: Writer, reader: Reader, messages: MessageStore) -> None:
        self._writer = writer
        self._reader = reader
        self._messages = messages

    async def all(self) -> list[PortalRow]:
        """Every portal."""
        return await self._reader.run(_all)

    async def save(self, row: PortalRow) -> PortalRow:
        """Insert (id 0: one never used before is given; the chat's own row when it has one) or replace; as stored."""
        return await self._writer.run(lambda connection: _save(connection, row))

    async def delete(self, portal: int) -> None:
        """Remove the portal, its rooms and its message map."""
        await self._writer.run(lambda connection: _delete(connection, portal))
        self._messages.forget()


def _all(connection: Connection) -> list[PortalRow]:
    rooms: dict[int, list[RoomId]] = defaultdict(list)
    for id_, room in connection.execute(
        select(portal_room.c.portal, portal_room.c.room).order_by(portal_room.c.portal, portal_room.c.position)
    ):
        rooms[id_].append(RoomId(room))
    return _found(connection, rooms)


def _of_chat(connection: Connection, row: PortalRow) -> PortalRow | None:
    columns = portal.c
    chat = (columns.network == row.network) & (columns.chat == row.chat) & (columns.receiver == (row.receiver or ""))
    id_ = connection.scalar(select(columns.id).where(chat))
    if id_ is None:
        return None
    own = select(portal_room.c.room).where(portal_room.c.portal == id_).order_by(portal_room.c.position)
    return _found(connection, {id_: [RoomId(room) for room in connection.scalars(own)]}, columns.id == id_)[0]


def _found(
    connection: Connection, rooms: Mapping[int, Sequence[RoomId]], *which: ColumnElement[bool]
) -> list[PortalRow]:
    columns = portal.c
    found = connection.execute(
        select(
            columns.id,
            columns.network,
            columns.chat,
            columns.receiver,
            columns.name,
            columns.topic,
            columns.options,
        )
        .where(*which)
        .order_by(columns.id)
    )
    return [
        PortalRow(
            id_,
            NetworkId(network),
            ChatId(chat),
            LoginId(receiver) if receiver else None,
            tuple(rooms.get(id_, ())),
            name,
            topic,
            orjson.loads(options),
        )
        for id_, network, chat, receiver, name, topic, options in found
    ]


def _save(connection: Connection, row: PortalRow) -> PortalRow:
    if row.id == 0:
        known = _of_chat(connection, row)
        if known is not None:  # two callers at once: both get the row of the first
            return known
        row = replace(row, id=_new_id(connection))
    else:
        connection.execute(delete(portal).where(portal.c.id == row.id))
        connection.execute(delete(portal_room).where(portal_room.c.portal == row.id))
    connection.execute(
        insert(portal).values(
            id=row.id,
            network=row.network,
            chat=row.chat,
            receiver=row.receiver or "",
            name=row.name,
            topic=row.topic,
            options=orjson.dumps(dict(row.options)).decode(),
        )
    )
    for position, room in enumerate(row.rooms):
        connection.execute(insert(portal_room).values(portal=row.id, position=position, room=room))
    return row


def _new_id(connection: Connection) -> int:
    """Ids live on in the journal when their portal is gone: the next chat must not get what was meant for it."""
    highest = connection.scalar(select(func.max(portal.c.id))) or 0
    id_ = max(int(meta.get(connection, _IDS) or 0), highest) + 1
    meta.put(connection, _IDS, str(id_))
    return id_


def _delete(connection: Connection, id_: int) -> None:
    if int(meta.get(connection, _IDS) or 0) < id_:  # made before ids were noted
        meta.put(connection, _IDS, str(id_))
    connection.execute(delete(portal).where(portal.c.id == id_))
    connection.execute(delete(portal_room).where(portal_room.c.portal == id_))
    connection.execute(delete(message).where(message.c.portal == id_))
