"""The way into the queue: mails are taken over, changed while they are held, and taken back."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Blobs, Clock
from bridge_core.api.ids import MessageId, UserId
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.counts import Counts
from bridges.email.delivery.limits import Limits
from bridges.email.delivery.rows import Row, State, new_row
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions
from bridges.email.ports import About, OutgoingMail, Reply

log = structlog.get_logger(__name__)


class MailOutbox:
    """The `Outbox` of ports."""

    def __init__(
        self,
        shelf: Shelf,
        blobs: Blobs,
        clock: Clock,
        tokens: Tokens,
        settings: Delivery,
        limits: Limits,
        suppressions: Suppressions,
        counts: Counts,
    ) -> None:
        self._shelf = shelf
        self._blobs = blobs
        self._clock = clock
        self._tokens = tokens
        self._settings = settings
        self._limits = limits
        self._suppressions = suppressions
        self._counts = counts

    async def submit(
        self, mail: OutgoingMail, recipients: Sequence[Address], about: About, *, hold: float | None = None
    ) -> None:
        """As `Outbox.submit`."""
        async with self._shelf.turn:
            there = await self._shelf.rows(about.message)
            if any(row.mail.id == mail.id for row, _ in there):
                if mail.blob not in {row.mail.blob for row, _ in there if not row.done}:
                    await self._blobs.drop(mail.blob)
                return
            try:
                everybody = list({one.key: one for one in recipients}.values())
                await self._admit(everybody, about)
            except RejectedError:
                await self._blobs.drop(mail.blob)
                raise
            now = self._clock.now_ms()
            due = now + int((self._settings.hold if hold is None else hold) * 1000)
            await self._shelf.put([(new_row(self._tokens, mail, one, about, now), due) for one in everybody])
        self._counts.queued += len(everybody)
        log.info("mail_queued", mail=mail.id, recipients=len(everybody), bytes=mail.size)
        self._shelf.wake.set()

    async def refusal(
        self, mailbox: Address, user: UserId, recipient: Address, others: Sequence[Address] = ()
    ) -> Reply | None:
        """What a mail program is answered that wants to write to the recipient now; None where it may.

        `others` were let pass for the same mail before.
        """
        suppressed = await self._suppressions.find(mailbox.domain, recipient)
        if suppressed is not None:
            return Reply(550, "5.1.1", f"it does not take mail, since a server said: {suppressed.reason}")
        words = await self._limits.reached(user, mailbox, (*others, recipient))
        return Reply(452, "4.5.3", words) if words else None

    async def replace(self, message: MessageId, mailbox: Address, mail: OutgoingMail) -> bool:
        """As `Outbox.replace`. Where it is False the new mail's blob is dropped."""
        async with self._shelf.turn:
            there = await self._of(message, mailbox)
            waiting = _unsent(there)
            again = bool(there) and mail.revision != "" and all(row.mail.revision == mail.revision for row in there)
            if not waiting or again:
                if mail.blob not in {row.mail.blob for row in there if not row.done}:
                    await self._blobs.drop(mail.blob)
                return again
            due = self._clock.now_ms() + int(self._settings.hold * 1000)
            # The name of the row stays, and with it where its reports come back to.
            await self._shelf.put([(replace(row, mail=mail), due) for row in waiting])
            await self._shelf.release(message, {row.mail.blob for row in waiting})
        return True

    async def cancel(self, message: MessageId, mailbox: Address) -> bool:
        """As `Outbox.cancel`. A mail that nobody has taken yet, though it was tried, is still taken back."""
        async with self._shelf.turn:
            there = await self._of(message, mailbox)
            states = {row.state for row in there}
            if State.CANCELLED in states and states <= {State.CANCELLED, State.FAILED}:
                return True  # It was done by a try before this one.
            waiting = _unsent(there)
            await self._shelf.cancel(waiting)
            self._counts.cancelled += len(waiting)
            return bool(waiting)

    async def _of(self, message: MessageId, mailbox: Address) -> list[Row]:
        """The rows of what a mailbox wrote: who got it knows its id, and has no say in it."""
        return [row for row, _ in await self._shelf.rows(message) if row.about.mailbox.key == mailbox.key]

    async def _admit(self, recipients: Sequence[Address], about: About) -> None:
        if not recipients:
            raise RejectedError("nobody is left whom it could go to")
        suppressed = [await self._suppressions.find(about.mailbox.domain, one) for one in recipients]
        if all(suppressed) and suppressed[0] is not None:
            raise RejectedError(f"{suppressed[0].address} does not take mail: {suppressed[0].reason}")
        await self._limits.take(about, recipients)


def _unsent(rows: Sequence[Row]) -> list[Row]:
    """Those that wait, where nobody has got the mail nor may have; else none."""
    safe = all(not row.doubts and row.state in {State.WAITING, State.FAILED, State.CANCELLED} for row in rows)
    return [row for row in rows if row.state is State.WAITING] if safe else []
