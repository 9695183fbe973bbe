"""What encryption may take and whom it trusts. Values of a configuration; nothing here acts."""

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Policy", "Trust"]

_DAY = 24 * 3600 * 1000


class Trust(IntEnum):
    """How far a device is known to be its owner's. Higher is more."""

    BLOCKED = 0
    """An admin has refused it."""
    MISMATCHED = 5
    """It is another user's: so ghosts of other bridges look, which all speak by their bot's device."""
    UNKNOWN = 10
    """Its owner's homeserver does not list it (any more), or lists other keys."""
    UNSIGNED = 20
    """Its owner has a cross-signing identity, and has not signed it: anybody with the account's token can add one."""
    NO_IDENTITY = 30
    """Its owner has no cross-signing identity at all, so that nothing can be signed."""
    CROSS_SIGNED = 40
    """Signed by its owner's identity as it is now, which is not the one that was seen first."""
    PINNED = 50
    """Signed by the identity that its owner had when first seen."""
    VERIFIED = 60
    """Signed by an identity that an admin has confirmed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Times are milliseconds unless a name says otherwise.

    `send` is CROSS_SIGNED by default as MSC4153 (specification v1.18, "Recommended client behaviour") has it: devices
    that are not signed by their owner get no keys, those of owners without any identity included. NO_IDENTITY lets the
    latter in, for rooms with clients that know no cross-signing.
    """

    send: Trust = Trust.CROSS_SIGNED
    receive: Trust = Trust.UNSIGNED
    share: Trust = Trust.CROSS_SIGNED
    per_ghost: bool = True
    """Each ghost speaks by its own device; False: all speak by the bot's, which clients warn of."""
    cross_signing: bool = True
    bot_one_time_keys: int = 50
    ghost_one_time_keys: int = 10
    """Each costs memory while its account is loaded; other devices need one per session, and there is a fallback."""
    fallback_min_age: int = 3600 * 1000
    loaded_accounts: int = 256
    loaded_outbound: int = 1024
    loaded_inbound: int = 2048
    loaded_users: int = 10_000
    peer_sessions: int = 512
    """Olm sessions kept in memory per account."""
    sessions_per_peer: int = 5
    devices_per_user: int = 200
    query_batch: int = 250
    claim_batch: int = 250
    share_batch: int = 250
    rotate_messages: int = 100
    rotate_after: int = 7 * _DAY
    reserve: int = 32
    """Indexes of an outbound session that one commit lets it use."""
    unwedge_after: int = 3600 * 1000
    no_key_retry: int = 15 * 60 * 1000
    """A device without one-time keys is asked for one again after this time."""
    max_age: int = 180 * _DAY
    """Sessions of others are removed so long after they came (0: never): older messages cannot be read any more."""
    max_unused: int = 90 * _DAY
    """The same after they were last needed."""
    forget: int = 7 * _DAY
    """When handled to-device messages, notes of withheld keys and open requests are forgotten."""
    backup: bool = False
    """The sessions we can read in are put into a backup at the homeserver."""
    backup_batch: int = 100
    backup_pause: int = 1000
    """Between two batches."""
    backup_gather: int = 5000
    """How long more is waited for once there is something to save."""
