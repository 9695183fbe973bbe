"""Commands about the next mail of who says them, and about who takes part."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from bridge_core.api.commands import AdapterCommand, CommandCall
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId
from bridges.email.chats import Chat
from bridges.email.codec.addresses import Address
from bridges.email.heads import Heads
from bridges.email.letterhead import Letterhead, LetterheadError, addresses
from bridges.email.mailboxes import Mailbox
from bridges.email.participants import Participants
from bridges.email.recipients import Recipients

NO_ROOM: Final = "say it in the room that you write in"


class WritingParts(Protocol):
    """What the commands speak to, while the network runs: `station.Station`."""

    heads: Heads
    people: Participants
    recipients: Recipients


class HeadCommands:
    """to, cc, bcc, subject, forget-head, remove."""

    def __init__(self, running: Callable[[], WritingParts]) -> None:
        self._running = running

    def commands(self) -> Sequence[AdapterCommand]:
        """All of them."""
        return (
            AdapterCommand("to", "ADDRESSES...", "whom your next mail in this room is for, too", self._to),
            AdapterCommand("cc", "ADDRESSES...", "who gets a copy of your next mail in this room", self._cc),
            AdapterCommand("bcc", "ADDRESSES...", "who gets a blind copy of it", self._bcc),
            AdapterCommand("subject", "TEXT...", "your next mail in this room begins a conversation", self._subject),
            AdapterCommand("forget-head", "", "your next mail is as if you had said none of these", self._forget),
            AdapterCommand("remove", "ADDRESS", "write to somebody no more from this room", self._remove),
        )

    async def _to(self, call: CommandCall) -> str:
        return await self._add(call, Letterhead((), to=_people(call)))

    async def _cc(self, call: CommandCall) -> str:
        return await self._add(call, Letterhead((), cc=_people(call)))

    async def _bcc(self, call: CommandCall) -> str:
        return await self._add(call, Letterhead((), bcc=_people(call)))

    async def _subject(self, call: CommandCall) -> str:
        return await self._add(call, Letterhead((), subject=" ".join(call["text"].split())[:200]))

    async def _forget(self, call: CommandCall) -> str:
        chat, mailbox = self._place(call)
        await self._running().heads.forget(mailbox.key, chat.id, call.user)
        return "It is forgotten."

    async def _remove(self, call: CommandCall) -> str:
        chat, mailbox = self._place(call)
        found = _addresses(call["address"])
        if len(found) != 1:
            raise RejectedError("say one address")
        person = found[0]
        await self._running().people.remove(mailbox, chat, person, None)
        return f"{person} is not written to any more from this room, unless a mail names them."

    async def _add(self, call: CommandCall, more: Letterhead) -> str:
        chat, mailbox = self._place(call)
        now = await self._running().heads.add(mailbox.key, chat.id, call.user, more)
        said = [
            f"{label}: {', '.join(str(one) for one in people)}"
            for label, people in (("To", now.to), ("Cc", now.cc), ("Bcc", now.bcc))
            if people
        ]
        said += [f"Subject: {now.subject}"] if now.subject else []
        return "\n".join(["Your next mail in this room has, beside what it says itself:", *said])

    def _place(self, call: CommandCall) -> tuple[Chat, Mailbox]:
        if call.chat is None:
            raise RejectedError(NO_ROOM)
        return self._running().recipients.place(ChatId(call.chat), call.user, call.login)


def _people(call: CommandCall) -> tuple[Address, ...]:
    found = _addresses(call["addresses"])
    if not found:
        raise RejectedError("say an address")
    return found


def _addresses(text: str) -> tuple[Address, ...]:
    try:
        # Between addresses people write commas, or nothing but blanks.
        return addresses(text if "," in text or "<" in text else ",".join(text.split()))
    except LetterheadError as error:
        raise RejectedError(str(error)) from error
