"""Points in what the server sends: whoever asks is called once all up to there is read."""

from collections.abc import Callable
from typing import Final

from bridges.irc.codec.serializer import serialize
from bridges.irc.transport import WriteBufferFull

_AT_MOST: Final = 10_000

Passed = Callable[[], None]


class Barriers:
    """One PING for all who wait, while none is on its way: many connections come at once, and lines are few."""

    __slots__ = ("_count", "_next", "_waiting", "_write")

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._waiting: list[Passed] = []
        self._next: list[Passed] = []
        self._count = 0

    def ask(self, passed: Passed) -> bool:
        """Calls `passed` once the server answered a PING sent from now on; False, and no call, when that cannot be."""
        if len(self._next) >= _AT_MOST:
            return False
        self._next.append(passed)
        if self._waiting or self._ping():
            return True
        self._next.pop()
        return False

    def pong(self, token: str) -> bool:
        """Takes a PONG; whether it was for one of these."""
        if not self._waiting or token != f"mc{self._count}":
            return False
        waiting, self._waiting = self._waiting, []
        for passed in waiting:
            passed()
        if self._next and not self._ping():
            self.end()
        return True

    def end(self) -> None:
        """No more can be known: everybody who waits is called."""
        waiting, self._waiting, self._next = [*self._waiting, *self._next], [], []
        for passed in waiting:
            passed()

    def _ping(self) -> bool:
        try:
            self._write(serialize("PING", f"mc{self._count + 1}"))
        except WriteBufferFull:
            return False
        self._count += 1
        self._waiting, self._next = self._next, []
        return True
