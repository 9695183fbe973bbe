"""Objects of which there may be only one at a time: a ratchet that is loaded twice would be used twice."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

__all__ = ["Held"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Held(Generic[K, V]):
    """Loads each object once and keeps the `size` last used; one that is in use anywhere is found again.

    For the loop only. What was forgotten here while somebody still uses it is not loaded a second time.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._recent: OrderedDict[K, V] = OrderedDict()
        self._alive: WeakValueDictionary[K, V] = WeakValueDictionary()
        self._loading: dict[K, list[asyncio.Lock]] = {}

    def __len__(self) -> int:
        return len(self._alive)

    def peek(self, key: K) -> V | None:
        """The object if it is loaded."""
        return self._alive.get(key)

    def values(self) -> list[V]:
        """All that are loaded."""
        return list(self._alive.values())

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """The object; `load` makes it when nobody has it. Raises what `load` raises."""
        value = self._alive.get(key)
        if value is None:
            value = await self._load(key, load)
        self._recent[key] = value
        self._recent.move_to_end(key)
        if len(self._recent) > self._size:
            self._recent.popitem(last=False)
        return value

    async def _load(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        waiting = self._loading.setdefault(key, [])
        lock = waiting[0] if waiting else asyncio.Lock()
        waiting.append(lock)
        try:
            async with lock:
                value = self._alive.get(key)
                if value is None:
                    value = self._alive[key] = await load()
                return value
        finally:
            waiting.pop()
            if not waiting and self._loading.get(key) is waiting:
                del self._loading[key]
