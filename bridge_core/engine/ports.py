"""What the engine needs from the layers around it: the journal, the stores, the Matrix side.

The Protocols here are implemented in `journal`, `store` and `matrix`. Nothing here is bound to one process or one
kind of database: lanes are named by strings, ids are integers given out by the journal, payloads are bytes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, EventId, LoginId, MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.network import Accepted, Login


class Direction(IntEnum):
    """Which way an entry goes."""

    TO_NETWORK = 0
    TO_MATRIX = 1


class DeliveryState(IntEnum):
    """Where a delivery is. READY: its final body is stored, trying again is safe. ATTEMPTED: a try was recorded."""

    READY = 0
    ATTEMPTED = 1
    DEAD = 2


class Outcome(StrEnum):
    """How a delivery, or an entry without deliveries (`IGNORED`), ended."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    DEAD = "dead"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Write:
    """One row for one named statement of the store, to be committed together with something else."""

    op: str
    row: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class NewEntry:
    """Something received. `dedupe` is a digest of who sent what where, or None where there is no identity."""

    direction: Direction
    network: str
    lane: str
    payload: bytes
    received_at: int
    dedupe: bytes | None = None


@dataclass(slots=True)
class Delivery:
    """One way of an entry to one target. `body` is the final request (sealed at rest); `saved` an adapter's state."""

    id: int
    entry: int
    network: str
    direction: Direction
    target: str
    state: DeliveryState
    body: bytes
    attempts: int = 0
    first_attempt_at: int = 0
    saved: bytes | None = None
    request: Any = None
    """What `body` says, where this process still holds it; never stored."""


@dataclass(slots=True)
class Entry:
    """An entry read back, with the deliveries that have not ended."""

    id: int
    direction: Direction
    network: str
    lane: str
    payload: bytes
    version: int
    received_at: int
    attempts: int = 0
    next_attempt_at: int = 0
    routed: bool = False
    deliveries: list[Delivery] = field(default_factory=list)
    unsettled: int = 0
    """How many of its deliveries have not ended, those in flight included. Kept by the lanes and their handlers."""
    event: Any = None
    """What `payload` says, where this process still holds it; never stored."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a delivery (or of an entry without any), with what must be committed in the same commit.

    `entry_done` means that this was the entry's last open delivery. `reason` is for the admin; no message content.
    """

    entry: int
    network: str
    direction: Direction
    outcome: Outcome
    delivery: int | None = None
    reason: str = ""
    writes: tuple[Write, ...] = ()
    entry_done: bool = True


@dataclass(frozen=True, slots=True)
class OpenLane:
    """A lane with entries that have not ended, found at start."""

    direction: Direction
    lane: str
    network: str
    pending: int


class Journal(Protocol):
    """The durable lanes. Ids grow with the order of acceptance; a lane is handled in the order of its ids."""

    async def append(
        self, entries: Sequence[NewEntry], writes: Sequence[Write] = (), *, urgent: bool = False
    ) -> list[Accepted]:
        """Return when entries and writes are committed, one result per entry. Known `dedupe` keys are duplicates.

        Waits while the journal is full; raises BackpressureError when that lasts, TransientError when the database
        cannot be written now. In both cases nothing was stored. `urgent` is for what entries that end have to say:
        it is stored also when the journal is full, since these endings are what makes room.
        """

    def new_delivery_id(self) -> int:
        """The next delivery id. Does not block."""

    async def route(self, entry: Entry, deliveries: Sequence[Delivery]) -> None:
        """Commit the deliveries of one entry before the first of them is tried."""

    async def route_many(self, routed: Sequence[tuple[Entry, Sequence[Delivery]]]) -> None:
        """As `route`, for several entries in one commit."""

    async def attempt(self, deliveries: Sequence[Delivery]) -> None:
        """Commit that a further try at each is about to be made (state, attempts, saved as they stand)."""

    def settle(self, settlement: Settlement) -> None:
        """Commit soon (write-behind, at most about 10 ms later or with the next commit). Never blocks."""

    async def settled(self) -> None:
        """Return when everything settled so far is committed."""

    async def postpone(self, entry: Entry, error: str, next_attempt_at: int) -> None:
        """Commit that handling failed for now, why, and when to try again. `error` holds no message content."""

    async def open_lanes(self, direction: Direction | None = None) -> list[OpenLane]:
        """All lanes (of one direction, or both) with pending entries. They count as being handled from now on."""

    async def load(self, direction: Direction, lane: str, after: int, limit: int) -> list[Entry]:
        """Pending entries of the lane with ids above `after`, in order, with their open deliveries, unsealed."""


