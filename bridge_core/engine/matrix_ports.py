"""What the engine needs of the homeserver, implemented in `matrix`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.powerlevels import RoomPower


class MatrixRejectedError(RejectedError):
    """The homeserver will not do it: `errcode` and HTTP `status` say why."""

    def __init__(self, errcode: str, message: str, status: int) -> None:
        super().__init__(f"{errcode}: {message}")
        self.errcode = errcode
        self.status = status


class TooLargeError(RejectedError):
    """A file is larger than is carried."""


class PuppetGoneError(RejectedError):
    """What the bridge has to act as a Matrix user is not accepted by their homeserver any more."""


class NoDeviceError(RejectedError):
    """Who speaks has no device that the bridge could encrypt with: somebody else has to say it."""


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
    kind: str = ""
    """The room's type, such as `m.space`; empty for an ordinary room."""
    is_others: Callable[[RoomId], Awaitable[bool]] | None = None
    """Whether a room that the alias leads to is another chat's, and not taken; frees the alias if that has another."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A room's present tombstone: where the room goes on, who says so, and whether they may change the room."""

    replacement: RoomId
    sender: UserId
    powerful: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """Who is in a room and who is invited to it, and which of our users could see that."""

    joined: tuple[UserId, ...]
    invited: tuple[UserId, ...]
    viewer: UserId


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

    def may_puppet(self, user: UserId) -> bool:
        """Whether the configuration lets the bridge act as the users of this one's homeserver. Does not block."""

    async def verify_puppet(self, user: UserId, token: str | None) -> None:
        """Ask the user's homeserver whether the token (None: the configured one) can act as them.

        Raises PuppetGoneError when it cannot, MatrixRejectedError when that homeserver is not configured.
        """

    def add_puppet(self, user: UserId, token: str | None) -> None:
        """From now on requests of this user, who is not ours, are made with that token. Raises as `verify_puppet`."""

    def remove_puppet(self, user: UserId) -> None:
        """Act as this user no more."""

    async def ensure_registered(self, user: UserId) -> str | None:
        """Register a ghost (idempotent) and give it its plain device; return the device id, None without them."""

    async def set_profile(self, user: UserId, name: str | None, avatar: str | None) -> None:
        """Set what is not None."""

    async def profile(self, user: UserId) -> MemberProfile:
        """The global profile."""

    async def exists(self, user: UserId) -> bool:
        """Whether our homeserver has such a user, as far as it shows them."""

    async def join(self, room: RoomId, user: UserId) -> None:
        """Join one of our users, inviting it first as the bot where needed. Idempotent."""

    async def leave(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Leave. Idempotent."""

    async def invite(self, room: RoomId, user: UserId, inviter: UserId | None = None) -> None:
        """Invite as the bot or another user of ours. Already invited or joined is fine."""

    async def kick(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Kick as the bot. Not there is fine."""

    async def ban(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Ban as the bot. Banned already is fine."""

    async def unban(self, room: RoomId, user: UserId) -> None:
        """Lift a ban as the bot. Not banned is fine."""

    async def knock(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Let one of our users ask to be let in. Asked already, invited or joined is fine."""

    async def ensure_room(self, spec: RoomSpec) -> RoomId:
        """Create under the reserved alias; when that is in use look it up and bring its state to the desired one.

        Raises TransientError where the alias led to another chat's room (`RoomSpec.is_others`).
        """

    async def send(self, request: SendRequest, first_attempt_at: int) -> EventId:
        """Send exactly once. `first_attempt_at` (ms, 0: this is the first) decides whether to look before resending."""

    async def state(
        self, room: RoomId, event_type: str, key: str = "", viewer: UserId | None = None
    ) -> dict[str, Any] | None:
        """One state event's content as one of our users (the bot, unless told) sees it, None when it is not set."""

    async def all_state(self, room: RoomId) -> list[dict[str, Any]]:
        """All state events of a room that the bot is in, as the homeserver gives them."""

    async def set_state(
        self, room: RoomId, event_type: str, key: str, content: Mapping[str, Any], sender: UserId
    ) -> None:
        """Set one state event unless it already is so."""

    async def enter(self, room: RoomId, via: str) -> None:
        """Join a room as the bot, by a server that is in it. Idempotent. MatrixRejectedError where it is not let in."""

    async def tombstone(self, room: RoomId) -> Tombstone | None:
        """Where the room goes on, by its present state; None when it does not."""

    async def point_alias(self, localpart: str, room: RoomId) -> None:
        """Let one of our aliases lead to the room, wherever it led before."""

    async def drop_alias(self, localpart: str) -> None:
        """One of our aliases leads nowhere any more. Idempotent."""

    async def behind(self, room: RoomId, event: EventId, viewer: UserId) -> str | None:
        """Where in the room, for `page`, an event ends that `viewer` may see."""

    async def page(self, room: RoomId, at: str, viewer: UserId) -> tuple[list[dict[str, Any]], str | None]:
        """Events that come next, as `viewer` sees them, in their order; then where they end, unless that is all."""

    async def may_change(self, room: RoomId, user: UserId) -> bool:
        """Whether a user has the power to change the room's state (in room version 12 its creators always have)."""

    async def room_of(self, alias: str) -> RoomId:
        """The room an alias leads to. Raises MatrixRejectedError when there is none."""

    async def power(self, room: RoomId) -> RoomPower:
        """Who has what power in the room, asked of its present state. The bot must be in it."""

    async def members(self, room: RoomId, viewer: UserId | None = None) -> dict[UserId, MemberProfile]:
        """All joined members, as the bot or another user of ours sees them."""

    async def reading(self, room: RoomId, viewer: UserId) -> Reading:
        """Who is joined or invited, as the bot sees it, or `viewer`, a user of ours, where the bot is not there."""

    async def joins(self, room: RoomId) -> dict[UserId, int]:
        """When each joined member's present membership began or last changed, in milliseconds since 1970; 0: unknown.

        The time is what the server of each member says.
        """

    async def event(self, room: RoomId, event: EventId, viewer: UserId) -> dict[str, Any] | None:
        """An event as `viewer` sees it (a user of ours, or the bot); None when there is none or it may not be seen."""

    async def typing(self, room: RoomId, user: UserId, milliseconds: int) -> None:
        """Set or (0) end typing."""

    async def read(self, room: RoomId, user: UserId, event: EventId) -> None:
        """Move the user's read receipt."""

    async def read_all(self, room: RoomId, user: UserId, event: EventId) -> None:
        """Move the read marker of somebody whom the bridge acts as, and their read receipt with it; never backwards."""

    async def set_presence(self, user: UserId, presence: str, status: str | None) -> None:
        """Say whether one of our users is there: `online`, `unavailable` or `offline`, with their own words."""

    async def upload(
        self, user: UserId, chunks: AsyncIterator[bytes], *, mime: str, name: str, size: int | None, key: str
    ) -> str:
        """Upload once per `key` (the mxc is stored before its bytes are put) and return the mxc address."""

    async def uploaded(self, key: str) -> str | None:
        """The address of a file that was uploaded whole under `key`; None when that is not known. Asks nobody."""

    async def delete_file(self, mxc: str) -> None:
        """Have the homeserver delete a file. Raises MatrixRejectedError where it does not let us: most do not."""

    def download(self, mxc: str, limit: int) -> AsyncIterator[bytes]:
        """Stream a file by the authenticated endpoint; RejectedError over `limit` bytes."""
