"""What a host gives to an adapter, in memory: for tests and benchmarks of an adapter without a bridge around it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from bridge_core.api.errors import RejectedError
from bridge_core.api.queues import QueueItem
from bridge_core.observe.tasks import TaskOwner


class MemoryKV:
    """A `KV` in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        """As `KV.get`."""
        return self.values.get(key)

    async def put(self, key: str, value: bytes | None) -> None:
        """As `KV.put`."""
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    async def items(self, prefix: str) -> dict[str, bytes]:
        """As `KV.items`."""
        return {key: value for key, value in self.values.items() if key.startswith(prefix)}


class MemoryBlobs:
    """`Blobs` in memory; `renewed` counts how often each was."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.renewed: dict[str, int] = {}
        self._made = 0

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> str:
        """As `Blobs.put`."""
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
        """As `Blobs.open`, in small chunks."""
        if source not in self.files:
            raise RejectedError("the file is not there any more")
        data = self.files[source]
        for at in range(0, max(len(data), 1), 1000):
            await asyncio.sleep(0)
            yield data[at : at + 1000]

    async def drop(self, source: str) -> None:
        """As `Blobs.drop`."""
        self.files.pop(source, None)

    async def renew(self, source: str) -> None:
        """Count it."""
        self.renewed[source] = self.renewed.get(source, 0) + 1


class MemoryQueue:
    """`Queue` in memory. `broken` is raised by the next commits; `commits` are all that were made."""

    def __init__(self) -> None:
        self.items: dict[str, QueueItem] = {}
        self.commits: list[tuple[tuple[QueueItem, ...], tuple[str, ...]]] = []
        self.broken: Exception | None = None
        self.on_commit: Callable[[], None] = lambda: None

    async def put(self, items: Sequence[QueueItem] = (), *, removed: Sequence[str] = ()) -> None:
        """As `Queue.put`."""
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        self.items |= {item.key: item for item in items}
        for key in removed:
            self.items.pop(key, None)
        self.commits.append((tuple(items), tuple(removed)))
        self.on_commit()

    async def due(self, now: int, limit: int, *, after: QueueItem | None = None) -> list[QueueItem]:
        """As `Queue.due`."""
        found = sorted((item for item in self.items.values() if item.due <= now), key=lambda item: (item.due, item.key))
        if after is not None:
            found = [item for item in found if (item.due, item.key) > (after.due, after.key)]
        return found[:limit]

    async def next_due(self) -> int | None:
        """As `Queue.next_due`."""
        return min((item.due for item in self.items.values()), default=None)

    async def get(self, key: str) -> QueueItem | None:
        """As `Queue.get`."""
        return self.items.get(key)

    async def parts(self, part_of: str) -> list[QueueItem]:
        """As `Queue.parts`."""
        return sorted((one for one in self.items.values() if one.part_of == part_of), key=lambda one: one.key)

    async def page(self, after: str, limit: int) -> list[QueueItem]:
        """As `Queue.page`."""
        return [self.items[key] for key in sorted(self.items) if key > after][:limit]

    async def count(self) -> int:
        """As `Queue.count`."""
        return len(self.items)


class KeptTasks:
    """Runs tasks, and keeps what they raised."""

    def __init__(self) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self.errors: list[BaseException] = []
        self._owner = TaskOwner("kept", lambda _, error: self.errors.append(error))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """As `Tasks.spawn`."""
        task = self._owner.spawn(work, name)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        return task
