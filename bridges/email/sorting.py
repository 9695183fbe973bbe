"""Which conversation and which room a mail of a mailbox belongs to, and under which id it is known there."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bridge_core.api.ids import MessageId
from bridges.email.chats import Chat, ChatKind, parse_chat
from bridges.email.codec.addresses import Address
from bridges.email.config.mailboxes import Mode
from bridges.email.lists import bulk_of, post_of
from bridges.email.mail import Mail
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.people import UNVERIFIED, Author
from bridges.email.threads import Place, Thread, Threads

HIJACK: Final = "it says that it belongs to another conversation, whose people do not know its sender"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Where a mail goes. `first`: it begins the conversation. `reasons` are what people should know about that."""

    id: MessageId
    thread: Thread
    chat: Chat
    first: bool
    reasons: tuple[str, ...] = ()

    @property
    def in_thread(self) -> bool:
        """Whether the room shows its conversations as Matrix threads."""
        return self.chat.kind is not ChatKind.THREAD


class Sorting:
    """Sorts mails by what is known. Nothing is changed: who shows the mail commits what `Threads.rows` gives."""

    def __init__(self, mailboxes: Mailboxes, threads: Threads) -> None:
        self._mailboxes = mailboxes
        self._threads = threads

    async def known(self, mailbox: Mailbox, mail: Mail, digest: str, author: Author) -> Place | None:
        """Where the very same mail is already; it came by two ways, or again.

        One that nobody answered for, shown as such, is not the same as its verified author's: a forged copy that comes
        first swallows no mail.
        """
        found = await self.shown(mailbox, mail, digest, verified=author.verified)
        return found[1] if found is not None else None

    async def came_back(self, mailbox: Mailbox, mail: Mail, author: Author) -> bool:
        """Whether it is a mail of the mailbox's own that comes back: as it was sent, or as a list passes it on."""
        place = await self._threads.place(mailbox.key, mail.id)
        if place is None or place.author != mailbox.key:
            return False
        return bool(mail.list_id) or (author.verified and author.address.key == mailbox.key)

    async def shown(
        self, mailbox: Mailbox, mail: Mail, digest: str, *, verified: bool = True
    ) -> tuple[MessageId, Place] | None:
        """Under which id the very same mail is known, and where; a `verified` one's as one of its author's own."""
        for message_id in (mail.id, _other(mail.id, digest)):
            place = await self._threads.place(mailbox.key, message_id)
            if place is None:
                return None  # Where nobody has its id, it never had to take another.
            if place.digest == digest and not (verified and place.author.startswith(UNVERIFIED)):
                return MessageId(message_id), place
        return None

    async def id_of(self, mailbox: Mailbox, mail: Mail, digest: str) -> MessageId:
        """What a mail that is not known is known by from now on: no mail takes the id of another.

        Another body under a known id comes of a program that uses one id for all, or of somebody who wants to suppress
        a mail, or to have it for theirs.
        """
        taken = await self._threads.place(mailbox.key, mail.id) is not None
        return MessageId(_other(mail.id, digest) if taken else mail.id)

    async def sort(
        self,
        mailbox: Mailbox,
        mail: Mail,
        digest: str,
        author: Author,
        recipients: Iterable[Address],
        *,
        by_list: bool = False,
    ) -> Sorted:
        """Find or begin the conversation. `recipients` are the mailbox's addresses that the envelope named.
        `by_list`: its list answers for it (`lists.came_by_list`), and everybody there may write to the list's room.

        A token of ours in one of them proves that its writer was told it. What a mail refers to proves nothing: it is
        believed of those who take part, once it is sure who they are.
        """
        message_id = await self.id_of(mailbox, mail, digest)
        reasons: tuple[str, ...] = ()
        thread = await self._by_token(mailbox, recipients)
        if thread is None:
            thread = await self._threads.answered(
                mailbox.key, (*mail.in_reply_to, *reversed(mail.references), *mail.former_ids)
            )
            if thread is not None and not self._belongs(thread, mail, author, by_list):
                thread, reasons = None, (HIJACK,)
        if thread is not None:
            # An answer that comes by a list belongs to the room of its conversation all the same.
            return Sorted(message_id, thread, parse_chat(thread.chat), False)
        chat = self._new_chat(mailbox, mail, author, message_id)
        token = self._threads.token(mailbox.key, message_id)
        post = post_of(mail) if author.verified else ""
        begun = Thread(
            token, mailbox.key, chat.id, message_id, mail.subject, list_post=post, bulk=bulk_of(mail, author)
        )
        return Sorted(message_id, begun, chat, True, reasons)

    async def _by_token(self, mailbox: Mailbox, recipients: Iterable[Address]) -> Thread | None:
        for recipient in recipients:
            tag = self._mailboxes.tag(recipient)
            thread = await self._threads.get(mailbox.key, tag.lower()) if tag else None
            if thread is not None:
                return thread
        return None

    def _belongs(self, thread: Thread, mail: Mail, author: Author, by_list: bool) -> bool:
        chat = parse_chat(thread.chat)
        if by_list and chat.kind is ChatKind.LIST and chat.name == mail.list_id:
            return True  # everybody may write to a list's room; who they are is said by their ghost
        return author.verified and (thread.knows(author.address) or author.address.key == thread.mailbox)

    def _new_chat(self, mailbox: Mailbox, mail: Mail, author: Author, root: str) -> Chat:
        if mail.list_id and mailbox.rooms.lists:
            return Chat(mailbox.home, ChatKind.LIST, mail.list_id)
        if mailbox.rooms.mode is Mode.CORRESPONDENT:
            other = next((one for one in mail.to if one.key != mailbox.key), None)
            own = author.address.key == mailbox.key and author.verified
            return Chat(mailbox.home, ChatKind.CORRESPONDENT, other.key if own and other is not None else author.id)
        if mailbox.rooms.mode is Mode.THREAD:
            return Chat(mailbox.home, ChatKind.THREAD, self._threads.token(mailbox.key, root))
        return Chat(mailbox.home)


def _other(message_id: str, digest: str) -> str:
    return f"{message_id}#{digest[:16]}"
