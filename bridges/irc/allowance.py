"""How often something may be done that strangers can ask for."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_KEYS_AT_MOST: Final = 1000


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


class Allowances:
    """An allowance for each of many keys: nobody uses up another's. The thousand that asked last are remembered."""

    __slots__ = ("_burst", "_keys", "_now", "_rate")

    def __init__(self, now: Callable[[], float], burst: float, rate: float) -> None:
        self._now = now
        self._burst = burst
        self._rate = rate
        self._keys: OrderedDict[str, Allowance] = OrderedDict()

    def take(self, key: str) -> bool:
        """As `Allowance.take`, of one key."""
        one = self._keys.setdefault(key, Allowance(self._now, self._burst, self._rate))
        self._keys.move_to_end(key)
        if len(self._keys) > _KEYS_AT_MOST:
            self._keys.popitem(last=False)
        return one.take()
