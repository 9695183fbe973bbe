"""Addresses of Matrix users: whose each is, for ever, and mailboxes that are made when the first mail comes."""

import asyncio
from typing import Final

from bridge_core.api.host import KV, Host
from bridge_core.api.ids import UserId
from bridges.email.codec.addresses import Address
from bridges.email.mailboxes import Mailbox, Mailboxes

_PREFIX: Final = "owner/"


class Owners:
    """Who had an address first. Nobody else ever gets it: what is sent to it was meant for them."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._taking = asyncio.Lock()

    async def take(self, address: Address, user: UserId) -> bool:
        """Whether the address is the user's from now on. Committed when it returns; of several at once one gets it."""
        async with self._taking:
            owner = await self.of(address)
            if owner is None:
                await self._kv.put(_PREFIX + address.key, user.encode())
        return owner in {None, user}

    async def of(self, address: Address) -> UserId | None:
        """Whose the address is, or was."""
        row = await self._kv.get(_PREFIX + address.key)
        return UserId(row.decode()) if row is not None else None


class Ahead:
    """Mailboxes of Matrix users who did not use theirs yet."""

    def __init__(self, host: Host, mailboxes: Mailboxes, *, on: bool) -> None:
        self._host = host
        self._mailboxes = mailboxes
        self._on = on

    async def mailbox(self, address: Address) -> Mailbox | None:
        """The mailbox of the user of our homeserver whose address this is, made now; None where there is none.

        Raises TransientError or RateLimitedError where the homeserver does not tell, or was asked too much.
        """
        localpart = self._mailboxes.localpart_for(address) if self._on else None
        user = await self._host.local_user(localpart) if localpart is not None else None
        if user is None:
            return None
        meant = self._mailboxes.address_for(user, self._host.server)
        if meant is None or meant.key != self._mailboxes.untagged(address).key:
            return None  # the settings make another address of that name, or it is taken or reserved
        await self._host.login(user)
        return self._mailboxes.exact(address)
