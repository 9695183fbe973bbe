"""A mail that was taken over becomes what happened in the rooms of its mailboxes: once, whatever comes between."""

from collections.abc import Sequence
from typing import Final

import structlog

from bridge_core.api.events import (
    RemoteMessage,
)
from bridge_core.api.host import Host
from bridge_core.api.ids import MessageId
from bridge_core.api.network import Inbox
from bridges.email import presenting
from bridges.email.admitting import REQUEST
from bridges.email.believed import answered_for
from bridges.email.changes import Changes
from bridges.email.chats import Chat, ChatKind
from bridges.email.codec.addresses import Address
from bridges.email.config.mailboxes import Strangers
from bridges.email.contacts import Contacts, Standing
from bridges.email.contents import Contents, Files, Stored
from bridges.email.lists import Lists, came_by_list
from bridges.email.mail import Door, Envelope, Mail, Verdict
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.names import Names
from bridges.email.people import author_of
from bridges.email.ports import Returned
from bridges.email.proofs import proof, told
from bridges.email.reactions import Reactions
from bridges.email.sorting import Sorted, Sorting
from bridges.email.taken import Happened, Hold, Shown, Taken
from bridges.email.tally import Became
from bridges.email.threads import Threads

_log = structlog.get_logger(__name__)
_SKEW: Final = 600_000
"""Milliseconds that a mail's own date may be off for it to be believed."""

NO_MAILBOX: Final = "there is no mailbox for {}"
NO_ROOM: Final = "as many mails of {} as may wait for somebody's word"
NOT_WANTED: Final = "the mailbox takes answers to its own mail only, and {} is nobody it knows"


