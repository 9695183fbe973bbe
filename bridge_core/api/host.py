"""What the core gives an adapter. Everything an adapter needs from outside comes through its Host."""

from asyncio import Task
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from bridge_core.api.content import Attachment
from bridge_core.api.ids import ChatId, LoginId, NetworkId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage
from bridge_core.api.queues import Queue
from bridge_core.api.staff import Staff

T = TypeVar("T")


class Clock(Protocol):
    """Time, so that tests can turn it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 (UTC)."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Tasks(Protocol):
    """Owns background tasks: the core cancels and awaits them when the network stops."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> Task[None]:
        """Run `work`; an exception it raises is logged once with its name. The caller may await or cancel it."""


class KV(Protocol):
    """Small durable state of this network. Values at most 64 KiB. Reads are from memory or one query."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def put(self, key: str, value: bytes | None) -> None:
        """Return when committed; None removes."""

    async def items(self, prefix: str) -> dict[str, bytes]:
        """All keys that start with `prefix`."""


class Blobs(Protocol):
    """A bounded spool for files on their way, sealed at rest."""

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> str:
        """Store and return `blob:ID`. Raises RejectedError over `limit` bytes; TransientError when the disk is full."""

    def open(self, source: str) -> AsyncIterator[bytes]:
        """Read a blob in chunks. Raises RejectedError when it is gone."""

    async def drop(self, source: str) -> None:
        """Remove; idempotent."""

    async def renew(self, source: str) -> None:
        """Let its age begin again: what is older than any message is tried is swept, unless whoever keeps it says so.

        Raises RejectedError when it is gone, TransientError.
        """


class Bucket(Protocol):
    """A token bucket shared under one key."""

    async def take(self, amount: float = 1.0) -> None:
        """Wait until the amount is there and take it."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An inbound request to a network's route."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer to an inbound or outbound request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] | None = None


class Routes(Protocol):
    """Inbound HTTP under `/_bridge/NETWORK/`. None where the bridge runs on a user's own device."""

    def add(self, method: str, path: str, handler: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        """Serve `path`; the body is bounded before the handler runs."""


class GuardedHttp(Protocol):
    """Outbound HTTP that cannot reach private addresses, re-checks redirects, and caps bytes and time."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int,
    ) -> HttpResponse:
        """Do it. Raises TransientError, RateLimitedError or RejectedError."""


class RoomView(Protocol):
    """What Matrix rooms look like to the adapter: the authoritative answer, never a guess."""

    async def members(self, chat: ChatId) -> frozenset[UserId] | None:
        """The Matrix users (no ghosts) joined to the chat's rooms; None when that is unknown now: hold, fail closed."""

    async def invite(self, chat: ChatId, user: UserId) -> None:
        """Invite a Matrix user to the chat's room."""

    async def open(self, chat: ChatId, members: Sequence[UserId] | None = None) -> None:
        """The chat has a portal from now on, when it returns. Idempotent; from memory where nothing is new.

        For chats that the adapter's own settings bridge: a new conversation in somebody's mailbox. The room is made
        with the first event there. `members` are the Matrix users who are to be in the rooms that the bridge made:
        invited now, or when the room is made, unless they were named before; who is named no longer is put out. Who
        came by another way stays, and who left is not invited again. None leaves that as it is. Say by `chat_info`
        who else may come in.

        Who cannot be invited stops nobody else: it is logged, and tried again by later calls. Raises TransientError
        or RateLimitedError where somebody named no longer may still be there: show nothing then, and call again.
        """


class Host(Protocol):
    """The core's side of one network."""

    @property
    def network(self) -> NetworkId:
        """The network's name in the configuration."""

    @property
    def server(self) -> str:
        """The name of the bridge's own homeserver: what its users' ids end with."""

    @property
    def kv(self) -> KV: ...

    @property
    def secrets(self) -> KV:
        """As `kv`, sealed at rest."""

    @property
    def blobs(self) -> Blobs: ...

    @property
    def http(self) -> GuardedHttp: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def tasks(self) -> Tasks: ...

    @property
    def routes(self) -> Routes | None: ...

    @property
    def rooms(self) -> RoomView: ...

    @property
    def staff(self) -> Staff:
        """What the network's own staff may do to this bridge."""

    def budget(self, key: str, rate: float, burst: float) -> Bucket:
        """The bucket of `key`: `rate` tokens a second up to `burst`; a rate of 0 means no limit."""

    def queue(self, name: str) -> Queue:
        """The network's durable queue of that name."""

    async def login(self, user: UserId) -> LoginId | None:
        """The login by which a Matrix user would speak here, provided now where the network does that.

        None where they may have none. Raises what `ProvidesLogins.provide` does.
        """

    async def local_user(self, localpart: str) -> UserId | None:
        """The Matrix user of the bridge's own homeserver with this local part; None where it has none, or a ghost.

        Remembered for minutes. Raises TransientError or RateLimitedError where the homeserver does not tell, and at
        once where too many were asked for lately: strangers may choose the names.
        """

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """The process's one object of that name, made with the first call; for all networks, whatever their adapter.

        For what several networks cannot have each, such as a listener on a port that the protocol fixes. Begin the
        name with the protocol's. Who uses it starts and stops it; it must count them.
        """

    def open(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """The file's bytes in chunks, wherever it is, decrypted where it is encrypted. Nothing happens before reading.

        Bounded by the largest file that is carried. Raises RejectedError when it is gone, larger, or was changed on
        its way (before the last chunk of it), TransientError or RateLimitedError when another try may work.
        """

    def media_url(self, attachment: Attachment) -> str | None:
        """A link by which people without Matrix can fetch the file; None where links are off. Signed, expiring."""

    async def text_url(self, message: MatrixMessage | MatrixEdit, text: str) -> str | None:
        """A link to the whole of a message's text, where it is too long to be said; None where links are off.

        It works no more once the message is taken back. Raises TransientError, RateLimitedError, RejectedError.
        """

    def chats(self) -> tuple[ChatId, ...]:
        """The chats that have a portal now. New ones come through `WatchesChats`."""
