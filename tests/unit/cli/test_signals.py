"""What the signals of the operating system do to a running bridge."""

import asyncio
import os
import signal
from typing import Any

from bridge_core.cli.run import _serve


class _Bridge:
    """A bridge that notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.changed = asyncio.Event()
        self.gate = asyncio.Event()

    def _note(self, what: str) -> None:
        self.done.append(what)
        self.changed.set()

    async def start(self) -> None:
        self._note("starting")
        await self.gate.wait()
        self._note("started")

    async def reload(self) -> None:
        self._note("reloaded")
        raise RuntimeError("whatever goes wrong")

    async def stop(self, deadline: float) -> None:
        self._note("stopped")

    async def until(self, what: str, count: int = 1) -> None:
        async with asyncio.timeout(60):
            while self.done.count(what) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_a_hangup_reads_the_configuration_again() -> None:
    """SIGHUP while the bridge starts is followed once it has; each later one too; SIGTERM ends it in order.
    Whatever goes wrong with it, the bridge goes on."""
    bridge: Any = _Bridge()
    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(_serve(bridge, 1.0))
    try:
        await bridge.until("starting")
        os.kill(os.getpid(), signal.SIGHUP)
        bridge.gate.set()
        await bridge.until("reloaded")
        os.kill(os.getpid(), signal.SIGHUP)
        await bridge.until("reloaded", 2)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await serving == 0
    finally:
        serving.cancel()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
    assert bridge.done == ["starting", "started", "reloaded", "reloaded", "stopped"]