class Arrivals:
    """Shows mails. `show` may be called again for a mail: what is known of it already is left out."""

    def __init__(
        self,
        host: Host,
        inbox: Inbox,
        mailboxes: Mailboxes,
        threads: Threads,
        sorting: Sorting,
        contacts: Contacts,
        returned: Returned,
    ) -> None:
        self._host = host
        self._inbox = inbox
        self._mailboxes = mailboxes
        self._threads = threads
        self._sorting = sorting
        self._contacts = contacts
        self._returned = returned
        self._changes = Changes(threads, sorting, Reactions(host.kv))
        self._lists = Lists(host.kv)
        self._contents = Contents(host.blobs)
        self._names = Names(host.kv)

    async def show(
        self, envelope: Envelope, verdict: Verdict, digest: str, mail: Mail, stored: Stored, hold: Hold
    ) -> Shown:
        """Return when everything it becomes is committed. Raises as the inbox and the spool do; then call it again."""
        mail = answered_for(mail, verdict)
        author = await self._names.marked(author_of(mail, verdict, self._own(envelope)))
        taken = Taken(envelope, verdict, digest, mail, author, stored, hold)
        shown = Shown()
        for mailbox, recipients in self._by_mailbox(envelope):
            happened = await self._shown(mailbox, recipients, taken)
            shown.became.add(happened.became)
            if happened.became is Became.QUARANTINED:
                shown.aside.append((tuple(recipients), happened.why))
        lost = tuple(one for one in envelope.recipients if self._is_lost(one, envelope))
        if lost:
            shown.became.add(Became.QUARANTINED)
            shown.aside.append((lost, NO_MAILBOX.format(", ".join(str(one) for one in lost[:5]))))
        # Last, and all in one commit: what mailboxes have is known when the mail is tried again, a fate is not.
        await self._report(envelope, mail, shown)
        return shown

    async def _shown(self, mailbox: Mailbox, recipients: Sequence[Address], taken: Taken) -> Happened:
        """What it becomes in a mailbox, committed. Files are stored outside the mailbox's turn."""
        files = None if self._contents.needs_files(taken.mail, mailbox.rooms) else Files()
        while True:
            async with self._threads.turn(mailbox.key):
                happened = await self._happened(mailbox, recipients, taken, files)
                if happened is not None:
                    if happened.events:
                        await self._inbox.receive(happened.events, state=happened.rows)
                    return happened
            files = await self._contents.files(taken.mail, mailbox.rooms, taken.stored)

    async def _report(self, envelope: Envelope, mail: Mail, shown: Shown) -> None:
        tokens = [token for one in envelope.recipients if (token := self._returned.token(one)) is not None]
        events = [event for token in tokens for event in await self._returned.events(token, mail)]
        if events:
            await self._inbox.receive(events)
        if tokens:
            shown.became.add(Became.REPORT)

    def _is_lost(self, recipient: Address, envelope: Envelope) -> bool:
        """Whether a recipient that was accepted is nobody's: postmaster where no mailbox is, or one that went since."""
        if self._returned.token(recipient) is not None or self._mailboxes.find(recipient) is not None:
            return False
        return envelope.login is None or self._mailboxes.is_ours(recipient)

    def _by_mailbox(self, envelope: Envelope) -> list[tuple[Mailbox, list[Address]]]:
        found: dict[str, tuple[Mailbox, list[Address]]] = {}
        own = self._own(envelope)
        if own is not None:
            found[own.key] = (own, [])  # what is sent from a mailbox is in its room, too
        for recipient in envelope.recipients:
            mailbox = self._mailboxes.find(recipient) if self._returned.token(recipient) is None else None
            if mailbox is not None:
                found.setdefault(mailbox.key, (mailbox, []))[1].append(recipient)
        return list(found.values())

    def _own(self, envelope: Envelope) -> Mailbox | None:
        return self._mailboxes.get(envelope.login) if envelope.login is not None else None

    async def _happened(
        self, mailbox: Mailbox, recipients: Sequence[Address], taken: Taken, files: Files | None
    ) -> Happened | None:
        """None: it is a message whose files have to be stored first."""
        mail, author = taken.mail, taken.author
        known = await self._sorting.known(mailbox, mail, taken.digest, author) is not None
        back = taken.envelope.login != mailbox.key and await self._sorting.came_back(mailbox, mail, author)
        if known or back:
            _log.info("mail_came_again", mailbox=mailbox.key, mail=taken.envelope.id)
            return Happened(became=Became.TWICE)
        standing = await self._contacts.standing(mailbox.key, author.address, verified=author.verified)
        if standing is Standing.BLOCKED and author.login is None:
            _log.info("mail_of_somebody_blocked", mailbox=mailbox.key, mail=taken.envelope.id)
            return Happened(became=Became.BLOCKED)
        happened = await self._changes.of(mailbox, taken)
        if happened is not None:
            return happened
        by_list = taken.envelope.door is Door.IMPORT or came_by_list(mail, author, taken.envelope.sender, taken.verdict)
        place = await self._sorting.sort(mailbox, mail, taken.digest, author, recipients, by_list=by_list)
        own = author.login is not None or taken.envelope.login == mailbox.key
        if place.first and standing is None and not own and taken.envelope.door is not Door.IMPORT:
            if mailbox.rooms.strangers is Strangers.REFUSE:
                # The door believes the reverse-path, which proves nothing, and lets the null one in.
                return Happened(became=Became.QUARANTINED, why=NOT_WANTED.format(author.id))
            if mailbox.rooms.strangers is Strangers.ASK:
                return await self._asked(mailbox, recipients, taken)
        return await self._message(mailbox, taken, place, files) if files is not None else None

    # Messages

    async def _message(self, mailbox: Mailbox, taken: Taken, place: Sorted, files: Files) -> Happened:
        mail, author = taken.mail, taken.author
        # An id that was made here means nothing to the programs of others.
        thread = place.thread if mail.made_id else place.thread.after(mail.id)
        if author.verified or place.first:
            thread = thread.with_people(self._others(mailbox, (author.address,)))
            thread = thread.revealed(self._others(mailbox, (*mail.to, *mail.cc)))
        if author.verified:
            thread = thread.wanting(author.address, self._others(mailbox, mail.reply_to))
        thread = thread.over_bridges(mail.crossed, taken.envelope.received_at)
        if mail.reads_reactions:
            thread = thread.with_program(author.address, messenger=mail.messenger)
        bulk, words = await self._lists.learnt(mailbox.key, mail, author, taken.verdict)
        reasons = [*place.reasons, *([words] if words else [])]
        reasons += presenting.changes(
            place.thread, thread, author, first=place.first, headed=place.first and mailbox.rooms.headers
        )
        words = proof(taken.verdict, author)
        thread, news = told(thread, author, words)
        if words and news and (mailbox.rooms.headers or not (author.verified and place.first)):
            reasons.insert(0, words)
        above = presenting.head(mail, mailbox.address) if place.first and mailbox.rooms.headers else ()
        above = (*above, *presenting.remarks(mail, author, reasons))
        message = RemoteMessage(
            place.chat.id,
            author.sender(),
            self._contents.content(mail, above, files, first=place.first),
            place.id,
            _date(mail, taken.envelope.received_at),
            reply_to=await self._parent(mailbox, mail, place),
            thread=None if place.first or not place.in_thread else thread.root,
            receiver=mailbox.login,
        )
        if mailbox.login is None:
            await self._host.rooms.open(place.chat.id, mailbox.members)
        # A known id stays where it is: what a mail says of itself moves nobody else's.
        former = [one for one in mail.former_ids if await self._threads.place(mailbox.key, one) is None]
        ids = [place.id, *(former if author.verified else ())]
        rows = self._threads.rows(thread, ids, taken.digest, author.id) | bulk
        if author.verified and place.chat.kind is not ChatKind.LIST:
            # Who writes to a list is not whom its readers want to hear from.
            rows |= self._contacts.row(mailbox.key, author.address, Standing.KNOWN)
        rows |= await self._names.rows(author)
        return Happened([message], rows)

    def _others(self, mailbox: Mailbox, people: Sequence[Address]) -> list[Address]:
        return [one for one in people if self._mailboxes.find(one) != mailbox]

    async def _asked(self, mailbox: Mailbox, recipients: Sequence[Address], taken: Taken) -> Happened:
        """Somebody unknown wants to write: told with nothing of theirs but name and subject, a few times a day."""
        author = taken.author
        request = await taken.hold(mailbox.key, author, recipients)
        if request is None:
            return Happened(became=Became.QUARANTINED, why=NO_ROOM.format(author.id))
        chat = Chat(mailbox.home).id
        words = presenting.asking(taken.mail, author)
        # The id is the request's, not the mail's: what was told often enough today is not told again.
        asked = MessageId(REQUEST + request)
        if mailbox.login is None:
            await self._host.rooms.open(chat, mailbox.members)
        message = RemoteMessage(chat, author.sender(), words, asked, receiver=mailbox.login)
        return Happened([message], became=Became.HELD)

    async def _parent(self, mailbox: Mailbox, mail: Mail, place: Sorted) -> MessageId | None:
        """The mail that this one answers, where the room has it and it is not the root that the thread shows anyway."""
        for one in mail.in_reply_to[:1]:
            found = await self._threads.place(mailbox.key, one)
            if found is not None and found.token == place.thread.token and one != place.thread.root:
                return MessageId(one)
        return None


def _date(mail: Mail, received_at: int) -> int:
    """When it was written, where that can be; else when it came."""
    if mail.date is not None and received_at - _SKEW <= mail.date <= received_at:
        return mail.date
    return received_at
