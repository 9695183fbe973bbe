"""The rows that encryption keeps. Each says by its class what it does in a commit; those of one commit go together.

Values named `value` are secret: the store seals them with the configured secret for the row they are in, and no `repr`
shows them. Names and keys are text without NUL, as Matrix has them.
"""

from dataclasses import dataclass, field

from bridge_core.api.ids import EventId, RoomId, UserId

__all__ = [
    "AccountRow",
    "InboundRow",
    "InboundSaved",
    "InboundUsed",
    "IndexRow",
    "KeysWanted",
    "OlmSessionGone",
    "OlmSessionRow",
    "OutboundRow",
    "Outdated",
    "Owner",
    "RequestGone",
    "RequestRow",
    "RoomRow",
    "Row",
    "SecretRow",
    "SharesRow",
    "ToDeviceDone",
    "ToDeviceRow",
    "TrackedRow",
    "Used",
    "WithheldRow",
]


@dataclass(frozen=True, slots=True)
class Owner:
    """A device: of ours where it acts, else of anybody."""

    user: UserId
    device: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Puts a device's account (insert or replace). `wanted` is set by `KeysWanted` only; False in a new row."""

    owner: Owner
    value: bytes = field(repr=False)
    wanted: bool = False
    """Read only: the put leaves it as it is."""


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """Marks a device whose one-time keys may be running out, or takes the mark away. No row, no effect."""

    owner: Owner
    wanted: bool


@dataclass(frozen=True, slots=True)
class TrackedRow:
    """Puts what is known of a user's devices. They are to be asked for when `outdated` is above `queried`.

    The put stores `value` and `queried`; `outdated` only where there is no row yet.
    """

    user: UserId
    value: bytes = field(repr=False)
    queried: int
    outdated: int = 1


@dataclass(frozen=True, slots=True)
class Outdated:
    """Raises the mark `outdated` of a tracked user to `mark` (never lowers it). No row, no effect."""

    user: UserId
    mark: int


@dataclass(frozen=True, slots=True)
class OlmSessionRow:
    """Puts an Olm session between a device of ours and the one with the identity key `peer`. Times: ms since 1970.

    `used_at` is when it last decrypted (or was made).
    """

    owner: Owner
    peer: str
    session: str
    value: bytes = field(repr=False)
    created_at: int
    used_at: int


@dataclass(frozen=True, slots=True)
class OlmSessionGone:
    """Removes an Olm session."""

    owner: Owner
    peer: str
    session: str


@dataclass(frozen=True, slots=True)
class OutboundRow:
    """Puts the Megolm session in which a device of ours speaks in a room: one per device and room, replaced whole."""

    owner: Owner
    room: RoomId
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SharesRow:
    """Puts one part of the list of devices that have got the key of one of our sessions, or were refused it."""

    room: RoomId
    session: str
    part: int
    value: bytes = field(repr=False)
    at: int


@dataclass(frozen=True, slots=True)
class InboundRow:
    """Puts a Megolm session that somebody speaks in: by room, session and the identity key of the device it is of.

    `sender` is the user it is of. Times are ms since 1970.
    """

    room: RoomId
    session: str
    sender_key: str
    sender: UserId
    value: bytes = field(repr=False)
    received_at: int
    used_at: int


@dataclass(frozen=True, slots=True)
class InboundUsed:
    """Sets when an inbound session last decrypted. No row, no effect."""

    room: RoomId
    session: str
    sender_key: str
    at: int


@dataclass(frozen=True, slots=True)
class InboundSaved:
    """Notes that the row which was received at `received_at` is in the backup of this generation.

    No such row, or another one put in its place meanwhile, no effect. A put takes the note away.
    """

    room: RoomId
    session: str
    sender_key: str
    received_at: int
    generation: int


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Inserts which event has used an index of an inbound session; a row that is there stays as it is."""

    room: RoomId
    session: str
    sender_key: str
    index: int
    event: EventId
    ts: int


@dataclass(frozen=True, slots=True)
class Used:
    """Read only: how far an inbound session was used. `highest` is -1 where it was not.

    `floor`: the highest index that was used when the session was swept, with its event. Which events used those before
    it is not known any more.
    """

    highest: int
    floor: IndexRow | None = None


@dataclass(frozen=True, slots=True)
class WithheldRow:
    """Puts why a device will not give us a session's key (the code of m.room_key.withheld)."""

    room: RoomId
    session: str
    sender: UserId
    code: str
    at: int


@dataclass(frozen=True, slots=True)
class ToDeviceRow:
    """Inserts a to-device message to be handled, unless one with its `digest` is there, handled or not.

    `id` grows with the order of arrival and is given by the machine.
    """

    id: int
    digest: bytes
    value: bytes = field(repr=False)
    at: int


@dataclass(frozen=True, slots=True)
class ToDeviceDone:
    """Erases the value of a to-device message that was handled; its digest stays until it is swept."""

    id: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """Puts a request for a session's key that was sent and not answered; `request` is its id on the wire."""

    request: str
    room: RoomId
    session: str
    value: bytes = field(repr=False)
    at: int


@dataclass(frozen=True, slots=True)
class RequestGone:
    """Removes a request."""

    request: str


@dataclass(frozen=True, slots=True)
class SecretRow:
    """Puts a named secret (cross-signing seeds, the recovery key); None removes it."""

    name: str
    value: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoomRow:
    """Puts how a room is encrypted. Never removed while the bridge has the room: encryption is not turned off."""

    room: RoomId
    value: bytes = field(repr=False)


Row = (
    AccountRow
    | KeysWanted
    | TrackedRow
    | Outdated
    | OlmSessionRow
    | OlmSessionGone
    | OutboundRow
    | SharesRow
    | InboundRow
    | InboundUsed
    | InboundSaved
    | IndexRow
    | WithheldRow
    | ToDeviceRow
    | ToDeviceDone
    | RequestRow
    | RequestGone
    | SecretRow
    | RoomRow
)
