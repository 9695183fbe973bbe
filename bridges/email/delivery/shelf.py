"""The rows in the store, and who may change them: one at a time, so that no mail is changed while it is sent."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Blobs, Clock
from bridge_core.api.ids import MessageId
from bridge_core.api.queues import Queue, QueueItem
from bridges.email.delivery.rows import BROKEN, DONE, WAITING, Row, State, item_of, row_of

log = structlog.get_logger(__name__)
_NEVER: Final = 2**52


class Shelf:
    """The one place that writes the queue. `turn` is held from looking at rows to their commit."""

    def __init__(self, queue: Queue, blobs: Blobs, clock: Clock, remember: float) -> None:
        self.queue = queue
        self.turn = asyncio.Lock()
        self.wake = asyncio.Event()
        """Something is due sooner than was thought."""
        self._blobs = blobs
        self._clock = clock
        self._remember = int(remember * 1000)

    async def get(self, row_id: str) -> Row | None:
        """The row, waiting or remembered."""
        for key in (WAITING + row_id, DONE + row_id):
            item = await self.queue.get(key)
            if item is not None:
                return row_of(item)
        return None

    async def rows(self, message: MessageId) -> list[tuple[Row, int]]:
        """All rows of a message, with when they are due."""
        return [(row_of(item), item.due) for item in await self.queue.parts(str(message))]

    async def put(self, changed: Iterable[tuple[Row, int]] = (), removed: Sequence[str] = ()) -> None:
        """Commit rows with when they are due (those done with are remembered as long as is configured)."""
        items: list[QueueItem] = []
        gone = list(removed)
        for row, due in changed:
            if row.done:
                gone.append(WAITING + row.id)
                due = self._clock.now_ms() + self._remember
            items.append(item_of(row, due))
        await self.queue.put(items, removed=gone)

    async def set_aside(self, item: QueueItem) -> None:
        """Keep what cannot be read, where nobody comes upon it again."""
        await self.queue.put([replace(item, key=BROKEN + item.key, due=_NEVER)], removed=[item.key])

    async def waiting(self, after: str, limit: int) -> list[tuple[Row, int]]:
        """Rows that wait, by id, behind `after`."""
        items = await self.queue.page(WAITING + after, limit)
        return [(row_of(item), item.due) for item in items if item.key.startswith(WAITING)]

    async def release(self, message: MessageId, blobs: Iterable[str]) -> None:
        """Drop those of the blobs that no row of the message waits for any more."""
        needed = {row.mail.blob for row, _ in await self.rows(message) if not row.done}
        for blob in set(blobs) - needed:
            await self._blobs.drop(blob)

    async def renew(self, row: Row) -> None:
        """Let the spool keep the mail's bytes: it sweeps what is older than a message of Matrix is tried."""
        try:
            await self._blobs.renew(row.mail.blob)
        except BridgeError as error:
            # When it is gone, the next try says so to its sender.
            log.info("mail_not_renewed", mail=row.mail.id, error=str(error))

    async def cancel(self, rows: Sequence[Row]) -> None:
        """Take rows off that wait; nobody is told. The turn must be held."""
        now = self._clock.now_ms()
        await self.put([(row.ended(State.CANCELLED), now) for row in rows])
        for message, blobs in _by_message(rows).items():
            await self.release(message, blobs)


def _by_message(rows: Sequence[Row]) -> dict[MessageId, set[str]]:
    found: dict[MessageId, set[str]] = {}
    for row in rows:
        found.setdefault(row.about.message, set()).add(row.mail.blob)
    return found
