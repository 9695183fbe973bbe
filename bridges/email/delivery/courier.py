"""One try of one mail: made, and its end committed and told."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import Clock
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.counts import Counts
from bridges.email.delivery.doubts import Doubts
from bridges.email.delivery.fates import Fates, delayed, failed, recovered
from bridges.email.delivery.rows import Row, State
from bridges.email.delivery.schedule import next_delay, notices_due
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions
from bridges.email.ports import Outcome, OutgoingMail, Reply

log = structlog.get_logger(__name__)
_DOUBTS: Final = 3
"""Tries of unknown end after which a mail is given up: who has it may have it so many times."""


class Carrier(Protocol):
    """What the transport does for the runner."""

    def destination(self, mail: OutgoingMail, recipient: Address, domain: str) -> str:
        """What mails on the same way share."""

    async def deliver(
        self, mail: OutgoingMail, recipients: Sequence[Address], destination: str = ""
    ) -> Mapping[Address, Outcome]:
        """As `Transport.deliver`."""


class Courier:
    """Brings what the runner took to the carrier. `learnt` is told the id that a relay gave a mail instead of ours."""

    def __init__(
        self,
        shelf: Shelf,
        carrier: Carrier,
        fates: Fates,
        suppressions: Suppressions,
        settings: Delivery,
        tokens: Tokens,
        clock: Clock,
        counts: Counts,
        doubts: Doubts,
        *,
        learnt: Callable[[Row, str], Awaitable[None]] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.carrier = carrier
        self._shelf = shelf
        self._fates = fates
        self._suppressions = suppressions
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._counts = counts
        self._doubts = doubts
        self._learnt = learnt
        self._chance = chance
        self._ending: set[str] = set()

    def ends(self, row: Row) -> bool:
        """Whether the end of the row's try is being committed: from then on its row is nobody else's to write."""
        return row.id in self._ending

    async def bring(self, row: Row, destination: str) -> None:
        """One try of a row that was claimed, and its end committed."""
        try:
            await self._brought(row, destination)
        finally:
            self._ending.discard(row.id)

    async def _brought(self, row: Row, destination: str) -> None:
        if row.state is State.DROPPING:
            await self._given_up(row)
            return
        if row.doubts >= _DOUBTS:
            words = f"it was tried {row.doubts} times, and nobody knows whether it arrived"
            await self._given_up(row.answered(Outcome(Reply(0, "4.4.2", words))))
            return
        outcome = await self._outcome(row, destination)
        row = row.answered(outcome)
        code = outcome.reply.code
        if 200 <= code < 300:
            await self._sent(row, outcome)
        elif code >= 500:
            await self._given_up(row)
        else:
            await self._deferred(row, outcome)

    async def _outcome(self, row: Row, destination: str) -> Outcome:
        suppressed = await self._suppressions.find(row.about.mailbox.domain, row.recipient)
        if suppressed is not None:
            self._counts.suppressed += 1
            return Outcome(Reply(550, "5.7.0", f"it does not take mail: {suppressed.reason}"))
        mail = row.mail
        if mail.sender is not None:
            token = self._tokens.returning(row.id)
            returning = Address(f"{self._settings.bounce_name}+{token}", mail.sender.domain)
            mail = replace(mail, sender=returning)
        self._counts.tries += 1
        try:
            outcomes = await self.carrier.deliver(mail, [row.recipient], destination)
        except RejectedError as error:
            return Outcome(Reply(550, "5.3.0", f"the mail cannot be read any more: {error}"))
        except BridgeError as error:
            return Outcome(Reply(0, "4.3.0", str(error)))
        return outcomes[row.recipient]

    async def _sent(self, row: Row, outcome: Outcome) -> None:
        self._counts.sent += 1
        ended = row.ended(State.SENT)
        if outcome.message_id and self._learnt is not None:
            await self._surely(lambda: self._told_id(row, outcome.message_id))
        await self._surely(lambda: self._commit(ended))
        log.info("mail_sent", mail=row.mail.id, row=row.id, server=row.server, attempts=row.attempts)
        if row.told:
            await self._fates.tell([recovered(row)])

    async def _given_up(self, row: Row) -> None:
        self._counts.failed += 1
        if row.reply is not None:
            await self._surely(lambda: self._noted(row))
        # Told before it is ended: a crash in between tells twice, never not at all.
        await self._surely(lambda: self._tell([failed(row)]))
        await self._surely(lambda: self._commit(row.ended(State.FAILED)))
        log.info("mail_failed", mail=row.mail.id, row=row.id, server=row.server, code=row.reply and row.reply.code)

    async def _deferred(self, row: Row, outcome: Outcome) -> None:
        now = self._clock.now_ms()
        if outcome.unknown:
            await self._doubts.note()
            log.warning("mail_fate_unknown", mail=row.mail.id, row=row.id, server=row.server)
        until = row.queued_at + int(self._settings.give_up_after * 1000)
        due = now + int(next_delay(row.attempts, outcome.reply.code, self._chance()) * 1000)
        if now >= until:
            await self._given_up(row)
            return
        self._counts.deferred += 1
        due = min(due, until)
        told = notices_due((now - row.queued_at) / 1000)
        if told > row.told:
            words = datetime.fromtimestamp(until / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
            if await self._fates.tell([delayed(row, words)]):
                row = replace(row, told=told)
                self._counts.delayed += 1
        waiting = replace(row, state=State.WAITING)
        await self._shelf.renew(row)
        await self._surely(lambda: self._stored(waiting, due))
        log.info("mail_deferred", mail=row.mail.id, row=row.id, attempts=row.attempts, code=outcome.reply.code)

    async def _commit(self, row: Row) -> None:
        await self._stored(row, 0)
        await self._shelf.release(row.about.message, {row.mail.blob})

    async def _stored(self, row: Row, due: int) -> None:
        # Marked before it is handed to the store: who renews leases sees it, and commits come in the order of calls.
        self._ending.add(row.id)
        await self._shelf.put([(row, due)])

    async def _told_id(self, row: Row, given: str) -> None:
        assert self._learnt is not None
        await self._learnt(row, given)

    async def _noted(self, row: Row) -> None:
        assert row.reply is not None
        await self._suppressions.note(row.about.mailbox.domain, row.recipient, row.reply)

    async def _tell(self, events: list[RemoteEvent]) -> None:
        if not await self._fates.tell(events):
            raise BridgeError("the journal is full")

    async def _surely(self, act: Callable[[], Awaitable[None]]) -> None:
        """Until it is done: what was handed over must not be handed over again since the store was away for a while.

        Ends with the task, which the connector cancels when it stops: a crash would be no other.
        """
        seconds = 0.5
        while True:
            try:
                return await act()
            except BridgeError as error:
                log.warning("outgoing_end_not_stored", error=str(error))
            await self._clock.sleep(seconds)
            seconds = min(seconds * 2, 30.0)
