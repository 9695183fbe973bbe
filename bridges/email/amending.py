"""What was written here is changed or taken back: in the mail itself while it is held, by a further mail afterwards."""

from dataclasses import replace
from typing import Final

from bridge_core.api.content import Content
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.ids import LoginId, MessageId
from bridge_core.api.matrix import MatrixEdit, MatrixRedaction
from bridge_core.api.network import Attempt, Sent
from bridges.email.codec.addresses import Address
from bridges.email.config.composing import Composing
from bridges.email.letterhead import read_letterhead
from bridges.email.mailboxes import Mailbox
from bridges.email.notices import Notices
from bridges.email.ports import About, Composer, Draft, Outbox, OutgoingMail
from bridges.email.recipients import Recipients
from bridges.email.sent import SentMail, SentMails
from bridges.email.threads import Threads

GONE: Final = "the mail is on its way: it cannot be changed or taken back any more"
OTHERS: Final = "whom a mail goes to cannot be changed: take it back, and write it anew"
NOT_WRITTEN_HERE: Final = "only mails that were written here can be changed or taken back"
NOT_YOURS: Final = "only who wrote a mail can change it"
REACTED: Final = "the reaction is on its way, and mail programs take none back"
CORRECTED: Final = "The mail was on its way already: a correction follows it, to the same people."


