"""How often something may be done that strangers can ask for."""

from collections.abc import Callable


class Allowance:
    """`burst` times at once, then `rate` a second. `now` is a monotonic clock in seconds."""

    __slots__ = ("_at", "_burst", "_now", "_rate", "_tokens")

    def __init__(self, now: Callable[[], float], burst: float, rate: float) -> None:
        self._now = now
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at = now()

    def take(self) -> bool:
        """Whether it may be done once more now. Does not block."""
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
