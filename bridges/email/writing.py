"""What is written on Matrix becomes a mail: made once, handed over, changed and taken back."""

from dataclasses import replace
from typing import Final

from bridge_core.api.content import Content
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.ids import LoginId, MessageId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction, MatrixSender
from bridge_core.api.network import Attempt, Sent
from bridges.email.chats import Chat, parse_chat
from bridges.email.contacts import Contacts, Standing
from bridges.email.letterhead import Letterhead, LetterheadError, letterhead
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.ports import About, Composer, Draft, Outbox
from bridges.email.recipients import Letter, Recipients, answering
from bridges.email.sent import SentMail, SentMails, named, opened, packed
from bridges.email.threads import Thread, Threads

NOT_YOURS: Final = "you may not write as this mailbox"
GONE: Final = "the mail is on its way: it cannot be changed or taken back any more"
OTHERS: Final = "whom a mail goes to cannot be changed: take it back, and write it anew"
NO_REACTIONS: Final = "nobody in this conversation has a mail program that is known to show reactions"


class Writing:
    """Writes mails and hands them to the outbox. Every method may be called again for the same event."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        threads: Threads,
        sent: SentMails,
        contacts: Contacts,
        recipients: Recipients,
        composer: Composer,
        outbox: Outbox,
    ) -> None:
        self._mailboxes = mailboxes
        self._threads = threads
        self._sent = sent
        self._contacts = contacts
        self._recipients = recipients
        self._composer = composer
        self._outbox = outbox

    async def send(self, message: MatrixMessage, attempt: Attempt, own: LoginId | None = None) -> Sent:
        """Write it and hand it over. `own` is the login that it comes by. Raises RejectedError in words for the sender.

        Whom it goes to is decided once, and stored, at the first try: who comes into the conversation later does not
        get what was written before. Files are read while the mailbox goes on with other mails.
        """
        chat, mailbox = self._place(message.chat, message.sender.id, own)
        head = _letterhead(message.content)
        plan = opened(attempt.state) if attempt.state is not None else None
        if plan is None:
            async with self._threads.turn(mailbox.key):
                plan = await self._planned(mailbox, chat, message, head, attempt.key)
            await attempt.save(packed(plan))
        mail = await self._composer.compose(replace(plan.draft, content=replace(message.content, text=head.text)))
        sent = MessageId(mail.message_id)
        about = About(message.chat, sent, message.sender.id, mailbox.address, plan.token, mailbox.login)
        async with self._threads.turn(mailbox.key):
            await self._outbox.submit(mail, (*plan.draft.to, *plan.draft.cc, *plan.bcc), about)
            if await self._sent.get(sent) is None:
                await self._threads.keep(await self._rows(mailbox, chat, plan, head, sent))
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
        if before.to_others(head):
            raise RejectedError(OTHERS)
        subject = head.subject if head.subject and not before.draft.in_reply_to else before.draft.subject
        draft = replace(before.draft, content=replace(edit.content, text=head.text), subject=subject)
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
        everybody = await self._recipients.everybody(mailbox, thread)
        letter = Letter(thread, everybody, (), (), answering(thread.subject), target)
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

    # The mail

    async def _planned(
        self, mailbox: Mailbox, chat: Chat, message: MatrixMessage, head: Letterhead, key: str
    ) -> SentMail:
        letter = await self._recipients.of(mailbox, chat, message, head)
        token = letter.thread.token if letter.thread is not None else self._threads.token(mailbox.key, key)
        draft = replace(
            self._draft(mailbox, letter, message.sender, key),
            reply_to=self._mailboxes.tagged(mailbox.address, token),
            written_at=message.timestamp,
        )
        return SentMail(draft, message.sender.id, token, letter.bcc, named(head))

    async def _rows(
        self, mailbox: Mailbox, chat: Chat, plan: SentMail, head: Letterhead, sent: MessageId
    ) -> dict[str, bytes]:
        """What is known once the mail is handed over. The conversation may have gone on meanwhile."""
        draft = plan.draft
        thread = await self._threads.get(mailbox.key, plan.token)
        if thread is None:
            thread = Thread(plan.token, mailbox.key, chat.id, sent, draft.subject).with_people((*draft.to, *draft.cc))
        thread = thread.after(sent).revealed((*head.to, *head.cc)).with_hidden(plan.bcc)
        rows = self._threads.rows(thread, (sent,), author=mailbox.key)
        for person in (*draft.to, *draft.cc, *plan.bcc):
            rows |= self._contacts.row(mailbox.key, person, Standing.KNOWN)
        return {**rows, **self._sent.rows(sent, plan)}

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