class Amending:
    """Edits and redactions. Every method may be called again for the same event."""

    def __init__(
        self,
        settings: Composing,
        recipients: Recipients,
        threads: Threads,
        sent: SentMails,
        composer: Composer,
        outbox: Outbox,
        notices: Notices,
    ) -> None:
        self._settings = settings
        self._recipients = recipients
        self._threads = threads
        self._sent = sent
        self._composer = composer
        self._outbox = outbox
        self._notices = notices

    async def edit(self, edit: MatrixEdit, attempt: Attempt, own: LoginId | None = None) -> Sent:
        """Write it anew while it is held; afterwards a correction follows it, where the settings let it.

        Raises RejectedError in words: it is somebody else's, would go to other people, or is on its way.
        """
        _, mailbox = self._recipients.place(edit.chat, edit.sender.id, own)
        target = edit.target.id
        before = await self._sent.get(mailbox.key, target) if target is not None else None
        if before is None or target is None:
            raise UnsupportedError(NOT_WRITTEN_HERE)
        head = read_letterhead(edit.content)
        if before.user != edit.sender.id:
            raise RejectedError(NOT_YOURS)
        if before.to_others(head):
            raise RejectedError(OTHERS)
        subject = head.subject if head.subject and not before.draft.in_reply_to else before.draft.subject
        draft = replace(before.draft, content=replace(edit.content, text=head.text), subject=subject)
        if await self._outbox.replace(target, mailbox.address, await self._written(draft, edit.event_id)):
            return Sent()
        if before.withdrawn or not self._settings.corrections:
            raise RejectedError(GONE)
        return await self._corrected(edit, mailbox, target, before, draft, attempt)

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt, own: LoginId | None = None) -> Sent:
        """Send it not at all while it is held; afterwards those are asked to forget it whose programs know that, where
        the settings let it. Raises RejectedError in words otherwise."""
        _, mailbox = self._recipients.place(redaction.chat, redaction.sender.id, own)
        target = redaction.target.id
        if redaction.reaction is not None:
            if target is None or not await self._outbox.cancel(target, mailbox.address):
                raise RejectedError(REACTED)
            return Sent()
        before = await self._sent.get(mailbox.key, target) if target is not None else None
        if before is None or target is None:
            # What a mail program submitted is known to the outbox alone.
            if target is None or not await self._outbox.cancel(target, mailbox.address):
                raise RejectedError(NOT_WRITTEN_HERE)
            return Sent()
        if before.correction:
            await self._outbox.cancel(MessageId(before.correction), mailbox.address)
        if await self._outbox.cancel(target, mailbox.address):
            rows = self._sent.rows(mailbox.key, target, replace(before, withdrawn=True))
            async with self._threads.turn(mailbox.key):
                thread = await self._threads.get(mailbox.key, before.token)
                if thread is not None:
                    # Nobody got it: no answer names it. The room's latest conversation stays which it was.
                    left = thread.without(target)
                    rows[left.key] = self._threads.rows(left)[left.key]
                await self._threads.keep(rows)
            return Sent()
        return await self._withdrawn(redaction, mailbox, target, before, attempt)

    async def _corrected(
        self, edit: MatrixEdit, mailbox: Mailbox, target: MessageId, before: SentMail, draft: Draft, attempt: Attempt
    ) -> Sent:
        draft = replace(
            draft,
            edits=target,
            in_reply_to=target,
            references=(*(one for one in draft.references if one != target), target),
            written_at=edit.timestamp,
        )
        to, cc, bcc = [
            await self._recipients.there(mailbox, edit.chat, people) for people in (draft.to, draft.cc, before.bcc)
        ]
        draft = replace(draft, to=to, cc=cc)
        if not (draft.to or draft.cc or bcc):
            raise RejectedError(GONE)
        if before.correction and before.correction_key != attempt.key:
            # One that is held still is made better, instead of another.
            held = await self._written(replace(draft, key=before.correction_key), edit.event_id)
            if await self._outbox.replace(MessageId(before.correction), mailbox.address, held):
                return Sent()
        mail = await self._written(replace(draft, key=attempt.key), edit.event_id)
        sent = await self._handed_over(edit, mailbox, before, mail, (*draft.to, *draft.cc, *bcc))
        noted = replace(before, correction=sent, correction_key=attempt.key)
        await self._threads.keep(self._sent.rows(mailbox.key, target, noted))
        await self._say(edit, mailbox, before, CORRECTED)
        return Sent((sent,))

    async def _withdrawn(
        self, redaction: MatrixRedaction, mailbox: Mailbox, target: MessageId, before: SentMail, attempt: Attempt
    ) -> Sent:
        thread = await self._threads.get(mailbox.key, before.token)
        everybody = (*before.draft.to, *before.draft.cc, *before.bcc)
        can = tuple(one for one in everybody if thread is not None and one.key in thread.messengers)
        if not can or not self._settings.withdrawals:
            raise RejectedError(GONE)
        openly = tuple(one for one in can if one not in before.bcc)
        draft = replace(
            before.draft,
            key=attempt.key,
            to=openly,
            cc=(),
            redacts=target,
            in_reply_to=target,
            references=(),
            written_at=redaction.timestamp,
        )
        mail = await self._written(draft, redaction.event_id)
        sent = await self._handed_over(redaction, mailbox, before, mail, can)
        asked = ", ".join(str(one.named("")) for one in can[:10])
        others = "; the others keep it" if len(can) < len(everybody) else ""
        await self._say(
            redaction, mailbox, before, f"The mail was on its way already. Asked to delete it: {asked}{others}."
        )
        return Sent((sent,))

    async def _written(self, draft: Draft, revision: str) -> OutgoingMail:
        content = Content() if draft.redacts else draft.content
        return replace(await self._composer.compose(replace(draft, content=content)), revision=revision)

    async def _handed_over(
        self,
        event: MatrixEdit | MatrixRedaction,
        mailbox: Mailbox,
        before: SentMail,
        mail: OutgoingMail,
        people: tuple[Address, ...],
    ) -> MessageId:
        """Into the outbox; answers to it belong to the conversation."""
        sent = MessageId(mail.message_id)
        about = About(event.chat, sent, event.sender.id, mailbox.address, before.token, mailbox.login)
        async with self._threads.turn(mailbox.key):
            await self._outbox.submit(mail, people, about)
            thread = await self._threads.get(mailbox.key, before.token)
            if thread is not None:
                await self._threads.keep(self._threads.rows(thread.after(sent), (sent,), author=mailbox.key))
        return sent

    async def _say(self, event: MatrixEdit | MatrixRedaction, mailbox: Mailbox, before: SentMail, text: str) -> None:
        thread = await self._threads.get(mailbox.key, before.token)
        await self._notices.say(mailbox, event.chat, event.event_id, text, thread)
