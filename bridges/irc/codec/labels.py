"""Which answer belongs to which request: IRCv3 labeled-response."""

from typing import Final, Generic, TypeVar

T = TypeVar("T")
LABEL_BYTES: Final = 64
"""Bytes a label may have."""


class LabelsFull(Exception):  # noqa: N818 - named for what is so
    """As many requests as allowed are waiting for their answer."""


class LabelBook(Generic[T]):
    """Pending requests by label, at most `capacity`. Labels are never used twice in the life of a book."""

    __slots__ = ("_next", "_pending", "capacity")

    def __init__(self, capacity: int = 256) -> None:
        self.capacity = capacity
        self._next = 0
        self._pending: dict[str, tuple[T, float]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, item: T, deadline: float) -> str:
        """A new label for `item`, to be sent as the tag `label`; `deadline` is in the caller's clock.

        Raises LabelsFull at capacity: expire, or wait.
        """
        if len(self._pending) >= self.capacity:
            raise LabelsFull
        self._next += 1
        label = format(self._next, "x")
        self._pending[label] = (item, deadline)
        return label

    def peek(self, label: str) -> T | None:
        """What waits under a label, left there."""
        entry = self._pending.get(label)
        return entry[0] if entry is not None else None

    def take(self, label: str) -> T | None:
        """What waits under a label, once; None for an unknown or answered one."""
        entry = self._pending.pop(label, None)
        return entry[0] if entry is not None else None

    def expire(self, now: float) -> list[T]:
        """What waited until its deadline in vain, oldest first; it waits no longer."""
        late = [label for label, (_, deadline) in self._pending.items() if deadline <= now]
        return [self._pending.pop(label)[0] for label in late]

    def clear(self) -> list[T]:
        """Everything that waits, oldest first: for a connection that ended."""
        items = [item for item, _ in self._pending.values()]
        self._pending.clear()
        return items
