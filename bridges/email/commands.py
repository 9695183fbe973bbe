"""What Matrix users tell their mailboxes."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol
from urllib.parse import urlsplit

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Host
from bridges.email.admitting import Admitting
from bridges.email.chats import ChatKind, parse_chat
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.contacts import Contacts
from bridges.email.lists import Lists
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.passwords import StoredPasswords
from bridges.email.people import UNVERIFIED, ghosts_of
from bridges.email.quarantine import line
from bridges.email.requests import Requests
from bridges.email.spool import Spool
from bridges.email.threads import Threads

_LISTED: Final = 50


class MailParts(Protocol):
    """What the commands speak to, while the network runs: `station.Station`."""

    host: Host
    mailboxes: Mailboxes
    contacts: Contacts
    requests: Requests
    passwords: StoredPasswords
    admitting: Admitting
    threads: Threads
    lists: Lists
    spool: Spool


class MailCommands:
    """address, mail-password, requests, accept, block, unblock, unsubscribe; quarantine for admins."""

    def __init__(self, running: Callable[[], MailParts]) -> None:
        self._running = running

    def commands(self) -> Sequence[AdapterCommand]:
        """All of them."""
        admin = CommandLevel.ADMIN
        return (
            AdapterCommand("address", "", "your mail address and the mailboxes that you write as", self._address),
            AdapterCommand(
                "mail-password",
                "[MAILBOX]",
                "a new password of yours for mail programs; the one before works no more",
                self._password,
                private=True,
            ),
            AdapterCommand("requests", "[MAILBOX]", "who waits for your word before they are shown", self._requests),
            AdapterCommand("accept", "ADDRESS [MAILBOX]", "take somebody's mail, also what waits", self._accept),
            AdapterCommand("block", "ADDRESS [MAILBOX]", "show nothing of somebody any more", self._block),
            AdapterCommand("unblock", "ADDRESS [MAILBOX]", "let a blocked person be a stranger again", self._unblock),
            AdapterCommand(
                "unsubscribe", "[LIST]", "leave the mailing list of this room, or a named one", self._unsubscribe
            ),
            AdapterCommand("quarantine", "", "mails that could not be shown", self._quarantine, admin),
            AdapterCommand("quarantine-retry", "KEY", "try to show one again", self._retry, admin),
            AdapterCommand("quarantine-drop", "KEY", "throw one away", self._drop, admin),
        )

    async def _address(self, call: CommandCall) -> str:
        own = await self._running().host.login(call.user)
        shared = [
            str(box.address) for box in self._running().mailboxes if call.user in box.members and box.login is None
        ]
        if own is None and not shared:
            raise RejectedError("there is no mail address for you here")
        said = [f"Your mail address is {own}."] if own is not None else []
        return " ".join([*said, *([f"You write as {', '.join(shared)}."] if shared else [])])

    async def _password(self, call: CommandCall) -> str:
        mailbox = await self._mailbox(call, call.get("mailbox"))
        password = await self._running().passwords.renew(mailbox, call.user)
        return f"User: {mailbox.address}\nPassword: {password}\nIt is shown this once."

    async def _requests(self, call: CommandCall) -> str:
        boxes = self._mine(call, call.get("mailbox"))
        waiting = [
            (box, person, count) for box in boxes for person, count in self._running().requests.waiting(box.key).items()
        ]
        if not waiting:
            return f"Nobody waits at {_named(boxes)}."
        at = len(boxes) > 1
        lines = [
            f"{person}{f' at {box.address}' if at else ''}: {count} mail{'s' * (count != 1)}"
            for box, person, count in waiting[:_LISTED]
        ]
        if len(waiting) > _LISTED:
            lines.append(f"... and {len(waiting) - _LISTED} more")
        box = " MAILBOX" if at else ""
        return "\n".join([*lines, f"Say `accept ADDRESS{box}` or `block ADDRESS{box}`."])

    async def _accept(self, call: CommandCall) -> str:
        text = call["address"].removeprefix("mailto:").strip("<>")
        person, verified = _person(text), not text.startswith(UNVERIFIED)
        own, other = ghosts_of(person)
        ghost = own if verified else other
        mailbox = self._asked(call, person)
        waiting = self._running().requests.waiting(mailbox.key)
        count = await self._running().admitting.accept(mailbox, ghost)
        waited = f" {count} of their mails come{'s' * (count == 1)} now." if count else ""
        though = "" if verified else ", also where nobody answers for it"
        left = waiting.get(other, 0) if verified else 0
        still = (
            f" But {left} that nobody answers for wait{'s' * (left == 1)} still, since anybody may have sent "
            f"{'it' if left == 1 else 'them'}: `accept {other} {mailbox.address}` shows "
            f"{'it' if left == 1 else 'them'}."
            if left
            else ""
        )
        return f"Mail from {person} is shown in {mailbox.address}{though}.{waited}{still}"

    async def _block(self, call: CommandCall) -> str:
        mailbox, person = await self._mailbox(call, call.get("mailbox")), _person(call["address"])
        count = await self._running().admitting.block(mailbox, ghosts_of(person)[0])
        return f"Mail from {person} to {mailbox.address} is not shown any more." + (
            f" {count} that waited are gone." if count else ""
        )

    async def _unblock(self, call: CommandCall) -> str:
        mailbox, person = await self._mailbox(call, call.get("mailbox")), _person(call["address"])
        await self._running().contacts.forget(mailbox.key, person)
        return f"{person} is not blocked."

    async def _unsubscribe(self, call: CommandCall) -> str:
        """One click (RFC 8058): a POST to where the list says, by whoever asks for it here and nobody else."""
        mailbox = await self._mailbox(call, "")
        name = call.get("list").casefold() or await self._bulk(mailbox, call)
        bulk = await self._running().lists.get(mailbox.key, name) if name else None
        if bulk is None or not bulk.leave:
            known = [one.name for one in await self._running().lists.leavable(mailbox.key)]
            if not known:
                raise RejectedError("no mail here says how to unsubscribe by one click")
            raise RejectedError(f"say which list: {', '.join(known[:_LISTED])}")
        link = bulk.leave
        answer = await self._running().host.http.request(
            "POST",
            link,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=b"List-Unsubscribe=One-Click",
            limit=65_536,
        )
        host = urlsplit(link).hostname
        if answer.status >= 400:
            raise RejectedError(f"{host} did not take it: it answered {answer.status}")
        return f"{host} was told that this mailbox leaves the list."

    async def _bulk(self, mailbox: Mailbox, call: CommandCall) -> str:
        """The list or sender that a room is for; empty where it is for several."""
        chat = parse_chat(call.chat) if call.chat is not None else None
        if chat is not None and chat.kind is ChatKind.THREAD:
            thread = await self._running().threads.get(mailbox.key, chat.name)
            return thread.bulk if thread is not None else ""
        return chat.name if chat is not None and chat.kind is not ChatKind.MAILBOX else ""

    async def _quarantine(self, call: CommandCall) -> str:
        found = await self._running().spool.aside.page("", _LISTED + 1)
        more = ["... and more"] if len(found) > _LISTED else []
        return "\n".join([*(line(one) for one in found[:_LISTED]), *more]) if found else "Nothing is set aside."

    async def _retry(self, call: CommandCall) -> str:
        one = await self._running().spool.aside.named(call["key"].lower())
        if not await self._running().spool.release(one.key):
            raise RejectedError("there is no such mail in the quarantine")
        return "It is tried again."

    async def _drop(self, call: CommandCall) -> str:
        one = await self._running().spool.aside.named(call["key"].lower())
        if not await self._running().spool.aside.discard(one.key):
            raise RejectedError("there is no such mail in the quarantine")
        return "It is gone."

    async def _mailbox(self, call: CommandCall, named: str) -> Mailbox:
        """The mailbox that a command is about: the named one, that of the room, or the only one of who asks."""
        return _only(self._mine(call, named))

    def _asked(self, call: CommandCall, person: Address) -> Mailbox:
        """The same; of several the only one where the person waits."""
        mine = self._mine(call, call.get("mailbox"))
        waiting = [box for box in mine if self._running().requests.waiting(box.key).keys() & set(ghosts_of(person))]
        return _only(waiting if len(mine) > 1 and waiting else mine)

    def _mine(self, call: CommandCall, named: str) -> list[Mailbox]:
        """The mailboxes that a command may be about: the named one, that of the room, or all of who asks."""
        mine = [box for box in self._running().mailboxes if call.user in box.members]
        if named:
            wanted = self._running().mailboxes.exact(_person(named))
            mine = [box for box in mine if wanted is not None and box.key == wanted.key]
        elif call.chat is not None:
            here = self._running().mailboxes.at(parse_chat(call.chat), call.login)
            mine = [box for box in mine if here is not None and box.key == here.key]
        if not mine:
            raise RejectedError("you may not speak for that mailbox")
        return mine


def _only(boxes: Sequence[Mailbox]) -> Mailbox:
    if len(boxes) > 1:
        raise RejectedError(f"say which mailbox: {_named(boxes)}")
    return boxes[0]


def _named(boxes: Sequence[Mailbox]) -> str:
    return ", ".join(str(box.address) for box in boxes[:_LISTED])


def _person(text: str) -> Address:
    try:
        return parse_address(text.removeprefix("mailto:").removeprefix(UNVERIFIED).strip("<>"))
    except ValueError as error:
        raise RejectedError(f"{text[:100]} is no mail address: {error}") from error
