"""What one user's connection reads for them, on its way to the core."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.events import RemoteEvent
from bridge_core.api.network import Inbox
from bridges.irc.pump import Pump
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_FLUSH: Final = 2.0


class Letterbox:
    """The inbox of one login. Its task is made with the first event: most connections never read one.

    `full` and `free` stop and start reading.
    """

    __slots__ = ("_free", "_full", "_inbox", "_pump", "_state", "_task")

    def __init__(self, state: NetworkState, inbox: Inbox, full: Callable[[], None], free: Callable[[], None]) -> None:
        self._state = state
        self._inbox = inbox
        self._full = full
        self._free = free
        self._pump: Pump | None = None
        self._task: asyncio.Task[None] | None = None

    def offer(self, event: RemoteEvent) -> None:
        """Hands an event to the core."""
        self._running().offer(event)

    def mark(self, name: str, value: bytes) -> None:
        """As `Pump.mark`."""
        self._running().mark(name, value)

    async def drained(self, timeout: float) -> bool:
        """As `Pump.drained`."""
        return self._pump is None or await self._pump.drained(timeout)

    def _running(self) -> Pump:
        if self._pump is None:
            host = self._state.running
            self._pump = Pump(self._inbox, host.clock, self._full, self._free, merge=self._state.config.messages.merge)
            self._task = host.tasks.spawn(self._pump.run(), f"irc {self._state.network} private inbox")
        return self._pump

    async def close(self) -> None:
        """What was read is committed first, within two seconds."""
        if self._pump is not None and not await self._pump.drained(_FLUSH):
            log.warning("irc_lines_not_committed", network=self._state.network, lines=len(self._pump))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = self._pump = None
