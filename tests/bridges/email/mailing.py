"""What tests of writing and sending mails stand on: a host in memory whose time is turned by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, MessageId, NetworkId, UserId
from bridge_core.api.queues import QueueItem
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.ports import About, Draft
from tests.memory import MemoryKV

SECRET = b"s" * 32
NOW = 1_700_000_000_000
SUPPORT = Address("support", "example.org", "Alice (Support)")
BOB = Address("bob", "there.test", "Bob")


class HandClock:
    """Time that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()

    def turn(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


class MemoryBlobs:
    """`Blobs` in memory; `renewed` counts how often each was."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.renewed: dict[str, int] = {}
        self._made = 0

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> str:
        data = b""
        async for chunk in chunks:
            data += chunk
            if len(data) > limit:
                raise RejectedError("too large")
        self._made += 1
        name = f"blob:{self._made}"
        self.files[name] = data
        return name

    async def open(self, source: str) -> AsyncIterator[bytes]:
        if source not in self.files:
            raise RejectedError("the file is not there any more")
        data = self.files[source]
        for at in range(0, max(len(data), 1), 1000):
            await asyncio.sleep(0)
            yield data[at : at + 1000]

    async def drop(self, source: str) -> None:
        self.files.pop(source, None)

    async def renew(self, source: str) -> None:
        self.renewed[source] = self.renewed.get(source, 0) + 1


class MemoryQueue:
    """`Queue` in memory. `broken` is raised by the next commits; `commits` are all that were made."""

    def __init__(self) -> None:
        self.items: dict[str, QueueItem] = {}
        self.commits: list[tuple[tuple[QueueItem, ...], tuple[str, ...]]] = []
        self.broken: Exception | None = None
        self.on_commit: Callable[[], None] = lambda: None

    async def put(self, items: Sequence[QueueItem] = (), *, removed: Sequence[str] = ()) -> None:
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        self.items |= {item.key: item for item in items}
        for key in removed:
            self.items.pop(key, None)
        self.commits.append((tuple(items), tuple(removed)))
        self.on_commit()

    async def due(self, now: int, limit: int, *, after: QueueItem | None = None) -> list[QueueItem]:
        found = sorted((item for item in self.items.values() if item.due <= now), key=lambda item: (item.due, item.key))
        if after is not None:
            found = [item for item in found if (item.due, item.key) > (after.due, after.key)]
        return found[:limit]

    async def next_due(self) -> int | None:
        return min((item.due for item in self.items.values()), default=None)

    async def get(self, key: str) -> QueueItem | None:
        return self.items.get(key)

    async def parts(self, part_of: str) -> list[QueueItem]:
        return sorted((one for one in self.items.values() if one.part_of == part_of), key=lambda one: one.key)

    async def page(self, after: str, limit: int) -> list[QueueItem]:
        return [self.items[key] for key in sorted(self.items) if key > after][:limit]

    async def count(self) -> int:
        return len(self.items)


class HandTasks:
    """Runs tasks, and keeps what they raised."""

    def __init__(self) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self.errors: list[BaseException] = []

    def spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)


class MailHost:
    """The parts of `Host` that writing and sending use."""

    def __init__(self) -> None:
        self.network = NetworkId("mail")
        self.clock = HandClock()
        self.blobs = MemoryBlobs()
        self.tasks = HandTasks()
        self.kv = MemoryKV()
        self.secrets = MemoryKV()
        self.http: Any = None
        self.queues: dict[str, MemoryQueue] = {}
        self.media: dict[str, bytes] = {}
        self.links = True

    def queue(self, name: str) -> MemoryQueue:
        return self.queues.setdefault(name, MemoryQueue())

    async def open(self, attachment: Attachment) -> AsyncIterator[bytes]:
        if attachment.source not in self.media:
            raise RejectedError("the file is gone")
        data = self.media[attachment.source]
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]

    def media_url(self, attachment: Attachment) -> str | None:
        return f"https://media.test/{attachment.source[-1]}" if self.links else None

    def file(self, name: str, data: bytes, mime: str | None, kind: MediaKind = MediaKind.FILE) -> Attachment:
        """A file on Matrix with these bytes."""
        source = f"mxc://hs.test/{len(self.media)}"
        self.media[source] = data
        return Attachment(kind, name, source, mime, len(data))


def draft(text: str = "Hello", *, key: str = "k", **changes: Any) -> Draft:
    """A mail from the support mailbox to Bob."""
    values: dict[str, Any] = {"content": Content((Plain(text),)), "to": (BOB,), "written_at": NOW, "subject": "Hi"}
    return Draft(key, **{"author": SUPPORT, **values, **changes})


def about(message: str, *, user: str = "@alice:hs.test", thread: str = "t") -> About:
    """Where a mail belongs."""
    return About(ChatId("support@example.org"), MessageId(message), UserId(user), SUPPORT.named(""), thread)


def person(text: str) -> Address:
    """An address of somebody."""
    return parse_address(text)