class Messages(Protocol):
    """Which event is which message. Several events (parts, rooms) may be one message."""

    def write(
        self,
        portal: int,
        message: MessageId,
        part: int,
        room: RoomId,
        event: EventId,
        sender: str,
        timestamp: int,
    ) -> Write:
        """The row that maps them, to be committed with a settlement. `sender` is a remote user id or a user id."""

    async def by_message(self, portal: int, message: MessageId) -> list["MessageRow"]:
        """All events of a message, by part."""

    async def by_event(self, room: RoomId, event: EventId) -> list["MessageRow"]:
        """What the event is in the portals of its room."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One event of one message."""

    portal: int
    message: MessageId
    part: int
    room: RoomId
    event: EventId
    sender: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class PortalRow:
    """A portal and its rooms. `options` is what else is set for it (plumbed by whom, filters, ...)."""

    id: int
    network: NetworkId
    chat: ChatId
    receiver: LoginId | None
    rooms: tuple[RoomId, ...]
    name: str = ""
    topic: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


class Portals(Protocol):
    """All portals: few columns each, held in memory by the engine (at most a few KiB each)."""

    async def all(self) -> list[PortalRow]:
        """Every portal."""

    async def save(self, row: PortalRow) -> PortalRow:
        """Insert or replace; return the row as stored.

        Id 0 inserts under an id that was never used before, or returns the row that the chat has already.
        """

    async def delete(self, portal: int) -> None:
        """Remove the portal, its rooms and its message map."""


@dataclass(frozen=True, slots=True)
class GhostRow:
    """A ghost as far as it exists on the homeserver. `name` and `avatar` are what was set there last."""

    network: NetworkId
    remote: RemoteUserId
    user: UserId
    device: str | None = None
    name: str | None = None
    avatar: str | None = None


class Ghosts(Protocol):
    """All ghosts ever made."""

    async def get(self, network: NetworkId, remote: RemoteUserId) -> GhostRow | None:
        """The ghost of a person."""

    async def by_user(self, user: UserId) -> GhostRow | None:
        """Whose ghost a Matrix user is."""

    async def save(self, row: GhostRow) -> None:
        """Insert or replace."""


class Memberships(Protocol):
    """Which of our own users are known to be joined where, so that no join is asked for twice."""

    async def joined(self, room: RoomId) -> frozenset[UserId]:
        """Our users joined to the room."""

    async def set(self, room: RoomId, user: UserId, joined: bool) -> None:
        """Remember."""


@dataclass(frozen=True, slots=True)
class UserRow:
    """A Matrix user known to the bridge."""

    id: UserId
    management_room: RoomId | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Users(Protocol):
    """Matrix users of the bridge and their logins."""

    async def get(self, user: UserId) -> UserRow | None: ...

    async def save(self, row: UserRow) -> None: ...

    async def by_management_room(self, room: RoomId) -> UserRow | None: ...

    async def logins(self, network: NetworkId) -> list[Login]: ...

    async def save_login(self, network: NetworkId, login: Login) -> None: ...

    async def delete_login(self, network: NetworkId, login: LoginId) -> None: ...


class KeyValues(Protocol):
    """Small named values; `sealed` namespaces are encrypted at rest."""

    async def get(self, namespace: str, key: str) -> bytes | None: ...

    async def put(self, namespace: str, key: str, value: bytes | None) -> None: ...

    async def items(self, namespace: str, prefix: str) -> dict[str, bytes]: ...

    def write(self, namespace: str, key: str, value: bytes | None) -> Write:
        """The row, to be committed with an append."""


class Transactions(Protocol):
    """The last transactions of the homeserver, by id and body digest."""

    async def seen(self, txn: str, digest: bytes) -> bool:
        """Whether this very transaction was committed. From memory but for the first calls after start."""

    def write(self, txn: str, digest: bytes, at: int) -> Write:
        """The row, to be committed with an append."""


class Stores(Protocol):
    """All stores: one writer per table."""

    @property
    def portals(self) -> Portals: ...

    @property
    def ghosts(self) -> Ghosts: ...

    @property
    def memberships(self) -> Memberships: ...

    @property
    def messages(self) -> Messages: ...

    @property
    def users(self) -> Users: ...

    @property
    def kv(self) -> KeyValues: ...

    @property
    def transactions(self) -> Transactions: ...


