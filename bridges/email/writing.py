"""What is written on Matrix becomes a mail: to whom, about what, as an answer to what."""

from dataclasses import dataclass, replace
from typing import Final

from bridge_core.api.content import Content
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.ids import LoginId, MessageId, RemoteUserId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction, MatrixSender
from bridge_core.api.network import Sent
from bridge_core.content import to_plain
from bridges.email.chats import Chat, ChatKind, parse_chat
from bridges.email.codec.addresses import Address
from bridges.email.contacts import Contacts, Standing
from bridges.email.letterhead import Letterhead, LetterheadError, addresses, letterhead
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.people import person_of
from bridges.email.ports import About, Composer, Draft, Outbox
from bridges.email.sent import SentMail, SentMails
from bridges.email.threads import Thread, Threads

NO_ADDRESS: Final = (
    "say whom it is for: answer in a conversation's thread, or begin with a line `To: somebody@example.org` and one "
    "`Subject: ...`"
)
NOT_YOURS: Final = "you may not write as this mailbox"
GONE: Final = "the mail is on its way: it cannot be changed or taken back any more"
NO_REACTIONS: Final = "nobody in this conversation has a mail program that is known to show reactions"
_FIRST_LINE: Final = 78


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail that is to be written, before its words: its conversation, and whom it goes to."""

    thread: Thread | None
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    subject: str
    answers: str = ""


class Writing:
    """Writes mails and hands them to the outbox. Every method may be called again for the same event."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        threads: Threads,
        sent: SentMails,
        contacts: Contacts,
        composer: Composer,
        outbox: Outbox,
    ) -> None:
        self._mailboxes = mailboxes
        self._threads = threads
        self._sent = sent
        self._contacts = contacts
        self._composer = composer
        self._outbox = outbox

    async def send(self, message: MatrixMessage, key: str, own: LoginId | None = None) -> Sent:
        """Write it and hand it over. `key` is the same for every try, `own` the login that it comes by.

        Raises RejectedError in words for the sender.
        """
        chat, mailbox = self._place(message.chat, message.sender.id, own)
        head = _letterhead(message.content)
        async with self._threads.turn(mailbox.key):
            thread = await self._thread(mailbox, chat, message, head)
            letter = await self._addressed(chat, mailbox, thread, message, head)
            token = thread.token if thread is not None else self._threads.token(mailbox.key, key)
            draft = replace(
                self._draft(mailbox, letter, message.sender, key),
                content=replace(message.content, text=head.text),
                reply_to=self._mailboxes.tagged(mailbox.address, token),
                written_at=message.timestamp,
            )
            mail = await self._composer.compose(draft)
            sent = MessageId(mail.message_id)
            about = About(message.chat, sent, message.sender.id, mailbox.address, token, mailbox.login)
            await self._outbox.submit(mail, (*letter.to, *letter.cc, *letter.bcc), about)
            grown = thread or Thread(token, mailbox.key, chat.id, sent, letter.subject)
            grown = grown.after(sent).with_people((*letter.to, *letter.cc))
            rows = self._threads.rows(grown, (sent,), author=mailbox.key)
            for person in (*letter.to, *letter.cc, *letter.bcc):
                rows |= self._contacts.row(mailbox.key, person, Standing.KNOWN)
            await self._threads.keep({**rows, **self._sent.rows(sent, SentMail(draft, message.sender.id))})
        return Sent((sent,))

    async def edit(self, edit: MatrixEdit, own: LoginId | None = None) -> Sent:
        """Write it anew while it is held. Raises RejectedError in words once it is on its way."""
        self._place(edit.chat, edit.sender.id, own)
        before = await self._sent.get(edit.target.id) if edit.target.id is not None else None
        if before is None or edit.target.id is None:
            raise UnsupportedError("only mails that were written here can be changed")
        head = _letterhead(edit.content)
        if before.user != edit.sender.id:
            raise RejectedError("only who wrote a mail can change it")
        draft = replace(before.draft, content=replace(edit.content, text=head.text))
        mail = await self._composer.compose(draft)
        if not await self._outbox.replace(edit.target.id, mail):
            raise RejectedError(GONE)
        return Sent()

    async def redact(self, redaction: MatrixRedaction, own: LoginId | None = None) -> Sent:
        """Send it not at all while it is held. Raises RejectedError in words once it is on its way."""
        self._place(redaction.chat, redaction.sender.id, own)
        if redaction.target.id is None or not await self._outbox.cancel(redaction.target.id):
            raise RejectedError(GONE)
        return Sent()

    async def react(self, reaction: MatrixReaction, key: str, own: LoginId | None = None) -> Sent:
        """Send it as a mail where it will be understood. Raises UnsupportedError in words."""
        _, mailbox = self._place(reaction.chat, reaction.sender.id, own)
        target = reaction.target.id
        thread = await self._threads.of(mailbox.key, target) if target is not None else None
        if thread is None or target is None or not thread.reads_reactions:
            raise UnsupportedError(NO_REACTIONS)
        letter = Letter(thread, self._everybody(mailbox, thread), (), (), _answering(thread.subject), target)
        draft = self._draft(mailbox, letter, reaction.sender, key)
        draft = replace(draft, reacts=reaction.key, written_at=reaction.timestamp)
        mail = await self._composer.compose(draft)
        sent = MessageId(mail.message_id)
        about = About(reaction.chat, sent, reaction.sender.id, mailbox.address, thread.token, mailbox.login)
        await self._outbox.submit(mail, letter.to, about)
        return Sent((sent,))

    # To whom

    def _place(self, text: str, user: UserId, own: LoginId | None) -> tuple[Chat, Mailbox]:
        """The room, and its mailbox, which the user may write as."""
        chat = parse_chat(text)
        mailbox = self._mailboxes.at(chat, own)
        if mailbox is None:
            raise RejectedError("there is no such mailbox here any more")
        if user not in mailbox.members:
            raise RejectedError(NOT_YOURS)
        return chat, mailbox

    async def _thread(self, mailbox: Mailbox, chat: Chat, message: MatrixMessage, head: Letterhead) -> Thread | None:
        """The conversation that a message goes on with; None where it begins one."""
        for reference in (message.reply_to, message.thread):
            if reference is not None and reference.id is not None:
                found = await self._threads.of(mailbox.key, reference.id)
                if found is not None:
                    return found
        if chat.kind is ChatKind.THREAD:
            return await self._threads.get(chat.name)
        if chat.kind is ChatKind.CORRESPONDENT and not head.subject:
            return await self._threads.latest(chat.id)
        return None

    async def _addressed(
        self, chat: Chat, mailbox: Mailbox, thread: Thread | None, message: MatrixMessage, head: Letterhead
    ) -> Letter:
        if thread is not None:
            to = (*self._everybody(mailbox, thread), *head.to)
            answers = message.reply_to.id if message.reply_to is not None else None
            last = thread.references[-1] if thread.references else ""
            known = answers if answers in thread.references else None
            letter = Letter(thread, to, head.cc, head.bcc, _answering(thread.subject), known or last)
        else:
            to = head.to
            if not to and chat.kind is ChatKind.CORRESPONDENT:
                person = person_of(RemoteUserId(chat.name))
                to = (person,) if person is not None else ()
            elif not to and chat.kind is ChatKind.LIST:
                to = await self._list_post(chat)
            subject = head.subject or _first_line(head, message.content)
            letter = Letter(None, to, head.cc, head.bcc, subject)
        if not (letter.to or letter.cc or letter.bcc):
            raise RejectedError(NO_ADDRESS if thread is None else "nobody else takes part in this conversation")
        return letter

    async def _list_post(self, chat: Chat) -> tuple[Address, ...]:
        thread = await self._threads.latest(chat.id)
        return _posts(thread) if thread is not None else ()

    def _everybody(self, mailbox: Mailbox, thread: Thread) -> tuple[Address, ...]:
        """All who take part but ourselves; on a list, the list."""
        if thread.list_post and (post := _posts(thread)):
            return post
        return tuple(one for one in thread.people if self._mailboxes.find(one) != mailbox)

    # The mail

    def _draft(self, mailbox: Mailbox, letter: Letter, sender: MatrixSender, key: str) -> Draft:
        name = f"{sender.name} ({mailbox.name})" if mailbox.name else sender.name
        return Draft(
            key,
            Content(),
            mailbox.address.named(name),
            letter.to,
            letter.cc,
            subject=letter.subject,
            in_reply_to=letter.answers,
            references=letter.thread.references if letter.thread is not None else (),
        )


def _letterhead(content: Content) -> Letterhead:
    try:
        return letterhead(content.text)
    except LetterheadError as error:
        raise RejectedError(str(error)) from error


def _posts(thread: Thread) -> tuple[Address, ...]:
    try:
        return addresses(thread.list_post)
    except LetterheadError:
        return ()


def _answering(subject: str) -> str:
    return subject if subject[:3].casefold() == "re:" else f"Re: {subject}"


def _first_line(head: Letterhead, content: Content) -> str:
    """A subject for a mail that was given none: its first words, or its first file."""
    lines = to_plain(head.text).strip().split("\n")
    if not lines[0] and content.attachments:
        return content.attachments[0].name
    first = lines[0].strip()
    return first if len(first) <= _FIRST_LINE else f"{first[:_FIRST_LINE].rsplit(' ', 1)[0]} ..."
