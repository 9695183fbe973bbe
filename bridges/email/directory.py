"""Which addresses there are: the `Directory` of the doors. An open relay cannot be configured."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bridges.email.ahead import Ahead
from bridges.email.codec.addresses import Address
from bridges.email.config.mailboxes import Strangers
from bridges.email.contacts import Contacts
from bridges.email.mail import Door
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.ports import Reply, Returned, Visit
from bridges.email.threads import Threads

Outgoing = Callable[[Mailbox, Address, Sequence[Address]], Awaitable[Reply | None]]
"""Whether a mailbox may write to an address elsewhere now, in a mail to these as well; else the answer why not."""
UNKNOWN: Final = Reply(550, "5.1.1", "there is no such mailbox here")
NO_RELAY: Final = Reply(550, "5.7.1", "this server takes mail for its own domains only")
NO_STRANGERS: Final = Reply(550, "5.7.1", "this mailbox takes answers to its own mail only")


class PeopleDirectory:
    """Asks the mailboxes, and for those that take answers only, what they know."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        threads: Threads,
        contacts: Contacts,
        returned: Returned,
        ahead: Ahead,
        outgoing: Outgoing | None = None,
    ) -> None:
        self._mailboxes = mailboxes
        self._threads = threads
        self._contacts = contacts
        self._returned = returned
        self._ahead = ahead
        self._outgoing = outgoing

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        """As `Directory.recipient`."""
        if not self._mailboxes.is_ours(address):
            return await self._elsewhere(visit, address)
        if self._mailboxes.is_postmaster(address) or self._returned.token(address) is not None:
            return None
        mailbox = self._mailboxes.exact(address)
        if mailbox is None:
            # Before the catch-all: a user's own mail is for nobody else.
            mailbox = await self._ahead.mailbox(address) or self._mailboxes.find(address)
        if mailbox is None:
            return UNKNOWN
        own = self._mailboxes.get(visit.login) if visit.login is not None else None
        writer = own.address if own is not None else sender
        # The null reverse-path brings reports about mails that were sent from here.
        if mailbox.rooms.strangers is Strangers.REFUSE and writer is not None and own != mailbox:
            return await self._known(mailbox, writer, address)
        return None

    async def may_send_as(self, login: str, address: Address) -> bool:
        """As `Directory.may_send_as`: a login is a mailbox, and writes as its address and its subaddresses."""
        mailbox = self._mailboxes.get(login)
        return mailbox is not None and self._mailboxes.exact(address) == mailbox

    async def _elsewhere(self, visit: Visit, address: Address) -> Reply | None:
        """Only who gave a password at the door for it writes to other domains, as one of our mailboxes."""
        mailbox = self._mailboxes.get(visit.login) if visit.login is not None else None
        if visit.door is not Door.SUBMISSION or mailbox is None or self._outgoing is None:
            return NO_RELAY
        others = [one for one in visit.accepted if not self._mailboxes.is_ours(one)]
        return await self._outgoing(mailbox, address, others)

    async def _known(self, mailbox: Mailbox, sender: Address, address: Address) -> Reply | None:
        if await self._threads.get(mailbox.key, self._mailboxes.tag(address).lower()) is not None:
            return None
        return None if await self._contacts.known(mailbox.key, sender) else NO_STRANGERS
