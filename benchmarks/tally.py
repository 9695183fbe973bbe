"""What a stub counts about the numbered messages it receives: how many, how fast, in order, once each."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

_MARK = re.compile(rb"seq=(\d+) ns=(\d+)")


def mark(sequence: int, now_ns: int) -> str:
    """Give the text that numbers and times a message; it survives every conversion of a bridge unchanged."""
    return f"seq={sequence} ns={now_ns}"


class Tally:
    """Counts of one measurement. Times are CLOCK_MONOTONIC, which all processes of a machine share."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, asyncio.Event]] = []
        self.reset()

    def reset(self) -> None:
        """Start a new measurement; whoever waits for the old one is let go."""
        for _, event in self._waiting:
            event.set()
        self._waiting.clear()
        self.count = 0
        self.other = 0
        self.first_ns = 0
        self.last_ns = 0
        self.doubled = 0
        self.reordered = 0
        self.latencies: list[int] = []
        self._seen: set[int] = set()
        self._last: dict[str, int] = {}

    def sealed(self) -> None:
        """Count a message whose number cannot be read; whoever can read it looks whether it came once, in order."""
        self._counted(time.monotonic_ns())

    def add(self, lane: str, data: bytes) -> None:
        """Count one message of a lane (a channel or room); messages without a mark count as ``other``."""
        found = _MARK.search(data)
        if found is None:
            self.other += 1
            return
        now = time.monotonic_ns()
        sequence, sent = int(found[1]), int(found[2])
        if sequence in self._seen:
            self.doubled += 1
            return
        self._seen.add(sequence)
        self.latencies.append(now - sent)
        if sequence < self._last.get(lane, -1):
            self.reordered += 1
        self._last[lane] = sequence
        self._counted(now)

    def _counted(self, now: int) -> None:
        if self.count == 0:
            self.first_ns = now
        self.count += 1
        self.last_ns = now
        for wanted, event in self._waiting:
            if self.count >= wanted:
                event.set()

    async def wait(self, count: int, seconds: float) -> bool:
        """Wait until ``count`` messages came; False when they did not within ``seconds``."""
        if self.count >= count:
            return True
        event = asyncio.Event()
        entry = (count, event)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        return self.count >= count

    def report(self) -> dict[str, Any]:
        """Give the counts as JSON-ready values; times in seconds, latencies in milliseconds."""
        ordered = sorted(self.latencies)
        return {
            "count": self.count,
            "other": self.other,
            "doubled": self.doubled,
            "reordered": self.reordered,
            "seconds": (self.last_ns - self.first_ns) / 1e9,
            "p50_ms": percentile(ordered, 0.50),
            "p99_ms": percentile(ordered, 0.99),
        }


def percentile(ordered: list[int], share: float) -> float:
    """Give a percentile of sorted nanoseconds in milliseconds; 0 when there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6
