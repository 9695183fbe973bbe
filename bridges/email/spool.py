"""The mails that were accepted: taken over durably, known again when given twice, kept until they are bridged."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

import structlog

from bridge_core.api.errors import BackpressureError, BridgeError
from bridge_core.api.host import Host
from bridge_core.api.queues import QueueItem
from bridges.email.codec.addresses import Address
from bridges.email.config.receiving import Aside
from bridges.email.envelopes import decode, encode
from bridges.email.known import Known
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.quarantine import Quarantine
from bridges.email.room import Room
from bridges.email.spooled import Arrival, Waiting, fingerprint, renewed, size_of, tried
from bridges.email.tally import Became, Source, Tally

_log = structlog.get_logger(__name__)
_REMEMBER: Final = 7 * 86_400_000
"""Milliseconds for which a mail is known after it was bridged: senders give up within five days."""
_REMEMBER_NAMELESS: Final = 86_400_000
"""The same for one without a Message-ID, unless its client is known to have heard of the 250."""
_FRESH: Final = 512
"""Mails that came last, kept in memory without their bytes: they are not read from the store to be shown."""
_PAGE: Final = 1000
_PUT_OFF: Final = 3_600_000
"""Milliseconds that no mail is put off for."""
_TEND_EVERY: Final = 6 * 3600.0
AGAIN: Final = "again."


class Spool:
    """The `Intake` of the doors, and what the desk takes mails from.

    One queue holds both what waits and, with an empty body, what was bridged in the last days: so a mail is bridged
    and remembered in one commit. Keys are hashes of sender, recipients and the mail without its trace headers.
    """

    def __init__(
        self, host: Host, *, most_mails: int, most_bytes: int, tally: Tally | None = None, aside: Aside | None = None
    ) -> None:
        self._host = host
        self._queue = host.queue("incoming")
        self.kept = Room(most_mails, most_bytes)
        """What waits, and is held, together."""
        self.tally = tally or Tally()
        self.aside = Quarantine(host, aside or Aside(), self.tally)
        self.watch: Callable[[Waiting], None] = lambda _: None
        """Called with each mail that waits from now on."""
        self._known = Known()
        self._waiting: dict[str, int] = {}
        self._fresh: OrderedDict[str, Arrival] = OrderedDict()
        self._left: set[str] | None = None
        """What went while everything is read."""
        self._committing: dict[str, asyncio.Event] = {}

    @property
    def given_twice(self) -> int:
        """Mails that were given again after a 250 that was not heard, and are here once."""
        return self.tally.given_twice

    @property
    def waiting(self) -> int:
        """How many mails wait to be bridged."""
        return len(self._waiting) - sum(key in self._waiting for key in self._committing)

    async def start(self) -> None:
        """Read what waits. To be awaited before the doors open."""
        first = await self._queue.page("", _PAGE)
        self._see(first)
        if len(first) < _PAGE:
            self._known.complete(len(first))
        else:
            # What is remembered is due in days: it is read when there is time (`tend`), and asked for until then.
            last = None
            while page := await self._queue.due(self._host.clock.now_ms() + _PUT_OFF, _PAGE, after=last):
                last = page[-1]
                self._see(page)
        await self.aside.start()
        for key in self.aside.all_keys():
            # A crash came while it was set aside, or tried again: it waits, or was shown, and its file is no more ours.
            if self._known.may_be(key) and await self._queue.get(key) is not None:
                await self.aside.remove(key)

    def close(self) -> None:
        """What waits comes again with the next `start`. Nobody works on it any more."""
        self.tally.ended[Became.LEFT] += self.waiting
        for key in list(self._waiting):
            self._leave(key)

    async def room(self, size: int) -> bool:
        """As `Intake.room`. Full at the high watermark; there is room again at nine tenths of it."""
        return self.kept.fits(size)

    async def accept(self, envelope: Envelope, verdict: Verdict, blob: str) -> None:
        """As `Intake.accept`."""
        taken = False
        try:
            if not await self.room(envelope.size):
                raise BackpressureError("mails wait to be bridged, and there is no room for more")
            key = fingerprint(envelope, verdict)
            while (other := self._committing.get(key)) is not None:
                await other.wait()
            found = await self._remembered(key) if self._known.may_be(key) else None
            if found is not None:
                if found.body and key not in self._waiting:
                    # A commit that seemed to fail, and did not.
                    self._found(found, envelope.door.value)
                    return
                if envelope.has_id or not self._known.confirmed(key):
                    self.tally.came[envelope.door.value] += 1
                    self.tally.ended[Became.TWICE] += 1
                    self.tally.given_twice += 1
                    if envelope.door is not Door.IMPORT:  # whose command says how many those were
                        _log.info("mail_given_twice", id=envelope.id, peer=envelope.peer)
                    return
                # The same words, meant again.
                key = f"{key}.{envelope.id}"
            self._known.unconfirm(fingerprint(envelope, verdict))
            # A commit that seems to fail may be there all the same: the bytes stay, to be swept by their age if not.
            taken = True
            item = QueueItem(key, encode(envelope, verdict, blob), envelope.received_at)
            await self._commit(Arrival(item, envelope, verdict, blob))
        finally:
            if not taken:
                await self._drop(blob)

    async def _commit(self, arrival: Arrival) -> None:
        item, envelope = arrival.item, arrival.envelope
        committing = self._committing[item.key] = asyncio.Event()
        self._known.add(item.key)
        self._wait(item.key, envelope.size)
        try:
            await self._queue.put([item])
        except BaseException:
            # It may be stored all the same; then it is found at the next look, or the next start.
            self._leave(item.key)
            raise
        finally:
            del self._committing[item.key]
            committing.set()
        self.tally.came[envelope.door.value] += 1
        self._opened(arrival)
        self.watch(Waiting(item.key, item.due, item.due, envelope.recipients, envelope.login))

    async def refuse(self, blob: str) -> None:
        """The mail is not taken: its bytes go."""
        await self._drop(blob)

    def confirmed(self, envelope: Envelope) -> None:
        """As `Intake.confirmed`."""
        if not envelope.has_id:
            self._known.confirm(fingerprint(envelope))

    async def open(self, key: str) -> Arrival | None:
        """A mail that waits; None where it does not any more. One that cannot be read is set aside.

        From memory where it came lately.
        """
        if (arrival := self._fresh.pop(key, None)) is not None:
            return arrival
        item = await self._queue.get(key)
        if item is None or not item.body:
            self._leave(key)
            return None
        try:
            return Arrival(item, *decode(item.body))
        except ValueError as error:
            _log.error("mail_row_unreadable", key=item.key, error=str(error))
            await self._put_aside(item, str(error))
            return None

    async def begin(self, arrivals: Sequence[Arrival], due: int) -> list[Arrival]:
        """Record in one commit that they are tried, before they are: they come again at `due` should we die of it."""
        begun = [tried(one, due, 1) for one in arrivals]
        await self._queue.put([one.item for one in begun])
        return begun

    async def put_off(self, arrivals: Sequence[Arrival], due: int) -> None:
        """What was begun ended in order, without an end: it is tried again at `due`."""
        later = [tried(one, due, -1) for one in arrivals]
        await self._queue.put([one.item for one in later])
        for one in later:
            self._opened(one)

    async def done(self, arrival: Arrival, became: Became) -> None:
        """It is bridged: the bytes go, and it is remembered for when it is given again."""
        key = arrival.item.key
        plain = key == fingerprint(arrival.envelope, arrival.verdict)
        keep = _REMEMBER if arrival.envelope.has_id else _REMEMBER_NAMELESS
        told = plain and (arrival.envelope.has_id or not self._known.confirmed(key))
        if told or key.startswith(AGAIN):
            await self._queue.put([QueueItem(key, b"", self._host.clock.now_ms() + keep)])
        else:
            await self._queue.put(removed=[key])
        self._end(key, became)
        await self._drop(arrival.blob)

    # The quarantine

    async def quarantine(self, arrival: Arrival, reason: str) -> None:
        """It cannot be bridged: kept for the admin, out of the way of the others."""
        await self._put_aside(arrival.item, reason)
        _log.warning("mail_quarantined", id=arrival.envelope.id, reason=reason[:200])

    async def split_off(self, arrival: Arrival, recipients: tuple[Address, ...], reason: str) -> None:
        """The same for some recipients of a mail that others have; with a file of its own. Idempotent."""
        key = fingerprint(replace(arrival.envelope, recipients=recipients)) + f".{arrival.envelope.id}"
        if await self.aside.body(key) is not None:
            return
        envelope = replace(arrival.envelope, recipients=recipients)
        blob = await self._host.blobs.put(self._host.blobs.open(arrival.blob), envelope.size + 1)
        await self.aside.put(key, encode(envelope, arrival.verdict, blob), reason)
        self.tally.came[Source.COPY] += 1
        self.tally.ended[Became.QUARANTINED] += 1
        _log.warning("mail_quarantined", id=envelope.id, reason=reason[:200])

    async def release(self, key: str) -> bool:
        """Try a mail of the quarantine again; False when there is none of that key."""
        body = await self.aside.body(key)
        if body is None:
            return False
        back = QueueItem(key, body, self._host.clock.now_ms())
        await self._queue.put([back])
        await self.aside.remove(key)
        self._found(back, Source.RETRIED)
        return True

    # What was kept elsewhere

    async def again(self, kept: str, body: bytes) -> None:
        """Bridge a mail that was kept elsewhere meanwhile: `body` is its row, with a file of its own. Idempotent.

        `kept` is the name of the row there: one mail may be kept for several mailboxes.
        """
        # Under a key of its own: it is no second handing over by its sender.
        if not await self.came_again(kept):
            item = QueueItem(_again(kept), body, self._host.clock.now_ms())
            await self._queue.put([item])
            self._found(item, Source.ACCEPTED)

    async def came_again(self, kept: str) -> bool:
        """Whether `again` was done with the row of that name: its file is ours."""
        key = _again(kept)
        return await self._queue.get(key) is not None or await self.aside.body(key) is not None

    # Care

    async def tend(self) -> None:
        """Read what is remembered, forget what is old, keep the bytes of what waits for long: to be run in a task."""
        while True:
            try:
                await self.read_all()
                await self.forget()
                await self.renew()
            except Exception as error:
                _log.warning("mail_spool_not_tended", error=repr(error))
            await self._host.clock.sleep(_TEND_EVERY)

    async def read_all(self) -> None:
        """Know all that is remembered, where it is not too much, and find what waits and was not known of."""
        after, known = "", 0
        self._left = set()
        try:
            while page := await self._queue.page(after, _PAGE):
                after = page[-1].key
                known += len(page)
                self._see(page)
        finally:
            self._left = None
        self._known.complete(known)

    async def forget(self) -> None:
        """Forget what was remembered for long enough."""
        last = None
        while page := await self._queue.due(self._host.clock.now_ms(), _PAGE, after=last):
            last = page[-1]
            # Not one that comes again right now.
            old = [item.key for item in page if not item.body and item.key not in self._waiting]
            if old:
                await self._queue.put(removed=old)
                for key in old:
                    self._known.forget(key)

    async def renew(self) -> int:
        """Let the age of all that waits or is set aside begin again; how many those are."""
        count = 0
        for queue in (self._queue, self._host.queue("quarantine")):
            after = ""
            while page := await queue.page(after, _PAGE):
                after = page[-1].key
                count += await renewed(self._host.blobs, page)
        return count

    async def _put_aside(self, item: QueueItem, reason: str) -> None:
        # A crash between the two leaves it in both; it is then tried once more, and put here again.
        await self.aside.put(item.key, item.body, reason)
        await self._queue.put(removed=[item.key])
        self._end(item.key, Became.QUARANTINED)

    def _see(self, items: Sequence[QueueItem]) -> None:
        """What there is: known from now on, and waited for where it waits."""
        for item in items:
            self._known.add(item.key)
            if item.body and item.key not in self._waiting and item.key not in (self._left or ()):
                self._found(item, Source.RESTART)

    def _found(self, item: QueueItem, source: str) -> None:
        try:
            envelope, _, _ = decode(item.body)
            waiting = Waiting(item.key, envelope.received_at, item.due, envelope.recipients, envelope.login)
        except ValueError:
            waiting = Waiting(item.key, item.due, item.due, ())  # set aside when it is opened
        self._known.add(item.key)
        self._wait(item.key, size_of(item.body))
        self.tally.came[source] += 1
        self.watch(waiting)

    async def _remembered(self, key: str) -> QueueItem | None:
        item = await self._queue.get(key)
        return item if item is not None and (item.body or item.due > self._host.clock.now_ms()) else None

    def _opened(self, arrival: Arrival) -> None:
        self._fresh[arrival.item.key] = arrival
        if len(self._fresh) > _FRESH:
            self._fresh.popitem(last=False)

    def _wait(self, key: str, size: int) -> None:
        if key not in self._waiting:
            self._waiting[key] = size
            self.kept.take(size)

    def _leave(self, key: str) -> bool:
        self._fresh.pop(key, None)
        size = self._waiting.pop(key, None)
        if size is None:
            return False
        self.kept.leave(size)
        if self._left is not None:
            self._left.add(key)  # a page that was read before may still show it
        return True

    def _end(self, key: str, became: Became) -> None:
        if self._leave(key):
            self.tally.ended[became] += 1

    async def _drop(self, blob: str) -> None:
        try:
            await self._host.blobs.drop(blob)
        except (BridgeError, OSError) as error:
            # It goes by its age.
            _log.debug("mail_not_dropped", error=str(error))


def _again(kept: str) -> str:
    return AGAIN + sha256(kept.encode(errors="replace")).hexdigest()
