"""What encryption needs of the store and of the homeserver. Implemented in `store` and `matrix`.

Rows are what is committed together; each says by its class what it does. Values named `value` are secret: the store
seals them with the configured secret for the row they are in, and no `repr` shows them. Names and keys are text
without NUL, as Matrix has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.ports import Write

__all__ = [
    "AccountGone",
    "AccountRow",
    "Claimed",
    "CryptoStore",
    "InboundGone",
    "InboundRow",
    "InboundUsed",
    "IndexRow",
    "KeyServer",
    "KeysWanted",
    "OlmSessionGone",
    "OlmSessionRow",
    "OutboundGone",
    "OutboundRow",
    "Outdated",
    "Owner",
    "Queried",
    "RequestGone",
    "RequestRow",
    "RoomRow",
    "Row",
    "SecretRow",
    "SharesRow",
    "ToDeviceDone",
    "ToDeviceRow",
    "TrackedRow",
    "Untracked",
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
class AccountGone:
    """Removes the account, with its Olm sessions and its outbound sessions."""

    owner: Owner


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
class Untracked:
    """Removes a tracked user."""

    user: UserId


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
class OutboundGone:
    """Removes a device's outbound session of a room."""

    owner: Owner
    room: RoomId


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
class InboundGone:
    """Removes an inbound session, with its used indexes and its shares."""

    room: RoomId
    session: str
    sender_key: str


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
    | AccountGone
    | TrackedRow
    | Outdated
    | Untracked
    | OlmSessionRow
    | OlmSessionGone
    | OutboundRow
    | OutboundGone
    | SharesRow
    | InboundRow
    | InboundUsed
    | InboundGone
    | IndexRow
    | WithheldRow
    | ToDeviceRow
    | ToDeviceDone
    | RequestRow
    | RequestGone
    | SecretRow
    | RoomRow
)


class CryptoStore(Protocol):
    """Keeps keys. One commit holds all rows it was given, in their order, or none.

    Every read sees all that was committed and all that was handed to `later`. Raises TransientError while the database
    cannot be used, UnreadableError for what does not open with the configured secret.
    """

    @property
    def pickle_key(self) -> bytes:
        """32 bytes derived from the configured secret: what vodozemac encrypts its pickles with."""

    async def commit(self, rows: Sequence[Row]) -> None:
        """Return when all rows are committed."""

    def later(self, rows: Sequence[Row]) -> None:
        """Commit soon, not after what is settled in the journal later on. Never blocks."""

    def writes(self, rows: Sequence[Row]) -> tuple[Write, ...]:
        """The rows as writes of the journal, to be committed together with something else. Does not block."""

    async def account(self, owner: Owner) -> AccountRow | None:
        """A device's account."""

    async def owners(self) -> list[Owner]:
        """All devices of ours that have an account, in any order."""

    async def wanting(self, limit: int) -> list[Owner]:
        """Devices of ours whose one-time keys are marked as wanted."""

    async def tracked(self, users: Sequence[UserId]) -> list[TrackedRow]:
        """Those of the users that are tracked, in any order; in one statement for hundreds of users."""

    async def olm_sessions(self, owner: Owner, peers: Sequence[str]) -> list[OlmSessionRow]:
        """All Olm sessions with devices that have these identity keys; in one statement for hundreds of keys."""

    async def outbound(self, owner: Owner, room: RoomId) -> OutboundRow | None:
        """The outbound session of a device in a room."""

    async def shares(self, room: RoomId, session: str) -> list[SharesRow]:
        """Who has got a session's key, by part."""

    async def inbound(self, room: RoomId, session: str) -> list[InboundRow]:
        """The inbound sessions with this id: as many as there are devices that claim it, mostly one."""

    async def highest_index(self, room: RoomId, session: str, sender_key: str) -> int:
        """The highest index that was used; -1 when none was."""

    async def index(self, room: RoomId, session: str, sender_key: str, index: int) -> IndexRow | None:
        """Which event used an index."""

    async def withheld(self, room: RoomId, session: str) -> list[WithheldRow]:
        """Who will not give us a session's key."""

    async def last_to_device(self) -> int:
        """The highest id of a to-device message so far; 0 when there was none."""

    async def to_device(self, after: int, limit: int) -> list[ToDeviceRow]:
        """To-device messages that are not handled, with ids above `after`, in order."""

    async def requests(self, room: RoomId, session: str) -> list[RequestRow]:
        """Our open requests for a session's key."""

    async def secret(self, name: str) -> bytes | None:
        """A named secret."""

    async def rooms(self) -> list[RoomRow]:
        """All encrypted rooms."""

    async def sweep(self, *, received_before: int, unused_before: int, forgotten_before: int) -> dict[str, int]:
        """Remove, in small pieces, what is too old; return how many rows of what (`inbound`, `to_device`, ...).

        Inbound sessions received before `received_before` or used last before `unused_before` (0: none), with their
        indexes and shares; shares, handled to-device messages, withheld notes and requests older than
        `forgotten_before`.
        """


@dataclass(frozen=True, slots=True)
class Queried:
    """The answer of /keys/query as it came: objects by user. `failed` are servers that did not answer."""

    devices: Mapping[str, Any]
    masters: Mapping[str, Any]
    self_signing: Mapping[str, Any]
    user_signing: Mapping[str, Any]
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer of /keys/claim as it came: user to device to key id to key. `failed` are silent servers."""

    keys: Mapping[str, Any]
    failed: frozenset[str] = frozenset()


class KeyServer(Protocol):
    """The homeserver's key endpoints, each call as one device of ours (user_id and device_id).

    Errors: TransientError (no answer, 5xx), RateLimitedError (429), MatrixRejectedError. Nothing is retried inside;
    every call waits for a bounded time.
    """

    async def upload_keys(self, owner: Owner, body: Mapping[str, Any]) -> dict[str, int]:
        """POST /keys/upload (device_keys, one_time_keys, fallback_keys); return the counts by algorithm."""

    async def query_keys(self, owner: Owner, users: Sequence[UserId]) -> Queried:
        """POST /keys/query for all devices of the users."""

    async def claim_keys(self, owner: Owner, wanted: Mapping[UserId, Mapping[str, str]]) -> Claimed:
        """POST /keys/claim: user to device to algorithm."""

    async def send_to_device(
        self, owner: Owner, event_type: str, txn: str, messages: Mapping[UserId, Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """PUT /sendToDevice: user to device (or `*`) to content. The same `txn` again is sent once."""

    async def upload_cross_signing(self, owner: Owner, body: Mapping[str, Any]) -> None:
        """POST /keys/device_signing/upload (master_key, self_signing_key, user_signing_key), as an appservice user."""

    async def upload_signatures(self, owner: Owner, body: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """POST /keys/signatures/upload: user to device id or key to signed object; return the failures."""
