"""What is known of a user: their identity, their devices, and how far each is trusted. Values and pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from bridge_core.api.ids import UserId
from bridge_core.crypto.keyobjects import PeerDevice
from bridge_core.crypto.policy import Trust

__all__ = ["UserKeys", "packed", "past", "trust_of", "unpacked"]


@dataclass(frozen=True, slots=True)
class UserKeys:
    """What is known of a user. Public keys in base64, empty where there is none."""

    user: UserId
    master: str = ""
    pinned: str = ""
    """The first master key that was seen, or the one an admin has pinned since."""
    confirmed: str = ""
    """The master key that an admin has confirmed."""
    self_signing: str = ""
    devices: Mapping[str, PeerDevice] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)
    """Devices that are no longer there, with their signing and identity keys: they may come back with no others.

    The identity key is missing where an earlier version wrote it.
    """
    blocked: frozenset[str] = frozenset()

    def by_key(self, curve25519: str) -> PeerDevice | None:
        """The device with this identity key."""
        return next((one for one in self.devices.values() if one.curve25519 == curve25519), None)

    def was_listed(self, curve25519: str, ed25519: str = "") -> str:
        """The name of a device with this identity key (and signing key) that is no longer there; empty: none known."""
        for name, keys in self.gone.items():
            signing, _, identity = keys.partition(" ")
            if identity == curve25519 and ed25519 in ("", signing):
                return name
        return ""


def past(ed25519: str, curve25519: str) -> str:
    """What is kept of a device that is gone; the signing key comes first, up to a space."""
    return f"{ed25519} {curve25519}"


def trust_of(keys: UserKeys, device: PeerDevice | None) -> Trust:
    """How far a device is trusted. None: one that its owner does not have."""
    if device is None:
        return Trust.UNKNOWN
    if device.id in keys.blocked:
        return Trust.BLOCKED
    if not keys.master or not keys.self_signing:
        return Trust.UNSIGNED if keys.pinned else Trust.NO_IDENTITY
    if not device.signed:
        return Trust.UNSIGNED
    if keys.confirmed:
        # Who was compared with their owner and has become another is believed less than who never was (MSC4153).
        return Trust.VERIFIED if keys.confirmed == keys.master else Trust.UNSIGNED
    return Trust.PINNED if keys.pinned == keys.master else Trust.CROSS_SIGNED


def packed(keys: UserKeys) -> bytes:
    """As it is stored."""
    devices = {name: [one.curve25519, one.ed25519, one.signed, one.seen] for name, one in keys.devices.items()}
    return orjson.dumps(
        {
            "master": keys.master,
            "pinned": keys.pinned,
            "confirmed": keys.confirmed,
            "self_signing": keys.self_signing,
            "devices": devices,
            "gone": keys.gone,
            "blocked": sorted(keys.blocked),
        }
    )


def unpacked(user: UserId, value: bytes) -> UserKeys | None:
    """What `packed` made; None where it cannot be read."""
    try:
        found = orjson.loads(value)
        return UserKeys(
            user,
            found["master"],
            found["pinned"],
            found["confirmed"],
            found["self_signing"],
            {name: PeerDevice(user, name, *parts) for name, parts in found["devices"].items()},
            found["gone"],
            frozenset(found["blocked"]),
        )
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
        return None
