"""When a room's sessions are replaced, and who has got the key of one. Values and pure functions.

Source: client-server API, "m.room.encryption", "m.room_key.withheld".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from bridge_core.api.ids import UserId
from bridge_core.crypto.errors import DamagedKeyError
from bridge_core.crypto.keyobjects import PeerDevice
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.rows import SharesRow

__all__ = ["RoomSettings", "Share", "Skipped", "has_lost", "shares_in"]

_LEAST: Final = 60_000


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """When a room's sessions are replaced: after so many messages, after so many milliseconds."""

    messages: int
    after: int

    @classmethod
    def of(cls, content: Mapping[str, Any], policy: Policy) -> "RoomSettings":
        """From an m.room.encryption event's content; what it leaves open, or sets beyond reason, is the policy's."""
        messages, after = content.get("rotation_period_msgs"), content.get("rotation_period_ms")
        return cls(
            min(messages, 10_000) if type(messages) is int and messages > 0 else policy.rotate_messages,
            # Who has got a session's key is remembered for `forget`: it must not be spoken in for longer.
            max(min(after, policy.forget), _LEAST) if type(after) is int and after > 0 else policy.rotate_after,
        )


class Share(NamedTuple):
    """What a device has of a session: its key from index `since` on, or (-1) nothing, because of `code`."""

    key: str
    since: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A device that does not get the keys of a room, and how far it is trusted.

    `keyless`: it is trusted enough, and has no one-time key that it could be reached by.
    """

    user: UserId
    device: str
    trust: Trust
    keyless: bool = False


def shares_in(row: SharesRow) -> dict[tuple[UserId, str], Share]:
    """What a stored part says. Raises DamagedKeyError."""
    try:
        return {(UserId(user), device): Share(*rest) for user, device, *rest in orjson.loads(row.value)}
    except (ValueError, TypeError) as error:
        raise DamagedKeyError("a stored list of shares cannot be read") from error


def has_lost(shares: Mapping[tuple[UserId, str], Share], wanted: Mapping[tuple[UserId, str], PeerDevice]) -> bool:
    """Whether somebody has the key who is not to read on: gone, blocked, or another device under the same name."""
    for place, share in shares.items():
        if share.since >= 0 and ((device := wanted.get(place)) is None or device.curve25519 != share.key):
            return True
    return False
