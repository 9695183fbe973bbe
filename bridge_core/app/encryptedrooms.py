"""Puts together what people of encrypted rooms are told, and what they may count on from their first message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.app.engine import Engine
from bridge_core.crypto.ports import Owner
from bridge_core.engine.announcements import EncryptionAnnouncements
from bridge_core.engine.encryption import RoomEncryption, RoomPolicy
from bridge_core.engine.firstreaders import FirstReaders
from bridge_core.engine.permissions import Permission
from bridge_core.engine.roomadmins import RoomAdmins
from bridge_core.engine.secrecy import ENCRYPTION
from bridge_core.engine.store_ports import KeyValues, Users
from bridge_core.matrix.side import AppserviceSide
from bridge_core.observe.tasks import TaskOwner

if TYPE_CHECKING:
    from bridge_core.crypto.accounts import Accounts


def announce(
    engine: Engine,
    rooms: RoomEncryption,
    policies: Mapping[NetworkId, RoomPolicy],
    kv: KeyValues,
    bot: UserId,
    admins: Sequence[UserId],
) -> None:
    """Have rooms told that they are encrypted, and `rooms` of what is set there."""

    def name(network: NetworkId) -> str:
        found = engine.networks.get(network)
        return found.meta.name if found is not None else network

    told = EncryptionAnnouncements(
        rooms, engine.rooms, engine.portals, policies, name, engine.status, kv, bot, admins, engine.networks.opens_files
    )
    engine.on_encryption.append(told.changed)  # what was known before
    engine.on_encryption.append(lambda event: rooms.changed(RoomId(event["room_id"]), event["content"]))
    engine.room_events.on(ENCRYPTION, told.became)
    engine.rooms.when_bridged(told.bridged)
    engine.rooms.remark_by(told.remark)
    rooms.made_so = told.announce
    upgrades = engine.room_features.upgrades
    upgrades.unlike = rooms.loses
    engine.room_events.on(ENCRYPTION, upgrades.changed)


def room_admins(engine: Engine, matrix: AppserviceSide, users: Users) -> RoomAdmins:
    """Who looks after the engine's rooms."""
    return RoomAdmins(engine.portals, matrix, engine.members, engine.names.is_ours, users, engine.permissions)


class _Keys:
    """The keys of our users, each by their one device; the bot's alone where it encrypts for all."""

    def __init__(self, accounts: Accounts, matrix: AppserviceSide, *, per_ghost: bool) -> None:
        self._accounts = accounts
        self._matrix = matrix
        self._per_ghost = per_ghost

    def has(self, user: UserId) -> bool:
        return self._accounts.has(Owner(user, self._matrix.bot_device.device))

    async def ready(self, user: UserId) -> None:
        if self._per_ghost and await self._matrix.ensure_registered(user) is not None:
            await self._accounts.ready(Owner(user, self._matrix.bot_device.device))


def read_from_the_first(
    engine: Engine,
    rooms: RoomEncryption,
    accounts: Accounts,
    matrix: AppserviceSide,
    clock: Clock,
    tasks: TaskOwner,
    *,
    per_ghost: bool,
) -> None:
    """Have somebody of ours read in encrypted rooms from their first message on."""
    first = FirstReaders(
        matrix,
        engine.ghosts,
        engine.portals,
        engine.names.is_ours,
        lambda user: engine.permissions.of(user) >= Permission.USER,
        rooms.encrypted,
        _Keys(accounts, matrix, per_ghost=per_ghost),
        clock,
        tasks,
    )
    engine.on_own_member.append(first.member)
    engine.on_encryption.append(first.encryption)
    engine.decrypting.early = first.early
    engine.room_events.coming = first.coming
