"""How often the end of a try stayed unknown, since the network began: kept, so that an admin sees it at any time."""

import asyncio
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import KV
from bridges.email.delivery.counts import Counts

log = structlog.get_logger(__name__)
_KEY: Final = "doubtful-ends"


class Doubts:
    """Counts them in the store, and for the metrics. Rare: one commit for each."""

    def __init__(self, kv: KV, counts: Counts) -> None:
        self._kv = kv
        self._counts = counts
        self._turn = asyncio.Lock()

    async def note(self, more: int = 1) -> None:
        """So many more; a store that is away is no reason to stop: the metrics have them."""
        self._counts.unknown += more
        try:
            async with self._turn:
                await self._kv.put(_KEY, str(await self.count() + more).encode())
        except BridgeError as error:
            log.info("doubtful_end_not_counted", error=str(error))

    async def count(self) -> int:
        """All of them."""
        row = await self._kv.get(_KEY)
        return int(row) if row is not None and row.isdigit() else 0
