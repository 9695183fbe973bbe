"""Matrix users of the bridge and their logins."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from bridge_core.api.ids import LoginId, NetworkId, RoomId, UserId
from bridge_core.api.network import Login
from bridge_core.engine.store_ports import UserRow
from bridge_core.store.reader import Reader
from bridge_core.store.seal import Seal
from bridge_core.store.tables import bridge_user, login
from bridge_core.store.work import Work
from bridge_core.store.writer import Writer


class UserStore:
    """Implements `Users`. Uncached: the engine holds the users at work. Settings and secrets of logins are sealed."""

    def __init__(self, writer: Writer, reader: Reader, seal: Seal) -> None:
        self._writer = writer
        self._reader = reader
        self._seal = seal

    async def get(self, user: UserId) -> UserRow | None:
        """A user, if known."""
        return await self._reader.run(lambda connection: _user(connection, bridge_user.c.id == user))

    async def with_rooms(self) -> list[UserRow]:
        """All users that have a management room."""
        return await self._reader.run(
            lambda connection: [
                UserRow(UserId(row.id), RoomId(row.management_room), orjson.loads(row.options))
                for row in connection.execute(
                    select(bridge_user).where(bridge_user.c.management_room.is_not(None)).order_by(bridge_user.c.id)
                )
            ]
        )

    async def by_management_room(self, room: RoomId) -> UserRow | None:
        """Whose management room it is."""
        return await self._reader.run(lambda connection: _user(connection, bridge_user.c.management_room == room))

    async def change(self, user: UserId, change: Callable[[UserRow], UserRow]) -> None:
        """As `Users.change`; return when committed."""
        await self._writer.run(lambda connection: _change(connection, user, change))

    async def logins(self, network: NetworkId) -> list[Login]:
        """All logins to a network."""
        columns = login.c
        rows = await self._reader.run(
            lambda connection: connection.execute(
                select(columns.id, columns.user_id, columns.name, columns.provided, columns.settings)
                .where(columns.network == network)
                .order_by(columns.id)
            ).all()
        )
        return [
            Login(
                LoginId(id_),
                UserId(user),
                name,
                bool(provided),
                *_kept(self._seal.open_named(_name(network, id_), settings)),
            )
            for id_, user, name, provided, settings in rows
        ]

    async def save_login(self, network: NetworkId, login: Login) -> None:
        """Insert or replace; return when committed."""
        kept = orjson.dumps([dict(login.settings), dict(login.secrets)])
        settings = self._seal.named(_name(network, login.id), kept)
        work = Work()
        work.add("login_put", (network, login.id, login.user, login.name, int(login.provided), settings))
        await self._writer.commit(work)

    async def delete_login(self, network: NetworkId, login: LoginId) -> None:
        """Remove; return when committed."""
        await self._writer.run(lambda connection: _delete(connection, network, login))


def _name(network: str, login: str) -> str:
    return f"login\0{network}\0{login}"


def _kept(value: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Settings and secrets; before there were secrets, only the settings were stored."""
    stored = orjson.loads(value)
    settings, secrets = stored if isinstance(stored, list) else (stored, {})
    return settings, secrets


def _user(connection: Connection, which: ColumnElement[bool]) -> UserRow | None:
    columns = bridge_user.c
    row = connection.execute(select(columns.id, columns.management_room, columns.options).where(which)).first()
    return UserRow(UserId(row[0]), RoomId(row[1]) if row[1] else None, orjson.loads(row[2])) if row else None


def _change(connection: Connection, user: UserId, change: Callable[[UserRow], UserRow]) -> None:
    known = _user(connection, bridge_user.c.id == user)
    row = change(known or UserRow(user))
    values = {"management_room": row.management_room, "options": orjson.dumps(dict(row.options)).decode()}
    if known is None:
        connection.execute(insert(bridge_user).values(id=user, **values))
    else:
        connection.execute(update(bridge_user).where(bridge_user.c.id == user).values(**values))


def _delete(connection: Connection, network: str, id_: str) -> None:
    connection.execute(delete(login).where((login.c.network == network) & (login.c.id == id_)))
