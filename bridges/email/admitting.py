"""Strangers who wait for a mailbox's word: let in or kept out, by a command or by a reaction to their request."""

from typing import Final

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import LoginId, RemoteUserId
from bridge_core.api.matrix import MatrixReaction
from bridges.email.chats import parse_chat
from bridges.email.codec.addresses import Address
from bridges.email.contacts import Contacts, Standing
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.people import UNVERIFIED, ghosts_of, person_of
from bridges.email.requests import Requests

REQUEST: Final = "request "
"""What the message ids of requests begin with: no Message-ID does, since a space is in none."""
_YES: Final = frozenset("👍✅✔👌")
_NO: Final = frozenset("👎❌✖🚫⛔")


class Admitting:
    """The word of members about strangers, whichever way they give it."""

    def __init__(self, mailboxes: Mailboxes, contacts: Contacts, requests: Requests) -> None:
        self._mailboxes = mailboxes
        self._contacts = contacts
        self._requests = requests

    async def accept(self, mailbox: Mailbox, ghost: RemoteUserId) -> int:
        """Show their mail from now on, and what waits; how many mails that are. Idempotent.

        Who is verified is let in as that; what others send under their address is not.
        """
        person, verified = _person(ghost), not ghost.startswith(UNVERIFIED)
        await self._contacts.set(mailbox.key, person, Standing.KNOWN, verified=verified)
        waiting = ghosts_of(person)[: 1 if verified else 2]
        return sum([await self._requests.release(mailbox.key, one) for one in waiting])

    async def block(self, mailbox: Mailbox, ghost: RemoteUserId) -> int:
        """Show nothing of them; how many mails that waited are gone. Idempotent."""
        person = _person(ghost)
        await self._contacts.set(mailbox.key, person, Standing.BLOCKED)
        return sum([await self._requests.drop(mailbox.key, one) for one in ghosts_of(person)])

    async def reacted(self, reaction: MatrixReaction, own: LoginId | None) -> bool:
        """Do what a reaction to a request says; False where it is to something else. Raises RejectedError in words."""
        target = reaction.target.id
        if target is None or not target.startswith(REQUEST):
            return False
        mailbox = self._mailboxes.at(parse_chat(reaction.chat), own)
        if mailbox is None or reaction.sender.id not in mailbox.members:
            raise RejectedError("you may not speak for that mailbox")
        sign = reaction.key[:1]
        if sign not in _YES | _NO:
            raise RejectedError("react with 👍 to see their mail, with 👎 for none of it")
        ghost = self._requests.behind(mailbox.key, target.removeprefix(REQUEST))
        if ghost is None:
            raise RejectedError("nobody waits there any more: say `!bridge accept ADDRESS` or `!bridge block ADDRESS`")
        await (self.accept if sign in _YES else self.block)(mailbox, ghost)
        return True


def _person(ghost: RemoteUserId) -> Address:
    person = person_of(ghost)
    if person is None:
        raise RejectedError(f"{ghost[:100]} is no mail address")
    return person
