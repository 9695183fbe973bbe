"""Which lanes have to wait: for what was said earlier in their chat, while that is being fetched and shown."""

from typing import Final

PAST: Final = "\x1epast"
"""What is behind a lane's name in the name of the lane that goes before it: what is fetched of a chat's past."""
PUBLIC: Final = "+"
"""Behind that: everybody who enters the chat there may read its past."""


def is_past(lane: str) -> bool:
    """Whether a lane is one of a past. The hot path."""
    return lane.endswith((PAST, PAST + PUBLIC))


def later_of(past: str) -> str:
    """The lane that a past goes before."""
    return past.rpartition(PAST)[0]


class Precedence:
    """Lanes that are kept back, and those whose past has work: what they hold up to some entry goes on before it."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}
        self._pasts: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        """Where lanes that are kept back by their past alone have to stop."""

    def limit(self, lane: str) -> int | None:
        """The last entry of a lane that may be handled now; None for all. Does not block: asked before each step."""
        if not self._kept and not self._pasts:
            return None
        if lane in self._kept:
            return self._kept[lane]
        return self._limits.get(lane, 0) if lane in self._pasts else None

    def keep(self, lane: str, after: int) -> None:
        """Keep back what comes behind an entry, until `release`. What is kept back already stays so."""
        before = self.limit(lane)
        self._kept[lane] = after if before is None else min(before, after)

    def release(self, lane: str) -> None:
        """Keep a lane back no longer than its past has work."""
        after = self._kept.pop(lane, None)
        if after is not None and lane in self._pasts:
            self._limits[lane] = after

    def opened(self, lane: str) -> None:
        """A lane has work now."""
        if is_past(lane):
            later = later_of(lane)
            self._pasts[later] = self._pasts.get(later, 0) + 1

    def found(self, lane: str) -> None:
        """A lane has had work since an earlier process: what its past goes before may have been stored then too."""
        if is_past(lane):
            later = later_of(lane)
            self._limits.pop(later, None)
            if later in self._kept:
                self._kept[later] = 0

    def ended(self, lane: str) -> None:
        """A lane has no more work."""
        if is_past(lane):
            later = later_of(lane)
            left = self._pasts.pop(later, 1) - 1
            if left:
                self._pasts[later] = left
            else:
                self._limits.pop(later, None)

    def neighbours(self, lane: str) -> tuple[str, ...]:
        """Lanes that may have waited for this one: its past for what it held before, or it for its past."""
        if is_past(lane):
            return (later_of(lane),)
        return (lane + PAST, lane + PAST + PUBLIC) if lane in self._pasts else ()
