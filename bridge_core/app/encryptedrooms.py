"""Puts together what people of encrypted rooms are told, and what they may count on from their first message."""

from collections.abc import Mapping, Sequence

from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.app.engine import Engine
from bridge_core.engine.announcements import EncryptionAnnouncements
from bridge_core.engine.encryption import RoomEncryption, RoomPolicy
from bridge_core.engine.secrecy import ENCRYPTION
from bridge_core.engine.store_ports import KeyValues


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

    told = EncryptionAnnouncements(rooms, engine.rooms, engine.portals, policies, name, engine.status, kv, bot, admins)
    engine.on_encryption.append(told.changed)  # what was known before
    engine.on_encryption.append(lambda event: rooms.changed(RoomId(event["room_id"]), event["content"]))
    engine.room_events.on(ENCRYPTION, told.became)
    engine.rooms.when_bridged(told.bridged)
    engine.rooms.remark_by(told.remark)
    rooms.made_so = told.announce
