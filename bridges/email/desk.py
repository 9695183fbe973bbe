"""Takes mails from the spool, has them read, and shows them: each mailbox's in the order in which they came."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from bridge_core.api.errors import BackpressureError, BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Host
from bridges.email.arrivals import Arrivals
from bridges.email.codec.addresses import Address
from bridges.email.mailboxes import Mailboxes
from bridges.email.parsing.pool import Parsed, Parser, UnreadableMailError
from bridges.email.requests import Requests
from bridges.email.spool import Arrival, Spool
from bridges.email.submissions import Submissions

_log = structlog.get_logger(__name__)
_AT_ONCE: Final = 8
"""Mails that are read or shown at the same time."""
_LOOK: Final = 64
"""Mails that are looked at for one whose mailboxes are free."""
_BACKOFF: Final = (2_000, 600_000)
"""Milliseconds until a mail is tried again: first and longest."""
_LARGEST_FILE: Final = 1 << 30


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
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._taken: dict[str, frozenset[str]] = {}

    async def run(self) -> None:
        """Work, for ever."""
        try:
            while True:
                self._spool.arrived.clear()
                try:
                    await self._begin()
                    await self._wait()
                except BridgeError as error:
                    _log.warning("mail_desk_waits", error=str(error))
                    await self._host.clock.sleep(_BACKOFF[0] / 1000)
        finally:
            tasks = list(self._busy.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        """Begin what can be begun now: no mail overtakes another of the same mailbox."""
        if len(self._busy) >= _AT_ONCE:
            return
        waiting: set[str] = set()
        for taken in self._taken.values():
            waiting |= taken
        for arrival in await self._spool.due(self._host.clock.now_ms(), _LOOK):
            key = arrival.item.key
            if key in self._busy:
                continue
            wanted = self._wanted(arrival)
            if not wanted & waiting:
                self._taken[key] = wanted
                self._busy[key] = self._host.tasks.spawn(self._one(arrival), "email arrival")
                self._busy[key].add_done_callback(lambda _, key=key: self._over(key))  # type: ignore[misc]
                if len(self._busy) >= _AT_ONCE:
                    return
            waiting |= wanted

    def _over(self, key: str) -> None:
        self._busy.pop(key, None)
        self._taken.pop(key, None)
        self._spool.arrived.set()

    def _wanted(self, arrival: Arrival) -> frozenset[str]:
        """The mailboxes that a mail is for."""
        found = {mailbox.key for one in arrival.envelope.recipients if (mailbox := self._mailboxes.find(one))}
        return frozenset({*found, arrival.envelope.login} if arrival.envelope.login is not None else found)

    async def _wait(self) -> None:
        """Until a mail comes, one is done, or one that was put off is due."""
        due = await self._spool.next_due()
        seconds = None if due is None else max(0.0, (due - self._host.clock.now_ms()) / 1000)
        if seconds == 0.0 and self._busy:
            seconds = None  # what is due waits for what is under way
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._spool.arrived.wait()

    async def _one(self, arrival: Arrival) -> None:
        now = self._host.clock.now_ms()
        delay = min(_BACKOFF[0] * 2 ** min(arrival.item.attempts, 20), _BACKOFF[1])
        try:
            await self._show(arrival)
        except UnreadableMailError as error:
            await self._aside(arrival, str(error))
        except (BackpressureError, TransientError, RateLimitedError) as error:
            _log.info("mail_waits", id=arrival.envelope.id, reason=str(error), seconds=delay // 1000)
            with contextlib.suppress(TransientError):
                await self._spool.attempt(arrival, now + delay)
        except RejectedError as error:
            await self._aside(arrival, str(error))
        except Exception as error:
            # Whatever it is, it concerns this mail alone, and the mail is not lost by it.
            _log.exception("mail_not_shown", id=arrival.envelope.id)
            await self._aside(arrival, f"an error in the bridge: {error!r}")

    async def _aside(self, arrival: Arrival, reason: str) -> None:
        with contextlib.suppress(TransientError):
            await self._spool.quarantine(arrival, reason)

    async def _show(self, arrival: Arrival) -> None:
        envelope = arrival.envelope
        context = self._parser.context(
            envelope.received_at, null_sender=envelope.sender is None, domains=self._mailboxes.domains
        )
        async with self._parser.parse(lambda: self._host.blobs.open(arrival.blob), context) as parsed:

            async def stored(number: int) -> str:
                return await self._host.blobs.put(_file(parsed, number), _LARGEST_FILE)

            async def hold(mailbox: str, person: Address) -> None:
                await self._requests.hold(mailbox, person, envelope, arrival.verdict, arrival.blob)

            await self._arrivals.show(envelope, arrival.verdict, envelope.digest, parsed.mail, stored, hold)
            await self._submissions.send_on(envelope, parsed.mail, lambda: self._host.blobs.open(arrival.blob))
        await self._spool.done(arrival)


async def _file(parsed: Parsed, number: int) -> AsyncIterator[bytes]:
    async for chunk in parsed.file(number):
        yield chunk
