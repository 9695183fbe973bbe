"""Whom a message of a room goes to as a mail, and as an answer to what."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from bridge_core.api.content import Content
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import LoginId, RemoteUserId, UserId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.content import to_plain
from bridges.email.absent import Absent
from bridges.email.chats import Chat, ChatKind, parse_chat
from bridges.email.codec.addresses import Address
from bridges.email.contacts import Contacts, Standing
from bridges.email.letterhead import Letterhead, LetterheadError, addresses
from bridges.email.lists import Lists
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.people import person_of
from bridges.email.threads import Thread, Threads

NO_ADDRESS: Final = (
    "say whom it is for: answer in a conversation's thread, or begin with a line `To: somebody@example.org` and one "
    "`Subject: ...`"
)
NOT_YOURS: Final = "you may not write as this mailbox"
NOBODY: Final = "nobody else takes part in this conversation"
NEW_SUBJECT: Final = (
    "a conversation keeps its subject: for a new one write `To:` and `Subject:` in the mailbox's room, in no thread"
)
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


class Recipients:
    """Finds them by what is known of the room's conversations."""

    def __init__(
        self, mailboxes: Mailboxes, threads: Threads, lists: Lists, absent: Absent, contacts: Contacts
    ) -> None:
        self._mailboxes = mailboxes
        self._threads = threads
        self._lists = lists
        self._absent = absent
        self._contacts = contacts

    def place(self, text: str, user: UserId, own: LoginId | None) -> tuple[Chat, Mailbox]:
        """The room, and its mailbox, which the user may write as. Raises RejectedError in words."""
        chat = parse_chat(text)
        mailbox = self._mailboxes.at(chat, own)
        if mailbox is None:
            raise RejectedError("there is no such mailbox here any more")
        if user not in mailbox.members:
            raise RejectedError(NOT_YOURS)
        return chat, mailbox

    async def of(self, mailbox: Mailbox, chat: Chat, message: MatrixMessage, head: Letterhead) -> Letter:
        """Raises RejectedError in words for the sender where it goes to nobody."""
        thread, to = await self._answered(mailbox, chat, message, head)
        if thread is not None:
            last = thread.references[-1] if thread.references else ""
            answers = message.reply_to.id if message.reply_to is not None else None
            known = answers if answers in thread.references else None
            letter = Letter(thread, _once(*to, *head.to), head.cc, head.bcc, answering(thread.subject), known or last)
        else:
            subject = head.subject or _first_line(head, message.content)
            letter = Letter(None, head.to or await self._at_home(mailbox, chat), head.cc, head.bcc, subject)
        if not (letter.to or letter.cc or letter.bcc):
            raise RejectedError(NO_ADDRESS if thread is None else NOBODY)
        return letter

    async def everybody(self, mailbox: Mailbox, thread: Thread) -> tuple[Address, ...]:
        """All who take part openly, where they want answers, but ourselves; on a list, the list."""
        post = await self._post(mailbox, thread)
        if post:
            return post
        there = await self.there(mailbox, thread.chat, thread.people)
        where = _once(*(at for one in there for at in self._where(mailbox, thread, one)))
        return await self.there(mailbox, thread.chat, where)

    async def there(self, mailbox: Mailbox, chat: str, people: Iterable[Address]) -> tuple[Address, ...]:
        """Those of some people who are still written to from a room: nobody who was removed, or is blocked."""
        gone = await self._absent.of(mailbox.key, chat)
        return tuple(
            [
                one
                for one in people
                if one.key not in gone and await self._contacts.standing(mailbox.key, one) is not Standing.BLOCKED
            ]
        )

    async def reading(self, mailbox: Mailbox, thread: Thread) -> tuple[Address, ...]:
        """Those of them whose mail programs show reactions; never a list."""
        if await self._post(mailbox, thread):
            return ()
        can = replace(thread, people=tuple(one for one in thread.people if one.key in thread.reading))
        return await self.everybody(mailbox, can)

    async def _answered(
        self, mailbox: Mailbox, chat: Chat, message: MatrixMessage, head: Letterhead
    ) -> tuple[Thread | None, tuple[Address, ...]]:
        """The conversation that a message goes on with, and with whom; None where it begins one."""
        for reference in (message.reply_to, message.thread):
            if reference is None or reference.id is None:
                continue
            place = await self._threads.place(mailbox.key, reference.id)
            thread = await self._threads.get(mailbox.key, place.token) if place is not None else None
            if place is None or thread is None:
                continue
            if head.subject:
                raise RejectedError(NEW_SUBJECT)
            author = person_of(RemoteUserId(place.author))
            if reference is message.reply_to and author is not None and author.key in thread.hidden:
                # The others must not hear of who got a blind copy, nor read what is said to them.
                return thread, self._where(mailbox, thread, author)
            return thread, await self.everybody(mailbox, thread)
        if chat.kind is ChatKind.THREAD:
            if head.subject:
                raise RejectedError(NEW_SUBJECT)
            thread = await self._threads.get(mailbox.key, chat.name)
            return thread, await self.everybody(mailbox, thread) if thread is not None else ()
        if chat.kind is ChatKind.CORRESPONDENT and not head.subject:
            thread = await self._threads.latest(mailbox.key, chat.id)
            person = person_of(RemoteUserId(chat.name))
            if thread is None or person is None or person.key in await self._absent.of(mailbox.key, chat.id):
                return thread, ()
            # What is said in somebody's room, and to no mail in particular, is for them alone.
            return thread, self._where(mailbox, thread, person)
        return None, ()

    async def _at_home(self, mailbox: Mailbox, chat: Chat) -> tuple[Address, ...]:
        """Whom a new conversation of a room is with, where its first mail does not say."""
        if chat.kind is ChatKind.CORRESPONDENT:
            person = person_of(RemoteUserId(chat.name))
            return (person,) if person is not None else ()
        if chat.kind is ChatKind.LIST:
            bulk = await self._lists.get(mailbox.key, chat.name)
            return _posts(bulk.post) if bulk is not None else ()
        return ()

    async def _post(self, mailbox: Mailbox, thread: Thread) -> tuple[Address, ...]:
        """The list's address, where answers of the conversation go to a list."""
        chat = parse_chat(thread.chat)
        if chat.kind is ChatKind.LIST:
            # What the list said first, and not whoever wrote to it last.
            known = await self._at_home(mailbox, chat)
            if known:
                return known
        return _posts(thread.list_post)

    def _where(self, mailbox: Mailbox, thread: Thread, person: Address) -> tuple[Address, ...]:
        there = tuple(one for one in thread.where(person) if self._mailboxes.find(one) != mailbox)
        return there or ((person,) if self._mailboxes.find(person) != mailbox else ())


def answering(subject: str) -> str:
    """The subject of an answer."""
    return subject if subject[:3].casefold() == "re:" else f"Re: {subject}"


def _posts(post: str) -> tuple[Address, ...]:
    try:
        return addresses(post)
    except LetterheadError:
        return ()


def _once(*people: Address) -> tuple[Address, ...]:
    found: dict[str, Address] = {}
    for one in people:
        found.setdefault(one.key, one)
    return tuple(found.values())


def _first_line(head: Letterhead, content: Content) -> str:
    """A subject for a mail that was given none: its first words, or its first file."""
    lines = to_plain(head.text).strip().split("\n")
    if not lines[0] and content.attachments:
        return content.attachments[0].name
    first = lines[0].strip()
    return first if len(first) <= _FIRST_LINE else f"{first[:_FIRST_LINE].rsplit(' ', 1)[0]} ..."
