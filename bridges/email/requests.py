"""Mails of strangers that wait until somebody of the mailbox wants them."""

from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Host
from bridge_core.api.queues import QueueItem
from bridges.email.codec.addresses import Address
from bridges.email.envelopes import decode, encode
from bridges.email.mail import Envelope, Verdict
from bridges.email.spool import Spool

_log = structlog.get_logger(__name__)
_KEPT: Final = 30 * 86_400_000
"""Milliseconds that a request waits; then it is gone, like a letter that nobody opened."""
_TEND_EVERY: Final = 6 * 3600.0
_MOST: Final = 20
"""Mails of one person that wait; further ones are refused no more than they are shown: they come once accepted."""


class Requests:
    """Holds what the spool gave up, and gives it back.

    Each mail has a copy of its bytes here: the spool drops its own when it is done with it.
    """

    def __init__(self, host: Host, spool: Spool) -> None:
        self._host = host
        self._queue = host.queue("requests")
        self._spool = spool

    async def hold(self, mailbox: str, person: Address, envelope: Envelope, verdict: Verdict, blob: str) -> bool:
        """The mail waits for a word about the person; False when enough of theirs wait. Idempotent."""
        part = _who(mailbox, person)
        held = await self._queue.parts(part)
        key = f"{part} {envelope.id}"
        if any(item.key == key for item in held):
            return True
        if len(held) >= _MOST:
            return False
        copy = await self._host.blobs.put(self._host.blobs.open(blob), envelope.size + 1)
        body = encode(envelope, verdict, copy)
        await self._queue.put([QueueItem(key, body, self._host.clock.now_ms() + _KEPT, part)])
        return True

    async def release(self, mailbox: str, person: Address) -> int:
        """What was held of the person comes now, in order; how many mails that are."""
        held = sorted(await self._queue.parts(_who(mailbox, person)), key=lambda item: item.due)
        for item in held:
            # Into the spool first: what is there twice after a crash is shown once.
            await self._spool.again(item.body)
            await self._queue.put(removed=[item.key])
        return len(held)

    async def waiting(self, mailbox: str, limit: int) -> dict[str, int]:
        """Who waits at a mailbox, by address, and with how many mails; of so many mails at most."""
        found: dict[str, int] = {}
        begin = f"{mailbox} "
        for item in await self._queue.page(begin, limit):
            if item.key.startswith(begin):
                person = item.part_of.removeprefix(begin)
                found[person] = found.get(person, 0) + 1
        return found

    async def drop(self, mailbox: str, person: Address) -> int:
        """What was held of the person is gone; how many mails that were."""
        held = await self._queue.parts(_who(mailbox, person))
        for item in held:
            await self._let_go(item)
        return len(held)

    async def tidy(self) -> int:
        """Drop what has waited for too long, and let the age of other files begin again; how many were dropped."""
        now, gone, after = self._host.clock.now_ms(), 0, ""
        while page := await self._queue.page(after, 500):
            after = page[-1].key
            for item in page:
                if item.due <= now:
                    await self._let_go(item)
                    gone += 1
                    continue
                try:
                    await self._host.blobs.renew(decode(item.body)[2])
                except RejectedError:
                    await self._queue.put(removed=[item.key])
        return gone

    async def tend(self) -> None:
        """Tidy, for ever: to be run in a task."""
        while True:
            await self._host.clock.sleep(_TEND_EVERY)
            try:
                await self.tidy()
            except BridgeError as error:
                _log.warning("mail_requests_not_tidied", error=str(error))

    async def _let_go(self, item: QueueItem) -> None:
        await self._queue.put(removed=[item.key])
        await self._host.blobs.drop(decode(item.body)[2])


def _who(mailbox: str, person: Address) -> str:
    return f"{mailbox} {person.key}"
