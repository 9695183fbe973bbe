"""What the engine needs of the stores: one owner per table, implemented in `store`."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

from bridge_core.api.ids import ChatId, EventId, LoginId, MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.network import Login
from bridge_core.engine.ports import Write


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
    """A ghost as far as it exists on the homeserver. `name` and `avatar` are what was set there last.

    `avatar_source` is where the picture came from, which may have been refused.
    """

    network: NetworkId
    remote: RemoteUserId
    user: UserId
    device: str | None = None
    name: str | None = None
    avatar: str | None = None
    avatar_source: str | None = None


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

    async def joined(self, room: RoomId) -> AbstractSet[UserId]:
        """Our users joined to the room, as they come and go: not to be kept over an await."""

    async def set(self, room: RoomId, user: UserId, joined: bool) -> None:
        """Remember."""


class Wish(IntEnum):
    """What a ghost's membership is to become. Stored: a number that was used keeps its meaning."""

    NONE = 0
    JOIN = 1
    LEAVE = 2
    RETURN = 3
    """As JOIN, and a ban is lifted first."""
    BAN = 4
    UNBAN = 5


@dataclass(frozen=True, slots=True)
class MemberWish:
    """What is to become of one ghost in one room, not before `due` (milliseconds since 1970)."""

    room: RoomId
    user: UserId
    wish: Wish
    due: int
    network: NetworkId
    remote: RemoteUserId
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ExpiringRow:
    """An event that disappears at `due` (milliseconds since 1970); `sender` redacts it."""

    room: RoomId
    event: EventId
    sender: UserId
    due: int


class Expiring(Protocol):
    """Messages that disappear."""

    def write(self, row: ExpiringRow) -> Write:
        """The row, to be committed with a settlement."""

    async def due(self, now: int, limit: int) -> list[ExpiringRow]:
        """What is due, the oldest first."""

    async def next_due(self) -> int | None:
        """When the next one will be due; None when there is none."""

    async def remove(self, room: RoomId, event: EventId) -> None:
        """It has disappeared; return when committed."""

    async def postpone(self, room: RoomId, event: EventId, due: int) -> None:
        """It is due later; return when committed."""


class MemberWishes(Protocol):
    """Memberships still to be brought about. Written behind: what is settled after a put is stored after it."""

    def put(self, wish: MemberWish) -> None:
        """Insert or replace the wish for the ghost in the room; `Wish.NONE` removes it. Does not block."""

    async def due(self, now: int, limit: int) -> list[MemberWish]:
        """Wishes that are due, the oldest first."""

    async def next_due(self) -> int | None:
        """When the next one will be due; None when there is none."""

    async def of_room(self, room: RoomId) -> dict[UserId, MemberWish]:
        """All wishes for a room."""

    async def of_wish(self, wish: Wish, limit: int) -> list[MemberWish]:
        """At most `limit` wishes of one kind."""

    async def sweep(self) -> None:
        """Remove the rows of wishes that are none any more."""

    async def count(self) -> int:
        """How many there are."""


@dataclass(frozen=True, slots=True)
class UserRow:
    """A Matrix user known to the bridge."""

    id: UserId
    management_room: RoomId | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Users(Protocol):
    """Matrix users of the bridge and their logins."""

    async def get(self, user: UserId) -> UserRow | None: ...

    async def change(self, user: UserId, change: Callable[[UserRow], UserRow]) -> None:
        """Keep of a user what `change`, called in another thread, makes of what is kept now; a new row is empty.

        Of two changes at once neither is lost.
        """

    async def with_rooms(self) -> list[UserRow]: ...

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
    def wishes(self) -> MemberWishes: ...

    @property
    def expiring(self) -> Expiring: ...

    @property
    def messages(self) -> Messages: ...

    @property
    def users(self) -> Users: ...

    @property
    def kv(self) -> KeyValues: ...

    @property
    def transactions(self) -> Transactions: ...
