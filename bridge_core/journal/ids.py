"""Ids given out in memory that are never given out twice, restarts and removed rows notwithstanding."""

from __future__ import annotations

from bridge_core.store.work import Work

_BLOCK = 100_000


class Ids:
    """Numbers that grow. How far they may have grown is stored ahead, with the work that uses them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 1
        self._limit = 0

    def start(self, after: int, stored: int) -> None:
        """Go on after `after` (the highest id found) and after `stored` (what was stored ahead)."""
        self._next = max(after, stored) + 1
        self._limit = stored

    def next(self) -> int:
        """A new id."""
        number = self._next
        self._next = number + 1
        return number

    def last(self) -> int:
        """No id given out so far is higher."""
        return self._next - 1

    def store(self, work: Work) -> None:
        """Store with this work how far ids may have grown, if that is not known yet.

        Half a block ahead, so that work under way at the same time is covered by the limit before.
        """
        if self._next > self._limit - _BLOCK // 2:
            self._limit = self._next + _BLOCK
            work.add("meta_put", (self._name, str(self._limit)))

    def unstored(self) -> None:
        """The work that stored the limit failed: store it with the next."""
        self._limit = 0
