"""The latest event of each thread: clients without threads are shown a message of one as an answer to that."""

from collections import OrderedDict
from typing import Final

from bridge_core.api.ids import EventId, RoomId

_THREADS: Final = 10_000


class Threads:
    """In memory only, and bounded: what is forgotten falls back to the thread's first message."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[RoomId, EventId], EventId] = OrderedDict()

    def said(self, room: RoomId, root: EventId, event: EventId) -> None:
        """An event was said in a thread."""
        key = (room, root)
        self._last[key] = event
        self._last.move_to_end(key)
        if len(self._last) > _THREADS:
            self._last.popitem(last=False)

    def last(self, room: RoomId, root: EventId | None) -> EventId | None:
        """The latest event of a thread, as far as it is known."""
        return self._last.get((room, root)) if root is not None else None
