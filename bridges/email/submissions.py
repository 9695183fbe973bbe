"""What mail programs submit for people elsewhere: it goes out once it is in the conversation that it belongs to."""

from typing import Protocol

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Fate
from bridge_core.api.ids import MessageId, UserId
from bridge_core.api.network import Inbox
from bridges.email.chats import Chat, parse_chat
from bridges.email.contacts import Contacts, Standing
from bridges.email.delivery.fates import status
from bridges.email.mail import Envelope, Mail
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.ports import About, OpenRaw, Outbox, OutgoingMail
from bridges.email.sorting import Sorting
from bridges.email.threads import Threads

_log = structlog.get_logger(__name__)


class Ready(Protocol):
    """Makes submitted mails ready to be sent (`composing.submitted`)."""

    def own_id(self, envelope: Envelope) -> str:
        """The Message-ID of a mail that has none."""

    async def prepared(self, envelope: Envelope, message_id: str, open_raw: OpenRaw) -> OutgoingMail:
        """The mail as it goes out. Raises RejectedError in words."""


class Submissions:
    """Sends on what a login submitted. May be called again for a mail: the outbox knows it by its envelope's id."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        threads: Threads,
        sorting: Sorting,
        contacts: Contacts,
        ready: Ready,
        outbox: Outbox,
        inbox: Inbox,
    ) -> None:
        self._mailboxes = mailboxes
        self._threads = threads
        self._sorting = sorting
        self._contacts = contacts
        self._ready = ready
        self._outbox = outbox
        self._inbox = inbox

    async def send_on(self, envelope: Envelope, mail: Mail, open_raw: OpenRaw) -> None:
        """To be called when the mail is shown, before it leaves the spool. Returns when the outbox has it.

        What may not be sent (a limit, an address that takes nothing) is told in the room. Raises as the stores do, and
        RejectedError where the mailbox that it was submitted by is no more.
        """
        elsewhere = tuple(one for one in envelope.recipients if not self._mailboxes.is_ours(one))
        if envelope.login is None or not elsewhere:
            return
        mailbox = self._mailboxes.get(envelope.login)
        if mailbox is None:
            raise RejectedError("the mailbox of who wrote it is gone: it was not sent")
        message_id = mail.id if envelope.has_id else self._ready.own_id(envelope)
        about = await self._about(mailbox, envelope, mail, message_id)
        try:
            prepared = await self._ready.prepared(envelope, message_id, open_raw)
            await self._outbox.submit(prepared, elsewhere, about, hold=0.0)
        except RejectedError as error:
            _log.info("submitted_mail_not_sent", mail=envelope.id, reason=str(error))
            await self._inbox.receive([status(about, one, Fate.FAILED, str(error)) for one in elsewhere])
            return
        for one in elsewhere:
            if await self._contacts.standing(mailbox.key, one) is None:
                await self._contacts.set(mailbox.key, one, Standing.KNOWN)

    async def _about(self, mailbox: Mailbox, envelope: Envelope, mail: Mail, message_id: str) -> About:
        """Where it is shown. Its conversation learns the id that it got, by which it will be answered."""
        user = writer(mailbox)
        async with self._threads.turn(mailbox.key):
            shown = await self._sorting.shown(mailbox, mail, envelope.digest)
            thread = await self._threads.get(mailbox.key, shown[1].token) if shown is not None else None
            if shown is None or thread is None:
                # It became nothing of its own in the room (a receipt, say).
                home = Chat(mailbox.home).id
                return About(home, MessageId(message_id), user, mailbox.address, "", mailbox.login)
            if not envelope.has_id and message_id not in thread.references:
                rows = self._threads.rows(thread.after(message_id), (message_id,), envelope.digest, mailbox.key)
                await self._threads.keep(rows)
        return About(parse_chat(thread.chat).id, shown[0], user, mailbox.address, thread.token, mailbox.login)


def writer(mailbox: Mailbox) -> UserId:
    """Whose limits hold for what is submitted: the user's whose mailbox it is; of a shared one, all users' together."""
    return mailbox.members[0] if mailbox.login is not None and mailbox.members else UserId(mailbox.key)
