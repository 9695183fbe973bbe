"""Mails that are no messages of their own: reports of reading, reactions, corrections, and what is taken back."""

from bridge_core.api.events import RemoteEdit, RemoteReaction, RemoteReceipt, RemoteRedaction
from bridge_core.api.ids import MessageId
from bridges.email import presenting
from bridges.email.chats import parse_chat
from bridges.email.mail import ReportKind
from bridges.email.mailboxes import Mailbox
from bridges.email.people import Author
from bridges.email.reactions import Reactions
from bridges.email.sorting import Sorting
from bridges.email.taken import Happened, Taken
from bridges.email.threads import Thread, Threads


class Changes:
    """What such mails do to others, where who wrote them may."""

    def __init__(self, threads: Threads, sorting: Sorting, reactions: Reactions) -> None:
        self._threads = threads
        self._sorting = sorting
        self._reactions = reactions

    async def of(self, mailbox: Mailbox, taken: Taken) -> Happened | None:
        """What it changes; None: it is a message."""
        for way in (self._read, self._reaction, self._taken_back, self._corrected):
            happened = await way(mailbox, taken)
            if happened is not None:
                return happened
        return None

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
