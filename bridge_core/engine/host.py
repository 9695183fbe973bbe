"""What each network is given: the `Host` of the contract, over the core's stores and services."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bridge_core.api.content import Attachment
from bridge_core.api.errors import BridgeError
from bridge_core.api.host import KV, Blobs, Bucket, Clock, GuardedHttp, RoomView, Routes, Tasks
from bridge_core.api.ids import ChatId, LoginId, NetworkId, PortalKey, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixSender
from bridge_core.api.network import Login
from bridge_core.api.queues import Queue
from bridge_core.api.staff import Staff
from bridge_core.engine.localusers import LocalUsers
from bridge_core.engine.longtexts import LongTexts
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.named import NamedMembers
from bridge_core.engine.portals import INVITE, PortalIndex
from bridge_core.engine.store_ports import KeyValues

T = TypeVar("T")
_BUCKETS: Final = 1000
"""Buckets of one network that are kept before those nobody needs are let go."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """The `KV` of one network."""

    store: KeyValues
    name: str

    async def get(self, key: str) -> bytes | None:
        """As `KV.get`."""
        return await self.store.get(self.name, key)

    async def put(self, key: str, value: bytes | None) -> None:
        """As `KV.put`."""
        await self.store.put(self.name, key, value)

    async def items(self, prefix: str) -> dict[str, bytes]:
        """As `KV.items`."""
        return await self.store.items(self.name, prefix)


class TokenBucket:
    """Tokens that come back with time. Those who wait are served in order."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = clock.monotonic()
        self._turn = asyncio.Lock()

    @property
    def full(self) -> bool:
        """Whether all tokens are there and nobody waits."""
        left = self._tokens + (self._clock.monotonic() - self._at) * self._rate
        return not self._turn.locked() and left >= self._burst

    async def take(self, amount: float = 1.0) -> None:
        """As `Bucket.take`."""
        if self._rate <= 0:
            return
        async with self._turn:
            now = self._clock.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            self._tokens -= amount
            if self._tokens < 0:
                await self._clock.sleep(-self._tokens / self._rate)


@dataclass(frozen=True, slots=True)
class Rooms:
    """The `RoomView` of one network."""

    network: NetworkId
    portals: PortalIndex
    members_of: Members
    matrix: MatrixSide
    named: NamedMembers

    async def members(self, chat: ChatId) -> frozenset[UserId] | None:
        """As `RoomView.members`."""
        row = self.portals.get(PortalKey(self.network, chat))
        if row is None:
            return frozenset()
        found: set[UserId] = set()
        try:
            for room in row.rooms:
                found |= await self.members_of.of(room)
        except BridgeError:
            return None
        return frozenset(found)

    async def invite(self, chat: ChatId, user: UserId) -> None:
        """As `RoomView.invite`."""
        row = self.portals.get(PortalKey(self.network, chat))
        for room in row.rooms if row is not None else ():
            await self.matrix.invite(room, user)

    async def open(self, chat: ChatId, members: Sequence[UserId] | None = None) -> None:
        """As `RoomView.open`."""
        row = await self.portals.ensure(self.network, chat, options={INVITE: list(members)} if members else None)
        if members is not None:
            await self.named.name(row, members)


class NetworkHost:
    """The `Host` of one network."""

    def __init__(
        self,
        network: NetworkId,
        kv: KV,
        secrets: KV,
        blobs: Blobs,
        http: GuardedHttp,
        clock: Clock,
        tasks: Tasks,
        routes: Routes | None,
        rooms: RoomView,
        portals: PortalIndex,
        links: Callable[[Attachment], str | None],
        files: Callable[[Attachment], AsyncIterator[bytes]],
        staff: Staff,
        queues: Callable[[str], Queue],
        provide: Callable[[MatrixSender], Awaitable[Login | None]],
        shared: dict[str, Any] | None = None,
        texts: LongTexts | None = None,
        local_users: LocalUsers | None = None,
    ) -> None:
        self.network = network
        self.kv = kv
        self.secrets = secrets
        self.blobs = blobs
        self.http = http
        self.clock = clock
        self.tasks = tasks
        self.routes = routes
        self.rooms = rooms
        self.staff = staff
        self._queues = queues
        self._provide = provide
        self._portals = portals
        self._links = links
        self._files = files
        self._texts = texts
        self._local_users = local_users
        self._shared: dict[str, Any] = {} if shared is None else shared
        self._buckets: dict[str, TokenBucket] = {}
        self._sweep_at = _BUCKETS

    def budget(self, key: str, rate: float, burst: float) -> Bucket:
        """As `Host.budget`: the first call for a key sets its rate."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._sweep_at:
                # One that is full again tells no more than a new one.
                self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.full}
                self._sweep_at = max(_BUCKETS, 2 * len(self._buckets))
            bucket = self._buckets[key] = TokenBucket(self.clock, rate, burst)
        return bucket

    def queue(self, name: str) -> Queue:
        """As `Host.queue`."""
        return self._queues(f"{self.network}/{name}")

    async def login(self, user: UserId) -> LoginId | None:
        """As `Host.login`."""
        login = await self._provide(MatrixSender(user, user[1:].partition(":")[0]))
        return login.id if login is not None else None

    @property
    def server(self) -> str:
        """As `Host.server`."""
        return self._local_users.server if self._local_users is not None else ""

    async def local_user(self, localpart: str) -> UserId | None:
        """As `Host.local_user`."""
        return await self._local_users.find(localpart) if self._local_users is not None else None

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """As `Host.shared`: kept in what the hosts of one process were given in common."""
        if name not in self._shared:
            self._shared[name] = make()
        found: T = self._shared[name]
        return found

    def open(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """As `Host.open`."""
        return self._files(attachment)

    def media_url(self, attachment: Attachment) -> str | None:
        """As `Host.media_url`."""
        return self._links(attachment)

    async def text_url(self, message: MatrixMessage | MatrixEdit, text: str) -> str | None:
        """As `Host.text_url`."""
        return await self._texts.url(message, text) if self._texts is not None else None

    def chats(self) -> tuple[ChatId, ...]:
        """As `Host.chats`: shared portals only, private ones are joined by nobody."""
        return tuple(row.chat for row in self._portals.of_network(self.network) if row.receiver is None)
