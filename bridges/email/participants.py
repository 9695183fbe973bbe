"""Ghosts who are removed from a room, or invited into it, on Matrix: whom its conversations are answered to."""

from typing import Final

from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import Membership, RemoteMember, RemoteSender
from bridge_core.api.ids import ChatId, LoginId
from bridge_core.api.matrix import MatrixMember, MatrixPower
from bridge_core.api.network import Inbox, Sent
from bridges.email.absent import Absent
from bridges.email.chats import Chat, ChatKind
from bridges.email.codec.addresses import Address
from bridges.email.mailboxes import Mailbox
from bridges.email.notices import Notices
from bridges.email.people import name_of, person_of
from bridges.email.recipients import Recipients
from bridges.email.threads import Threads

NO_POWERS: Final = "mail knows no powers"
NO_PERSON: Final = "that is nobody whom a mail could go to"
SEVERAL: Final = "this room has several conversations: write `Cc: {person}` on top of what goes there too"
ON_A_LIST: Final = "who gets the mails of a list is the list's to say"


class Participants:
    """Acts on it. Every method may be called again for the same event."""

    def __init__(
        self, recipients: Recipients, threads: Threads, absent: Absent, notices: Notices, inbox: Inbox
    ) -> None:
        self._recipients = recipients
        self._threads = threads
        self._absent = absent
        self._notices = notices
        self._inbox = inbox

    async def moderate(self, act: MatrixMember | MatrixPower, own: LoginId | None) -> Sent:
        """Who is removed is not written to any more from that room; who is invited is, from now on.

        Raises RejectedError in words, UnsupportedError for powers.
        """
        if isinstance(act, MatrixPower):
            raise UnsupportedError(NO_POWERS)
        chat, mailbox = self._recipients.place(act.chat, act.sender.id, own)
        person = person_of(act.remote) if act.remote is not None else None
        if person is None or act.remote is None:
            raise RejectedError(NO_PERSON)
        if act.membership in (Membership.KICK, Membership.BAN):
            await self.remove(mailbox, chat, person, act.event_id)
        else:
            await self._again(mailbox, chat, person)
        if act.membership is Membership.INVITE:
            sender = RemoteSender(act.remote, name_of(person))
            await self._inbox.receive([RemoteMember(chat.id, sender, Membership.JOIN, receiver=mailbox.login)])
        return Sent()

    async def remove(self, mailbox: Mailbox, chat: Chat, person: Address, key: str | None) -> None:
        """Not written to from the room any more, but where somebody names them; the room is told, once for a `key`."""
        if chat.kind is ChatKind.LIST:
            raise RejectedError(ON_A_LIST)
        async with self._threads.turn(mailbox.key):
            await self._absent.add(mailbox.key, chat.id, person)
        if key is None:
            return
        said = f"{person.named('')} is not written to any more from this room, unless a mail names them."
        await self._notices.say(mailbox, ChatId(chat.id), key, said)

    async def _again(self, mailbox: Mailbox, chat: Chat, person: Address) -> None:
        async with self._threads.turn(mailbox.key):
            rows = await self._absent.back(mailbox.key, chat.id, (person,))
            thread = await self._threads.get(mailbox.key, chat.name) if chat.kind is ChatKind.THREAD else None
            if thread is not None:
                rows |= self._threads.rows(thread.revealed((person,)))
            if not rows:
                raise RejectedError(SEVERAL.format(person=person.named("")))
            await self._threads.keep(rows)
