"""A mail that was taken over becomes what happened in the rooms of its mailboxes: once, whatever comes between."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from bridge_core.api.events import (
    RemoteEdit,
    RemoteEvent,
    RemoteMessage,
    RemoteReaction,
    RemoteReceipt,
    RemoteRedaction,
)
from bridge_core.api.host import Host
from bridge_core.api.ids import MessageId
from bridge_core.api.network import Inbox
from bridges.email import presenting
from bridges.email.chats import Chat, parse_chat
from bridges.email.codec.addresses import Address
from bridges.email.config.mailboxes import Strangers
from bridges.email.contacts import Contacts, Standing
from bridges.email.contents import Contents, Files, Stored
from bridges.email.lists import Lists
from bridges.email.mail import Door, Envelope, Mail, ReportKind, Verdict
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.people import Author, author_of
from bridges.email.ports import Returned
from bridges.email.reactions import Reactions
from bridges.email.sorting import Sorted, Sorting
from bridges.email.tally import Became
from bridges.email.threads import Rows, Thread, Threads

_log = structlog.get_logger(__name__)
_SKEW: Final = 600_000
"""Milliseconds that a mail's own date may be off for it to be believed."""

Hold = Callable[[str, Author], Awaitable[str | None]]
"""Keeps the mail until a mailbox (its key) wants something of the person; names their request. None: no room."""
NO_MAILBOX: Final = "there is no mailbox for {}"
NO_ROOM: Final = "as many mails of {} as may wait for somebody's word"
NOT_WANTED: Final = "the mailbox takes answers to its own mail only, and {} is nobody it knows"


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail that was taken over. `digest` is of what its author wrote; `stored` and `hold` are done when wanted."""

    envelope: Envelope
    verdict: Verdict
    digest: str
    mail: Mail
    author: Author
    stored: Stored
    hold: Hold


@dataclass(slots=True)
class Happened:
    """What one mail becomes in a mailbox: events, and rows that are committed with them. `why` it is quarantined."""

    events: list[RemoteEvent] = field(default_factory=list)
    rows: Rows = field(default_factory=dict)
    became: Became = Became.SHOWN
    why: str = ""


@dataclass(slots=True)
class Shown:
    """What a mail became. `aside`: for these recipients it became nothing, for that reason; the admin is to get it."""

    became: set[Became] = field(default_factory=set)
    aside: list[tuple[tuple[Address, ...], str]] = field(default_factory=list)


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
        self._reactions = Reactions(host.kv)
        self._lists = Lists(host.kv)
        self._contents = Contents(host.blobs)

    async def show(
        self, envelope: Envelope, verdict: Verdict, digest: str, mail: Mail, stored: Stored, hold: Hold
    ) -> Shown:
        """Return when everything it becomes is committed. Raises as the inbox and the spool do; then call it again."""
        author = author_of(mail, verdict, self._own(envelope))
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
        if await self._sorting.known(mailbox, mail, taken.digest) is not None:
            _log.info("mail_came_again", mailbox=mailbox.key, mail=taken.envelope.id)
            return Happened(became=Became.TWICE)
        standing = await self._contacts.standing(mailbox.key, author.address, verified=author.verified)
        if standing is Standing.BLOCKED and author.login is None:
            _log.info("mail_of_somebody_blocked", mailbox=mailbox.key, mail=taken.envelope.id)
            return Happened(became=Became.BLOCKED)
        for way in (self._read, self._reaction, self._taken_back, self._corrected):
            happened = await way(mailbox, taken)
            if happened is not None:
                return happened
        place = await self._sorting.sort(mailbox, mail, taken.digest, author, recipients)
        own = author.login is not None or taken.envelope.login == mailbox.key
        if place.first and standing is None and not own and taken.envelope.door is not Door.IMPORT:
            if mailbox.rooms.strangers is Strangers.REFUSE:
                # The door believes the reverse-path, which proves nothing, and lets the null one in.
                return Happened(became=Became.QUARANTINED, why=NOT_WANTED.format(author.id))
            if mailbox.rooms.strangers is Strangers.ASK:
                return await self._asked(mailbox, taken)
        return await self._message(mailbox, taken, place, files) if files is not None else None

    # What is no message of its own. None: it is one.

    async def _read(self, mailbox: Mailbox, taken: Taken) -> Happened | None:
        """A report that one of our mails was read (RFC 8098)."""
        mail, author = taken.mail, taken.author
        if mail.report is None or mail.report.kind is not ReportKind.READ or not author.verified:
            return None
        happened = Happened()
        for about in mail.report.about:
            thread = await self._threads.of(mailbox.key, about)
            if thread is not None and thread.knows(author.address):
                chat = parse_chat(thread.chat).id
                happened.events.append(RemoteReceipt(chat, author.sender(), MessageId(about), receiver=mailbox.login))
        return happened if happened.events else None

    async def _reaction(self, mailbox: Mailbox, taken: Taken) -> Happened | None:
        mail, author = taken.mail, taken.author
        if mail.reaction is None or not mail.in_reply_to:
            return None
        target = mail.in_reply_to[0]
        thread = await self._threads.of(mailbox.key, target)
        if thread is None or not author.verified or not thread.knows(author.address):
            return None
        reads = thread.with_program(author.address, messenger=mail.messenger)
        own = await self._sorting.id_of(mailbox, mail, taken.digest)
        rows = self._threads.rows(reads, (own,), taken.digest, author.id)
        happened = Happened([], rows)
        now, before = mail.reaction, await self._reactions.of(mailbox.key, target, author.id)
        keep = (now.key,) if now.key else ()
        for key in before if now.replaces or not now.key else ():
            if key not in keep:
                happened.events.append(self._react(mailbox, thread, author, target, key, f"-{key}#{mail.id}", True))
        if now.key:
            happened.events.append(self._react(mailbox, thread, author, target, now.key, mail.id, False))
        kept = keep if now.replaces or not now.key else tuple(dict.fromkeys((*before, now.key)))
        happened.rows.update(self._reactions.row(mailbox.key, target, author.id, kept))
        return happened

    def _react(
        self, mailbox: Mailbox, thread: Thread, author: Author, target: str, key: str, own: str, removed: bool
    ) -> RemoteReaction:
        chat = parse_chat(thread.chat).id
        return RemoteReaction(
            chat, author.sender(), MessageId(target), key, removed, MessageId(own), receiver=mailbox.login
        )

    async def _taken_back(self, mailbox: Mailbox, taken: Taken) -> Happened | None:
        """Who wrote a mail may take it back (Chat-Delete)."""
        mail, author = taken.mail, taken.author
        happened = Happened()
        for target in mail.deletes:
            place = await self._threads.place(mailbox.key, target)
            thread = await self._threads.get(mailbox.key, place.token) if place is not None else None
            if place is None or thread is None or not author.verified or place.author != author.id:
                continue
            chat = parse_chat(thread.chat).id
            happened.events.append(
                RemoteRedaction(
                    chat, author.sender(), MessageId(target), None, MessageId(mail.id), receiver=mailbox.login
                )
            )
            own = await self._sorting.id_of(mailbox, mail, taken.digest)
            happened.rows.update(self._threads.rows(thread, (own,), taken.digest, author.id))
        return happened if happened.events else None

    async def _corrected(self, mailbox: Mailbox, taken: Taken) -> Happened | None:
        """Who wrote a mail may correct it (Chat-Edit)."""
        mail, author = taken.mail, taken.author
        place = await self._threads.place(mailbox.key, mail.edits) if mail.edits else None
        thread = await self._threads.get(mailbox.key, place.token) if place is not None else None
        if place is None or thread is None or not author.verified or place.author != author.id or mail.files:
            return None
        edit = RemoteEdit(
            parse_chat(thread.chat).id,
            author.sender(),
            MessageId(mail.edits),
            presenting.content(mail, (), ()),
            MessageId(mail.id),
            receiver=mailbox.login,
        )
        own = await self._sorting.id_of(mailbox, mail, taken.digest)
        return Happened([edit], self._threads.rows(thread, (own,), taken.digest, author.id))

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
        if mail.reads_reactions:
            thread = thread.with_program(author.address, messenger=mail.messenger)
        bulk, words = await self._lists.learnt(mailbox.key, mail, author, taken.verdict)
        reasons = [*place.reasons, *([words] if words else [])]
        reasons += presenting.changes(
            place.thread, thread, author, first=place.first, headed=place.first and mailbox.rooms.headers
        )
        if not author.verified:
            reasons.insert(
                0, f"nobody answers for {author.address}: {taken.verdict.reason or 'nothing proves who wrote it'}"
            )
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
        if author.verified:
            rows |= self._contacts.row(mailbox.key, author.address, Standing.KNOWN)
        return Happened([message], rows)

    def _others(self, mailbox: Mailbox, people: Sequence[Address]) -> list[Address]:
        return [one for one in people if self._mailboxes.find(one) != mailbox]

    async def _asked(self, mailbox: Mailbox, taken: Taken) -> Happened:
        """Somebody unknown wants to write: once for all that waits, with nothing of theirs but name and subject."""
        author = taken.author
        request = await taken.hold(mailbox.key, author)
        if request is None:
            return Happened(became=Became.QUARANTINED, why=NO_ROOM.format(author.id))
        chat = Chat(mailbox.home).id
        words = presenting.asking(taken.mail, author)
        # The id is the request's, not the mail's: further mails of theirs ask no second time while it waits.
        asked = MessageId(f"request {request}")
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
