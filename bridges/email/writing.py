"""What is written on Matrix becomes a mail: to whom is decided once, and then it is made and handed over."""

from dataclasses import replace
from typing import Final

from bridge_core.api.content import Content
from bridge_core.api.errors import UnsupportedError
from bridge_core.api.ids import LoginId, MessageId
from bridge_core.api.matrix import MatrixMessage, MatrixReaction, MatrixSender
from bridge_core.api.network import Attempt, Sent
from bridges.email.absent import Absent
from bridges.email.chats import Chat
from bridges.email.contacts import Contacts, Standing
from bridges.email.heads import Heads, joined
from bridges.email.letterhead import Letterhead, read_letterhead
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.ports import About, Composer, Draft, Outbox
from bridges.email.recipients import Letter, Recipients, answering
from bridges.email.sent import SentMail, SentMails, named, opened, packed
from bridges.email.threads import Thread, Threads

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
        absent: Absent,
        heads: Heads,
        composer: Composer,
        outbox: Outbox,
    ) -> None:
        self._mailboxes = mailboxes
        self._threads = threads
        self._sent = sent
        self._contacts = contacts
        self._recipients = recipients
        self._absent = absent
        self._heads = heads
        self._composer = composer
        self._outbox = outbox

    async def send(self, message: MatrixMessage, attempt: Attempt, own: LoginId | None = None) -> Sent:
        """Write it and hand it over. `own` is the login that it comes by. Raises RejectedError in words for the sender.

        Whom it goes to is decided once, and stored, at the first try: who comes into the conversation later does not
        get what was written before. Files are read while the mailbox goes on with other mails.
        """
        chat, mailbox = self._recipients.place(message.chat, message.sender.id, own)
        head = read_letterhead(message.content)
        plan = opened(attempt.state) if attempt.state is not None else None
        if plan is None:
            async with self._threads.turn(mailbox.key):
                said = joined(await self._heads.get(mailbox.key, chat.id, message.sender.id), head)
                plan = await self._planned(mailbox, chat, message, head, said, attempt.key)
            await attempt.save(packed(plan))
        mail = await self._composer.compose(replace(plan.draft, content=replace(message.content, text=head.text)))
        sent = MessageId(mail.message_id)
        about = About(message.chat, sent, message.sender.id, mailbox.address, plan.token, mailbox.login)
        async with self._threads.turn(mailbox.key):
            await self._outbox.submit(mail, (*plan.draft.to, *plan.draft.cc, *plan.bcc), about)
            if await self._sent.get(mailbox.key, sent) is None:
                await self._threads.keep(await self._rows(mailbox, chat, plan, sent))
        return Sent((sent,))

    async def react(self, reaction: MatrixReaction, key: str, own: LoginId | None = None) -> Sent:
        """Send it as a mail where it will be understood. Raises UnsupportedError in words."""
        _, mailbox = self._recipients.place(reaction.chat, reaction.sender.id, own)
        target = reaction.target.id
        thread = await self._threads.of(mailbox.key, target) if target is not None else None
        people = await self._recipients.reading(mailbox, thread) if thread is not None else ()
        if thread is None or target is None or not people:
            raise UnsupportedError(NO_REACTIONS)
        letter = Letter(thread, people, (), (), answering(thread.subject), target)
        draft = self._draft(mailbox, letter, reaction.sender, key)
        draft = replace(draft, reacts=reaction.key, written_at=reaction.timestamp)
        mail = await self._composer.compose(draft)
        sent = MessageId(mail.message_id)
        about = About(reaction.chat, sent, reaction.sender.id, mailbox.address, thread.token, mailbox.login)
        await self._outbox.submit(mail, letter.to, about)
        return Sent((sent,))

    # The mail

    async def _planned(
        self, mailbox: Mailbox, chat: Chat, message: MatrixMessage, head: Letterhead, said: Letterhead, key: str
    ) -> SentMail:
        """`head` are the message's own lines, `said` with what commands said before."""
        letter = await self._recipients.of(mailbox, chat, message, said)
        token = letter.thread.token if letter.thread is not None else self._threads.token(mailbox.key, key)
        draft = replace(
            self._draft(mailbox, letter, message.sender, key),
            reply_to=self._mailboxes.tagged(mailbox.address, token),
            written_at=message.timestamp,
            signature=mailbox.rooms.signature,
            hops=letter.thread.hops(message.timestamp) if letter.thread is not None else 0,
        )
        return SentMail(
            draft, message.sender.id, token, letter.bcc, named(head), tuple({one.key for one in (*said.to, *said.cc)})
        )

    async def _rows(self, mailbox: Mailbox, chat: Chat, plan: SentMail, sent: MessageId) -> dict[str, bytes]:
        """What is known once the mail is handed over. The conversation may have gone on meanwhile."""
        draft = plan.draft
        thread = await self._threads.get(mailbox.key, plan.token)
        if thread is None:
            thread = Thread(plan.token, mailbox.key, chat.id, sent, draft.subject).with_people((*draft.to, *draft.cc))
        openly = [one for one in (*draft.to, *draft.cc) if one.key in plan.openly]
        thread = thread.after(sent).revealed(openly).with_hidden(plan.bcc)
        rows = self._threads.rows(thread, (sent,), author=mailbox.key)
        rows |= await self._absent.back(mailbox.key, thread.chat, openly)
        rows |= await self._heads.used(mailbox.key, chat.id, plan.user)
        for person in (*draft.to, *draft.cc, *plan.bcc):
            if person.key in plan.openly or await self._contacts.standing(mailbox.key, person) is None:
                rows |= self._contacts.row(mailbox.key, person, Standing.KNOWN)
        return {**rows, **self._sent.rows(mailbox.key, sent, plan)}

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
