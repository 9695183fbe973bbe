"""What a client says too fast: it waits, and when too much waits the client is ended (Excess Flood)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from bridges.irc.demo.options import Flood


class Penalty:
    """The lines of one client that wait for their turn: a bucket of ``burst`` lines that fills at ``rate`` a second."""

    __slots__ = ("_at", "_limits", "_run", "_timer", "_tokens", "waiting")

    def __init__(self, limits: Flood, run: Callable[[str], None]) -> None:
        self._limits = limits
        self._run = run
        self._tokens = float(limits.burst)
        self._at = asyncio.get_running_loop().time()
        self._timer: asyncio.TimerHandle | None = None
        self.waiting: deque[str] = deque()

    def take(self, text: str) -> bool:
        """Run a line now or later; False when too many wait."""
        self.waiting.append(text)
        self._drain()
        return len(self.waiting) <= self._limits.excess

    def stop(self) -> None:
        """Forget what waits."""
        self.waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._tokens = min(self._tokens + (now - self._at) * self._limits.rate, float(self._limits.burst))
        self._at = now
        while self.waiting and self._tokens >= 1:
            self._tokens -= 1
            self._run(self.waiting.popleft())
        if self.waiting and self._timer is None:
            self._timer = loop.call_later((1 - self._tokens) / self._limits.rate, self._again)

    def _again(self) -> None:
        self._timer = None
        self._drain()
