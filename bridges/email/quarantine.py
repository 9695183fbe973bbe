"""Mails that could not be shown: set aside for the admin, counted in the same room as what waits."""

from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridge_core.api.queues import QueueItem
from bridges.email.envelopes import decode
from bridges.email.room import Room
from bridges.email.spooled import Arrival, Quarantined, size_of, with_reason, without_reason

_log = structlog.get_logger(__name__)
_PAGE: Final = 1000


class Quarantine:
    """Keeps rows of the spool with a reason in front. Nothing goes by itself: the admin retries or drops."""

    def __init__(self, host: Host, kept: Room) -> None:
        self._host = host
        self._queue = host.queue("quarantine")
        self._kept = kept
        self._sizes: dict[str, int] = {}

    @property
    def mails(self) -> int:
        """How many there are."""
        return len(self._sizes)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(self._sizes.values())

    async def start(self) -> None:
        """Count what there is."""
        after = ""
        while page := await self._queue.page(after, _PAGE):
            after = page[-1].key
            for item in page:
                self._add(item.key, size_of(item.body))

    async def put(self, key: str, body: bytes, reason: str) -> None:
        """Return when it is committed. `body` is the mail's row. Idempotent."""
        await self._queue.put([QueueItem(key, with_reason(reason, body), self._host.clock.now_ms())])
        self._add(key, size_of(body))

    async def body(self, key: str) -> bytes | None:
        """The mail's row as it was; None when there is none of that key."""
        item = await self._queue.get(key)
        return without_reason(item.body)[1] if item is not None else None

    async def remove(self, key: str) -> None:
        """It is not set aside any more."""
        await self._queue.put(removed=[key])
        size = self._sizes.pop(key, None)
        if size is not None:
            self._kept.leave(size)

    async def discard(self, key: str) -> bool:
        """Throw a mail away with its bytes; False when there is none of that key."""
        body = await self.body(key)
        if body is None:
            return False
        await self.remove(key)
        try:
            await self._host.blobs.drop(decode(body)[2])
        except (ValueError, BridgeError, OSError) as error:
            _log.debug("mail_discarded_without_file", error=str(error))  # it goes by its age
        return True

    async def page(self, after: str, limit: int) -> list[Quarantined]:
        """What is set aside, by key."""
        found = []
        for item in await self._queue.page(after, limit):
            reason, body = without_reason(item.body)
            try:
                found.append(Quarantined(item.key, reason, Arrival(item, *decode(body))))
            except ValueError:
                _log.debug("mail_row_unreadable_still", key=item.key)
        return found

    def _add(self, key: str, size: int) -> None:
        if key not in self._sizes:
            self._sizes[key] = size
            self._kept.take(size)
