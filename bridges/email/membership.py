"""Who may be in the rooms of shared mailboxes: all of them are brought to the members that the settings name."""

import asyncio
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridges.email.chats import OWN, Chat, parse_chat
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.passwords import StoredPasswords

_log = structlog.get_logger(__name__)
_EVERY: Final = 600.0
"""Seconds between two looks: who could not be invited is tried again when it is time. From memory where all is well."""
_AT_ONCE: Final = 100
"""Rooms between two turns of the loop."""


class Memberships:
    """Runs from the network's start on. New rooms are opened for the members by whoever shows something there."""

    def __init__(self, host: Host, mailboxes: Mailboxes, passwords: StoredPasswords) -> None:
        self._host = host
        self._mailboxes = mailboxes
        self._passwords = passwords

    async def run(self) -> None:
        """Never ends, and raises nothing of the bridge's errors."""
        warned = False
        while True:
            failed = await self.bring()
            if failed and not warned:
                _log.warning("mailbox_members_not_brought", rooms=len(failed), error=str(failed[0]))
            warned = bool(failed)
            await self._host.clock.sleep(_EVERY)

    async def bring(self) -> list[BridgeError]:
        """Bring every room of every shared mailbox to its members, once; what failed. One keeps no other waiting."""
        failed: list[BridgeError] = []
        try:
            gone = await self._passwords.tidy()
            if gone:
                _log.info("mailbox_passwords_ended", passwords=gone)
        except BridgeError as error:
            failed.append(error)
        for number, (chat, mailbox) in enumerate(self._rooms()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                await self._host.rooms.open(chat.id, mailbox.members)
            except BridgeError as error:
                failed.append(error)
        return failed

    def _rooms(self) -> list[tuple[Chat, Mailbox]]:
        """The rooms of mailboxes that there are; what is left of a mailbox taken out of the settings stays as it is."""
        shared = {box.key: box for box in self._mailboxes if box.login is None}
        found = {Chat(key).id: (Chat(key), box) for key, box in shared.items() if box.members}
        for one in self._host.chats():
            try:
                chat = parse_chat(one)
            except ValueError:
                continue
            if chat.mailbox != OWN and chat.mailbox in shared:
                found[chat.id] = (chat, shared[chat.mailbox])
        return list(found.values())