class MatrixRejectedError(RejectedError):
    """The homeserver will not do it: `errcode` and HTTP `status` say why."""

    def __init__(self, errcode: str, message: str, status: int) -> None:
        super().__init__(f"{errcode}: {message}")
        self.errcode = errcode
        self.status = status


class TooLargeError(RejectedError):
    """A file is larger than is carried."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """One event to send, final: it is journalled before the first try and sent verbatim each time.

    `redacts` makes it a redaction of that event. `body` is the content as JSON bytes and carries the id hash.
    `device` goes out as `?device_id=` so that Synapse remembers `txn` in its database for 24 h (measured).
    """

    room: RoomId
    type: str
    txn: str
    sender: UserId
    device: str | None
    body: bytes
    ts: int | None = None
    redacts: EventId | None = None


@dataclass(frozen=True, slots=True)
class RoomSpec:
    """How a portal's room is to be. `alias_localpart` is reserved for it and makes creation idempotent."""

    alias_localpart: str
    name: str
    topic: str = ""
    invite: tuple[UserId, ...] = ()
    public: bool = False
    join_rule: str = "invite"
    history_visibility: str = "shared"
    power_levels: Mapping[str, Any] = field(default_factory=dict)
    state: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    """Further state: (type, state key, content)."""


@dataclass(frozen=True, slots=True)
class MemberProfile:
    """How a member looks in a room."""

    name: str | None
    avatar: str | None


class MatrixSide(Protocol):
    """The homeserver, as the engine sees it. Errors are those of `bridge_core.api.errors` and MatrixRejectedError.

    Every call waits for a bounded time. Nothing is retried inside, but for reconnecting an idle connection before a
    byte was sent: the lanes decide about trying again.
    """

    @property
    def bot(self) -> UserId:
        """The appservice's own user."""

    @property
    def server_name(self) -> str:
        """The homeserver's name, the part of our user ids after the colon."""

    async def ensure_registered(self, user: UserId) -> str | None:
        """Register a ghost (idempotent) and give it its plain device; return the device id, None without them."""

    async def set_profile(self, user: UserId, name: str | None, avatar: str | None) -> None:
        """Set what is not None."""

    async def profile(self, user: UserId) -> MemberProfile:
        """The global profile."""

    async def join(self, room: RoomId, user: UserId) -> None:
        """Join one of our users, inviting it first as the bot where needed. Idempotent."""

    async def leave(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Leave. Idempotent."""

    async def invite(self, room: RoomId, user: UserId, inviter: UserId | None = None) -> None:
        """Invite as the bot or another user of ours. Already invited or joined is fine."""

    async def kick(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Kick as the bot. Not there is fine."""

    async def ensure_room(self, spec: RoomSpec) -> RoomId:
        """Create under the reserved alias; when that is in use look it up and bring its state to the desired one."""

    async def send(self, request: SendRequest, first_attempt_at: int) -> EventId:
        """Send exactly once. `first_attempt_at` (ms, 0: this is the first) decides whether to look before resending."""

    async def state(self, room: RoomId, event_type: str, key: str = "") -> dict[str, Any] | None:
        """One state event's content, None when it is not set."""

    async def set_state(
        self, room: RoomId, event_type: str, key: str, content: Mapping[str, Any], sender: UserId
    ) -> None:
        """Set one state event unless it already is so."""

    async def may_change(self, room: RoomId, user: UserId) -> bool:
        """Whether a user has the power to change the room's state (in room version 12 its creators always have)."""

    async def members(self, room: RoomId, viewer: UserId | None = None) -> dict[UserId, MemberProfile]:
        """All joined members, as the bot or another user of ours sees them."""

    async def event(self, room: RoomId, event: EventId, viewer: UserId) -> dict[str, Any] | None:
        """An event as `viewer` sees it (a user of ours, or the bot); None when there is none or it may not be seen."""

    async def typing(self, room: RoomId, user: UserId, milliseconds: int) -> None:
        """Set or (0) end typing."""

    async def read(self, room: RoomId, user: UserId, event: EventId) -> None:
        """Move the user's read receipt."""

    async def upload(
        self, user: UserId, chunks: AsyncIterator[bytes], *, mime: str, name: str, size: int | None, key: str
    ) -> str:
        """Upload once per `key` (the mxc is stored before its bytes are put) and return the mxc address."""

    def download(self, mxc: str, limit: int) -> AsyncIterator[bytes]:
        """Stream a file by the authenticated endpoint; RejectedError over `limit` bytes."""
