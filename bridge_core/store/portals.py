"""Portals and their rooms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import orjson
from sqlalchemy import Connection, delete, func, insert, select

from bridge_core.api.ids import ChatId, LoginId, NetworkId, RoomId
from bridge_core.engine.ports import PortalRow
from bridge_core.store.messages import MessageStore
from bridge_core.store.reader import Reader
from bridge_core.store.tables import message, portal, portal_room
from bridge_core.store.writer import Writer


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
        """Insert (id 0: a new id is given) or replace; return the row as stored."""
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
        ).order_by(columns.id)
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
        row = replace(row, id=(connection.scalar(select(func.max(portal.c.id))) or 0) + 1)
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


def _delete(connection: Connection, id_: int) -> None:
    connection.execute(delete(portal).where(portal.c.id == id_))
    connection.execute(delete(portal_room).where(portal_room.c.portal == id_))
    connection.execute(delete(message).where(message.c.portal == id_))
