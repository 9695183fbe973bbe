"""The mails that were accepted: taken over durably, known again when given twice, kept until they are bridged."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from bridge_core.api.errors import BackpressureError, BridgeError, RejectedError
from bridge_core.api.host import Host
from bridge_core.api.queues import QueueItem
from bridges.email.envelopes import decode, encode
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.waiting import Arrival as Arrival
from bridges.email.waiting import Waiting

_log = structlog.get_logger(__name__)
_REMEMBER: Final = 7 * 86_400_000
"""Milliseconds for which a mail is known after it was bridged: senders give up within five days."""
_REMEMBER_NAMELESS: Final = 86_400_000
"""The same for one without a Message-ID, unless its client is known to have heard of the 250."""
_KNOWN: Final = 200_000
_PAGE: Final = 1000
_TEND_EVERY: Final = 6 * 3600.0
_TEND_AGAIN: Final = 60.0
_LOW: Final = 0.9


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A mail that could not be bridged, and why, in words."""

    key: str
    reason: str
    arrival: Arrival


class Spool:
    """The `Intake` of the doors, and what the runner takes mails from.

    One queue holds both what waits and, with an empty body, what was bridged in the last days: so a mail is bridged
    and remembered in one commit. Keys are hashes of sender, recipients and the mail without its trace headers.
    """

    def __init__(self, host: Host, *, most_mails: int, most_bytes: int) -> None:
        self._host = host
        self._queue = host.queue("incoming")
        self._quarantine = host.queue("quarantine")
        self._most_mails = most_mails
        self._most_bytes = most_bytes
        self._known: OrderedDict[str, None] = OrderedDict()
        self._waiting: dict[str, int] = {}
        self._next = Waiting(self._queue, self._open)
        self._bytes = 0
        self._confirmed: OrderedDict[str, None] = OrderedDict()
        self._committing: dict[str, asyncio.Event] = {}
        self._full = False
        self.given_twice = 0
        """Mails that were given again after a 250 that was not heard, and are here once."""
        self.arrived = asyncio.Event()
        """Set with each mail that comes; the runner clears it before it looks."""

    @property
    def waiting(self) -> int:
        """How many mails wait to be bridged."""
        return len(self._waiting)

    async def start(self) -> None:
        """Read what there is. To be awaited before the doors open."""
        after = ""
        while page := await self._queue.page(after, _PAGE):
            after = page[-1].key
            for item in page:
                self._know(item.key)
                if item.body:
                    self._wait(item.key, _size(item))
        self.arrived.set()

    async def room(self, size: int) -> bool:
        """As `Intake.room`. Full at the high watermark; there is room again at nine tenths of it."""
        share = _LOW if self._full else 1.0
        full = len(self._waiting) >= self._most_mails * share or self._bytes >= self._most_bytes * share
        if full != self._full:
            self._full = full
            if full:
                _log.warning("mail_spool_full", mails=len(self._waiting), bytes=self._bytes)
            else:
                _log.info("mail_spool_has_room")
        # That one mail is too large for what is left says nothing of the others.
        return not full and self._bytes + size <= self._most_bytes

    async def accept(self, envelope: Envelope, verdict: Verdict, blob: str) -> None:
        """As `Intake.accept`."""
        taken = False
        try:
            if not await self.room(envelope.size):
                raise BackpressureError("mails wait to be bridged, and there is no room for more")
            key = fingerprint(envelope)
            while (other := self._committing.get(key)) is not None:
                await other.wait()
            if key in self._known and await self._remembered(key):
                if envelope.has_id or key not in self._confirmed:
                    self.given_twice += 1
                    if envelope.door is not Door.IMPORT:  # whose command says how many those were
                        _log.info("mail_given_twice", id=envelope.id, peer=envelope.peer)
                    return
                # The same words, meant again.
                key = f"{key}.{envelope.id}"
            self._confirmed.pop(fingerprint(envelope), None)
            # A commit that seems to fail may be there all the same: the bytes stay, to be swept by their age if not.
            taken = True
            item = QueueItem(key, encode(envelope, verdict, blob), envelope.received_at)
            await self._commit(Arrival(item, envelope, verdict, blob))
        finally:
            if not taken:
                await self._drop(blob)

    async def _commit(self, arrival: Arrival) -> None:
        item = arrival.item
        committing = self._committing[item.key] = asyncio.Event()
        self._know(item.key)
        self._wait(item.key, arrival.envelope.size)
        try:
            await self._put(item)
            self._next.put(arrival)
            self.arrived.set()
        except BaseException:
            # It may be stored all the same; then it is found at the next look, or the next start.
            self._leave(item.key)
            raise
        finally:
            del self._committing[item.key]
            committing.set()

    def confirmed(self, envelope: Envelope) -> None:
        """As `Intake.confirmed`."""
        if not envelope.has_id:
            self._confirmed[fingerprint(envelope)] = None
            if len(self._confirmed) > _KNOWN:
                self._confirmed.popitem(last=False)

    async def due(self, now: int, limit: int, *, after: Arrival | None = None) -> list[Arrival]:
        """What is to be bridged by now, oldest first, behind `after`."""
        return await self._next.due(now, limit, after=after)

    async def next_due(self) -> int | None:
        """When there will be something to do."""
        return self._next.next_due()

    async def attempt(self, arrival: Arrival, due: int) -> Arrival:
        """Record that it is tried, before it is: it comes again at `due` should we die of it."""
        item = QueueItem(arrival.item.key, arrival.item.body, due, attempts=arrival.item.attempts + 1)
        await self._put(item)
        tried = Arrival(item, arrival.envelope, arrival.verdict, arrival.blob)
        self._next.put(tried)
        return tried

    async def done(self, arrival: Arrival) -> None:
        """It is bridged: the bytes go, and it is remembered for when it is given again."""
        key = arrival.item.key
        plain = key == fingerprint(arrival.envelope)
        keep = _REMEMBER if arrival.envelope.has_id else _REMEMBER_NAMELESS
        if plain and (arrival.envelope.has_id or key not in self._confirmed):
            await self._put(QueueItem(key, b"", self._host.clock.now_ms() + keep))
        else:
            await self._put(removed=[key])
        self._leave(key)
        await self._drop(arrival.blob)

    async def quarantine(self, arrival: Arrival, reason: str) -> None:
        """It cannot be bridged: kept for the admin, out of the way of the others."""
        key = arrival.item.key
        row = QueueItem(key, _with_reason(reason, arrival.item.body), self._host.clock.now_ms())
        # A crash between the two leaves it in both; it is then tried once more, and put here again.
        await self._quarantine.put([row])
        await self._put(removed=[key])
        self._leave(key)
        _log.warning("mail_quarantined", id=arrival.envelope.id, reason=reason[:200])

    async def quarantined(self, after: str = "", limit: int = 100) -> list[Quarantined]:
        """What is set aside, by key."""
        found = []
        for item in await self._quarantine.page(after, limit):
            reason, body = _without_reason(item.body)
            try:
                found.append(Quarantined(item.key, reason, Arrival(item, *decode(body))))
            except ValueError:
                _log.debug("mail_row_unreadable_still", key=item.key)
        return found

    async def release(self, key: str) -> bool:
        """Try a mail of the quarantine again; False when there is none of that key."""
        item = await self._quarantine.get(key)
        if item is None:
            return False
        back = QueueItem(key, _without_reason(item.body)[1], self._host.clock.now_ms())
        await self._put(back)
        await self._quarantine.put(removed=[key])
        self._know(key)
        if (arrival := await self._open(back)) is not None:
            self._next.put(arrival)
        self.arrived.set()
        return True

    async def again(self, body: bytes) -> None:
        """Bridge a mail that was kept elsewhere meanwhile: `body` is its row, with a file of its own."""
        envelope, verdict, blob = decode(body)
        # Under a key of its own: it is no second handing over by its sender.
        item = QueueItem(f"again.{envelope.id}", body, self._host.clock.now_ms())
        await self._put(item)
        self._wait(item.key, envelope.size)
        self._next.put(Arrival(item, envelope, verdict, blob))
        self.arrived.set()

    async def discard(self, key: str) -> bool:
        """Throw a mail of the quarantine away; False when there is none of that key."""
        item = await self._quarantine.get(key)
        if item is None:
            return False
        await self._quarantine.put(removed=[key])
        try:
            await self._drop(decode(_without_reason(item.body)[1])[2])
        except ValueError:
            _log.debug("mail_discarded_unread")
        return True

    async def tend(self) -> None:
        """Keep the bytes of what waits for long from being swept, and forget, for ever: to be run in a task."""
        while True:
            try:
                await self.forget()
                await self._host.clock.sleep(_TEND_EVERY)
                await self.renew()
            except BridgeError as error:
                _log.warning("mail_spool_not_renewed", error=str(error))
                await self._host.clock.sleep(_TEND_AGAIN)

    async def renew(self) -> int:
        """Let the age of all that waits or is set aside begin again; how many those are."""
        count = 0
        for queue in (self._queue, self._quarantine):
            after = ""
            while page := await queue.page(after, _PAGE):
                after = page[-1].key
                count += await self._renew(page)
        return count

    async def _renew(self, items: Sequence[QueueItem]) -> int:
        count = 0
        for item in items:
            if not item.body:
                continue
            try:
                await self._host.blobs.renew(decode(_without_reason(item.body)[1])[2])
                count += 1
            except (RejectedError, ValueError) as error:
                _log.debug("mail_not_renewed", key=item.key, error=str(error))
        return count

    async def _open(self, item: QueueItem) -> Arrival | None:
        try:
            arrival = Arrival(item, *decode(item.body))
        except ValueError as error:
            _log.error("mail_row_unreadable", key=item.key, error=str(error))
            await self._quarantine.put([QueueItem(item.key, _with_reason(str(error), item.body), item.due)])
            await self._put(removed=[item.key])
            self._leave(item.key)
            return None
        # What was stored though its commit seemed to fail was not counted yet.
        self._wait(item.key, arrival.envelope.size)
        return arrival

    async def forget(self) -> int:
        """Forget what was remembered long enough; how many those were."""
        now, count, last = self._host.clock.now_ms(), 0, None
        while items := await self._queue.due(now, _PAGE, after=last):
            last = items[-1]
            # Not one that comes again right now.
            old = [item.key for item in items if not item.body and item.key not in self._waiting]
            if old:
                await self._queue.put(removed=old)
            for key in old:
                self._known.pop(key, None)
            count += len(old)
        return count

    async def _remembered(self, key: str) -> bool:
        item = await self._queue.get(key)
        return item is not None and (bool(item.body) or item.due > self._host.clock.now_ms())

    async def _put(self, *items: QueueItem, removed: Sequence[str] = ()) -> None:
        try:
            await self._queue.put(items, removed=removed)
        except BaseException:
            # Stored or not: the store knows.
            self._next.forget()
            self.arrived.set()
            raise

    def _know(self, key: str) -> None:
        self._known[key] = None
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _wait(self, key: str, size: int) -> None:
        if key not in self._waiting:
            self._waiting[key] = size
            self._bytes += size

    def _leave(self, key: str) -> None:
        self._next.remove(key)
        self._bytes -= self._waiting.pop(key, 0)

    async def _drop(self, blob: str) -> None:
        try:
            await self._host.blobs.drop(blob)
        except (BridgeError, OSError) as error:
            # It goes by its age.
            _log.debug("mail_not_dropped", error=str(error))


def fingerprint(envelope: Envelope) -> str:
    """What a mail is known by when it is given again: its sender, its recipients, and all that its author wrote."""
    found = hashlib.sha256()
    for one in (str(envelope.sender or ""), *sorted(one.key for one in envelope.recipients), envelope.digest):
        found.update(one.encode() + b"\0")
    return found.hexdigest()


def _with_reason(reason: str, body: bytes) -> bytes:
    # Within the row, since a reason may quote the mail, and rows are sealed.
    return reason[:500].replace("\0", "").encode() + b"\0" + body


def _without_reason(body: bytes) -> tuple[str, bytes]:
    reason, mark, rest = body.partition(b"\0")
    return (reason.decode("utf-8", "replace"), rest) if mark else ("", body)


def _size(item: QueueItem) -> int:
    try:
        return decode(item.body)[0].size
    except ValueError:
        return 0
