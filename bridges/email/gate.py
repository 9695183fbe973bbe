"""The last look at a mail before its 250: whether what it will become has room. The `Intake` of the doors."""

from bridge_core.api.errors import BackpressureError
from bridge_core.api.ids import RemoteUserId
from bridges.email.codec.addresses import Address
from bridges.email.config.mailboxes import Strangers
from bridges.email.contacts import Contacts
from bridges.email.mail import Envelope, Verdict
from bridges.email.mailboxes import Mailboxes
from bridges.email.people import UNVERIFIED
from bridges.email.requests import Requests, claimed_by
from bridges.email.spool import Spool
from bridges.email.threads import Threads


class Gate:
    """In front of the spool. A mail of a stranger is refused for now where as many as may wait for a word do."""

    def __init__(
        self, spool: Spool, requests: Requests, mailboxes: Mailboxes, contacts: Contacts, threads: Threads
    ) -> None:
        self._spool = spool
        self._requests = requests
        self._mailboxes = mailboxes
        self._contacts = contacts
        self._threads = threads

    async def accept(self, envelope: Envelope, verdict: Verdict, blob: str) -> None:
        """As `Intake.accept`."""
        try:
            full = envelope.login is None and await self._is_full(envelope, verdict)
        except BaseException:
            await self._spool.refuse(blob)
            raise
        if full:
            await self._spool.refuse(blob)
            raise BackpressureError("as many mails of strangers wait for somebody's word as may")
        await self._spool.accept(envelope, verdict, blob)

    def confirmed(self, envelope: Envelope) -> None:
        """As `Intake.confirmed`."""
        self._spool.confirmed(envelope)

    async def room(self, size: int) -> bool:
        """As `Intake.room`."""
        return await self._spool.room(size)

    async def _is_full(self, envelope: Envelope, verdict: Verdict) -> bool:
        # Of whom nobody knows who they will be said to be, the mailbox's bounds count.
        claimed = claimed_by(verdict) or RemoteUserId(UNVERIFIED)
        for recipient in envelope.recipients:
            mailbox = self._mailboxes.find(recipient)
            if mailbox is None or mailbox.rooms.strangers is not Strangers.ASK:
                continue
            if self._requests.room(mailbox.key, claimed, envelope.size) or await self._answers(mailbox.key, recipient):
                continue
            verified = verdict.verified and not verdict.spam
            author = verdict.author
            if author is None or await self._contacts.standing(mailbox.key, author, verified=verified) is None:
                return True
        return False

    async def _answers(self, mailbox: str, recipient: Address) -> bool:
        """Whether it comes to a conversation by its token."""
        return await self._threads.get(mailbox, self._mailboxes.tag(recipient).lower()) is not None
