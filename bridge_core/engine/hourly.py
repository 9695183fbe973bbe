"""How often users do what costs something: counted by the hour, so that strangers can be bounded."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId

__all__ = ["Counted", "Hourly"]

_HOUR: Final = 3_600_000
_USERS: Final = 10_000


class Counted(NamedTuple):
    """One time that somebody did something: the `number`th in the hour that began at `since` (ms since 1970)."""

    what: str
    user: UserId
    since: int
    number: int


class Hourly:
    """An hour begins with what somebody does first. Remembers the latest 10,000. Nothing here blocks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, UserId], tuple[int, int]] = OrderedDict()

    def count(self, what: str, user: UserId) -> Counted:
        """One more, in their present hour."""
        place, now = (what, user), self._clock.now_ms()
        since, number = self._counts.get(place, (now, 0))
        if not 0 <= now - since < _HOUR:
            since, number = now, 0
        self._counts[place] = (since, number + 1)
        self._counts.move_to_end(place)
        if len(self._counts) > _USERS:
            self._counts.popitem(last=False)
        return Counted(what, user, since, number + 1)

    def take_back(self, counted: Iterable[Counted]) -> None:
        """These did not happen: they are tried again, and counted then."""
        for one in counted:
            since, number = self._counts.get((one.what, one.user), (one.since, 0))
            if since == one.since and number:
                self._counts[one.what, one.user] = (since, number - 1)
