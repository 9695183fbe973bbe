"""Durable queues of a network: work that outlives the process and is done when its time has come.

For what an adapter took over and must not lose: mails that were accepted and are not bridged yet, mails that are tried
for days. Who adds the same item again (a crash came in between) replaces it, so keys must say what the work is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One piece of work. `body` is the adapter's own, sealed at rest, of 64 KiB at most: large things are blobs.

    `due` is when it is to be done, in milliseconds since 1970. `part_of` names what it is a part of (a mail with
    several recipients): its parts are found by it. `attempts` counts how often it was tried.
    """

    key: str
    body: bytes
    due: int
    part_of: str = ""
    attempts: int = 0


class Queue(Protocol):
    """One queue of one network. All methods may raise TransientError while the database is unavailable."""

    async def put(self, items: Sequence[QueueItem] = (), *, removed: Sequence[str] = ()) -> None:
        """Return when all of it is committed, in one commit: the items added or replaced, the removed keys gone.

        Records an attempt before it is made (`attempts` and `due` raised), or ends it. A key is in one of the two.
        Several at a time are committed in the order of the calls.
        """

    async def due(self, now: int, limit: int, *, after: QueueItem | None = None) -> list[QueueItem]:
        """What is due by `now`, by time, then by key; behind the item `after` to leave out what is under way."""

    async def next_due(self) -> int | None:
        """When the next item will be due; None when there is none."""

    async def get(self, key: str) -> QueueItem | None:
        """The item, or None."""

    async def parts(self, part_of: str) -> list[QueueItem]:
        """All items that are part of it, by key."""

    async def page(self, after: str, limit: int) -> list[QueueItem]:
        """The items behind a key, by key: for lists."""

    async def count(self) -> int:
        """How many there are. Costs time by their number: not for the hot path."""
