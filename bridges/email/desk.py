"""Takes mails from the spool, has them read, and shows them: each mailbox's in the order in which they came."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import BackpressureError, BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Host
from bridges.email.arrivals import Arrivals
from bridges.email.codec.addresses import Address
from bridges.email.lanes import Lanes
from bridges.email.mail import Door
from bridges.email.mailboxes import Mailboxes
from bridges.email.parsing.pool import Parsed, Parser, UnreadableMailError
from bridges.email.people import Author
from bridges.email.requests import Requests
from bridges.email.spool import AGAIN, Spool
from bridges.email.spooled import Arrival, Waiting
from bridges.email.submissions import Submissions
from bridges.email.tally import Became, best

_log = structlog.get_logger(__name__)
_AT_ONCE: Final = 8
"""Mails that are read or shown at the same time."""
_BACKOFF: Final = (2_000, 600_000)
"""Milliseconds until a mail is tried again: first and longest."""
_TRIES: Final = 3
"""Tries of a mail that ended with the bridge itself; then it is set aside."""
_LARGEST_FILE: Final = 1 << 30
_STOP: Final = 5.0
"""Seconds that are taken, at a stop, to record that it was no mail's fault."""


class Desk:
    """Runs until it is cancelled. A mail leaves the spool when everything it became is committed."""

    def __init__(
        self,
        host: Host,
        spool: Spool,
        parser: Parser,
        arrivals: Arrivals,
        requests: Requests,
        mailboxes: Mailboxes,
        submissions: Submissions,
    ) -> None:
        self._host = host
        self._spool = spool
        self._parser = parser
        self._arrivals = arrivals
        self._requests = requests
        self._mailboxes = mailboxes
        self._submissions = submissions
        self._lanes = Lanes(self._wanted)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._begun: dict[str, Arrival] = {}
        self._failed: dict[str, int] = {}
        self._alone: Arrival | None = None
        self._work = asyncio.Event()
        spool.watch = self._came

    def _came(self, waiting: Waiting) -> None:
        self._lanes.add(waiting)
        self._work.set()

    async def run(self) -> None:
        """Work, for ever."""
        try:
            while True:
                self._work.clear()
                try:
                    await self._begin()
                except BridgeError as error:
                    _log.warning("mail_desk_waits", error=str(error))
                    await self._host.clock.sleep(_BACKOFF[0] / 1000)
                    continue
                except Exception:
                    # Whatever it is: a desk that ended would leave all mail lying that was said to be taken.
                    _log.exception("mail_desk_failed")
                    await self._host.clock.sleep(_BACKOFF[0] / 1000)
                    continue
                await self._wait()
        finally:
            tasks = list(self._busy.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stopped()

    async def _begin(self) -> None:
        """Begin what can be begun now, with one commit for all."""
        arrivals: list[Arrival] = []
        try:
            while self._alone is None and len(self._busy) + len(arrivals) < _AT_ONCE:
                key = self._lanes.take(self._host.clock.now_ms())
                if key is None:
                    break
                arrival = await self._opened(key)
                if arrival is None:
                    continue
                if arrival.item.attempts >= _TRIES:
                    await self._given_up(arrival)
                elif arrival.item.attempts == _TRIES - 1:
                    # The last try is made alone: if the bridge ends again, it was this one and no other.
                    self._alone = arrival
                else:
                    arrivals.append(arrival)
            if self._alone is not None and not arrivals and not self._busy:
                arrivals.append(self._alone)
            if arrivals:
                attempts = max(one.item.attempts for one in arrivals)
                due = self._host.clock.now_ms() + _BACKOFF[0] * 2**attempts
                begun = await self._spool.begin(arrivals, due)
                arrivals = []
                for arrival in begun:
                    self._start(arrival)
        finally:
            for arrival in arrivals:  # the database did not take it
                self._again(arrival.item.key, _BACKOFF[0])
                if arrival is self._alone:
                    self._alone = None

    async def _given_up(self, arrival: Arrival) -> None:
        key = arrival.item.key
        try:
            await self._spool.quarantine(arrival, f"the bridge ended {_TRIES} times while it was shown")
        except (TransientError, asyncio.CancelledError):
            self._again(key, _BACKOFF[0])
            raise
        except Exception:
            # It hinders none but its own mailboxes.
            _log.exception("mail_not_set_aside", id=arrival.envelope.id)
            self._again(key, _BACKOFF[1])
        else:
            self._lanes.over(key)

    async def _opened(self, key: str) -> Arrival | None:
        try:
            arrival = await self._spool.open(key)
        except BaseException:
            self._again(key, _BACKOFF[0])
            raise
        if arrival is None:
            self._lanes.over(key)
        return arrival

    def _start(self, arrival: Arrival) -> None:
        key = arrival.item.key
        self._begun[key] = arrival
        self._busy[key] = self._host.tasks.spawn(self._one(arrival), "email arrival")
        self._busy[key].add_done_callback(lambda _: self._over(key))

    def _over(self, key: str) -> None:
        del self._busy[key]
        if self._alone is not None and self._alone.item.key == key:
            self._alone = None
        self._work.set()

    def _again(self, key: str, delay: int) -> None:
        self._lanes.put_off(key, self._host.clock.now_ms() + delay)
        self._work.set()

    def _wanted(self, waiting: Waiting) -> frozenset[str]:
        """The mailboxes that a mail is for."""
        found = {mailbox.key for one in waiting.recipients if (mailbox := self._mailboxes.find(one))}
        return frozenset({*found, waiting.login} if waiting.login is not None else found)

    async def _wait(self) -> None:
        """Until a mail comes, one is done, or one that was put off is due."""
        due = self._lanes.next_due()
        seconds = None if due is None else max(0.0, (due - self._host.clock.now_ms()) / 1000)
        if seconds == 0.0 and self._busy:
            seconds = None  # what is due waits for what is under way
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._work.wait()

    async def _one(self, arrival: Arrival) -> None:
        key = arrival.item.key
        try:
            await self._tried(arrival)
        except Exception:
            # Its mailboxes go on: with this mail again, later.
            _log.exception("mail_not_set_aside", id=arrival.envelope.id)
            if self._begun.pop(key, None) is not None:
                self._again(key, _BACKOFF[1])

    async def _tried(self, arrival: Arrival) -> None:
        """Show it, or set it aside, or put it off."""
        key = arrival.item.key
        try:
            await self._show(arrival)
        except UnreadableMailError as error:
            await self._aside(arrival, str(error))
        except (BackpressureError, TransientError, RateLimitedError) as error:
            await self._put_off(arrival, error)
        except RejectedError as error:
            await self._aside(arrival, str(error))
        except Exception as error:
            # Whatever it is, it concerns this mail alone, and the mail is not lost by it.
            _log.exception("mail_not_shown", id=arrival.envelope.id)
            await self._aside(arrival, f"an error in the bridge: {error!r}")
        else:
            self._end(key)

    async def _put_off(self, arrival: Arrival, error: BridgeError) -> None:
        key = arrival.item.key
        failed = self._failed.get(key, 0)
        delay = min(_BACKOFF[0] * 2 ** min(failed, 20), _BACKOFF[1])
        _log.info("mail_waits", id=arrival.envelope.id, reason=str(error), seconds=delay // 1000)
        self._failed[key] = failed + 1
        with contextlib.suppress(TransientError):
            await self._spool.put_off([arrival], self._host.clock.now_ms() + delay)
        del self._begun[key]
        self._again(key, delay)

    async def _aside(self, arrival: Arrival, reason: str) -> None:
        try:
            await self._spool.quarantine(arrival, reason)
        except TransientError as error:
            await self._put_off(arrival, error)
        else:
            self._end(arrival.item.key)

    def _end(self, key: str) -> None:
        del self._begun[key]
        self._failed.pop(key, None)
        self._lanes.over(key)

    async def _stopped(self) -> None:
        """What was under way was stopped in order: its try does not count."""
        begun, self._begun = list(self._begun.values()), {}
        self._lanes, self._alone = Lanes(self._wanted), None
        self._failed.clear()
        if begun:
            try:
                async with asyncio.timeout(_STOP):
                    await self._spool.put_off(begun, self._host.clock.now_ms())
            except (TimeoutError, BridgeError) as error:
                _log.info("mail_tries_not_taken_back", error=str(error))

    async def _show(self, arrival: Arrival) -> None:
        envelope = arrival.envelope
        # An old mail that is in two files of an import is one.
        given = "" if envelope.has_id or envelope.door is Door.IMPORT else envelope.id
        context = self._parser.context(
            envelope.received_at,
            given=given,
            null_sender=envelope.sender is None,
            domains=self._mailboxes.domains,
        )
        async with self._parser.parse(lambda: self._host.blobs.open(arrival.blob), context) as parsed:

            async def stored(number: int) -> str:
                return await self._host.blobs.put(_file(parsed, number), _LARGEST_FILE)

            async def hold(mailbox: str, author: Author, recipients: Sequence[Address]) -> str | None:
                # What the others of its mailboxes have of it is none of this one's business.
                own = replace(envelope, recipients=tuple(recipients))
                return await self._requests.hold(mailbox, author, own, arrival.verdict, arrival.blob)

            shown = await self._arrivals.show(envelope, arrival.verdict, envelope.digest, parsed.mail, stored, hold)
            if not arrival.item.key.startswith(AGAIN):  # what was held for one mailbox went on when it came
                await self._submissions.send_on(envelope, parsed.mail, lambda: self._host.blobs.open(arrival.blob))
        if shown.became == {Became.QUARANTINED}:
            await self._spool.quarantine(arrival, "; ".join(reason for _, reason in shown.aside))
            return
        for recipients, reason in shown.aside:
            await self._spool.split_off(arrival, recipients, reason)
        await self._spool.done(arrival, best(shown.became))


async def _file(parsed: Parsed, number: int) -> AsyncIterator[bytes]:
    async for chunk in parsed.file(number):
        yield chunk
