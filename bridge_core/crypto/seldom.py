"""Lines of the log that strangers can cause: a few of each kind are enough, and counters have the rest."""

from typing import Final

from bridge_core.api.host import Clock

__all__ = ["Seldom"]

_MOST: Final = 10
_WITHIN: Final = 60_000


class Seldom:
    """Lets ten lines of each event in a minute through."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[str, tuple[int, int]] = {}

    def is_due(self, event: str) -> bool:
        """Whether one more may be said now; it counts as said. Events are our own words. Does not block."""
        minute = self._clock.now_ms() // _WITHIN
        since, count = self._said.get(event, (minute, 0))
        count = count + 1 if since == minute else 1
        self._said[event] = (minute, count)
        return count <= _MOST
