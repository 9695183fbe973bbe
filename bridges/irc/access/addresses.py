"""One address for each Matrix user, in a block for each homeserver, the same after every restart."""

import asyncio
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from bridge_core.api.host import KV
from bridge_core.api.ids import UserId
from bridges.irc.config.addresses import Addresses

Address = IPv4Address | IPv6Address
_SERVER: Final = "address/server/"
_USER: Final = "address/user/"
_LAST_SERVER: Final = "address/servers"
_LAST_USER: Final = "address/users/"


class NoAddress(Exception):  # noqa: N818 - named for what is so
    """There is no address left for this user; the text says which block is used up."""


class AddressPlan:
    """Numbers to addresses: prefix, then the homeserver's number, then the user's. Both count from 1.

    Block 0 is nobody's, nor is address 0 of a block (the subnet-router anycast address, RFC 4291 section 2.6.1).
    """

    def __init__(self, settings: Addresses) -> None:
        self._prefix = settings.prefix
        self._user_bits = settings.prefix.max_prefixlen - settings.block_length
        self.servers = 2 ** (settings.block_length - settings.prefix.prefixlen) - 1
        """How many homeservers have room."""
        self.users = 2**self._user_bits - 1
        """How many users of one homeserver have room."""

    def address(self, server: int, user: int) -> Address:
        """The address of a homeserver's user. Raises NoAddress where there is none."""
        if not 0 < server <= self.servers:
            raise NoAddress(f"all {self.servers} blocks of addresses for homeservers are taken")
        if not 0 < user <= self.users:
            raise NoAddress(f"all {self.users} addresses of this user's homeserver are taken")
        return self._prefix.network_address + ((server << self._user_bits) + user)

    def block(self, server: int) -> str:
        """The block of a homeserver, as staff would ban it."""
        start = self._prefix.network_address + (server << self._user_bits)
        return f"{start}/{self._prefix.max_prefixlen - self._user_bits}"


class AddressBook:
    """Which number each homeserver and each user has. Numbers are given once and kept for good."""

    def __init__(self, kv: KV, plan: AddressPlan) -> None:
        self._kv = kv
        self._plan = plan
        self._giving = asyncio.Lock()

    async def address(self, user: UserId) -> Address:
        """A user's address, the same at every call. Raises NoAddress; errors of the store."""
        server = user.partition(":")[2]
        numbers = await self._number(_SERVER + server), await self._number(_USER + user)
        if None in numbers:
            async with self._giving:
                numbers = await self._give(server, user)
        return self._plan.address(numbers[0] or 0, numbers[1] or 0)

    async def known(self, user: UserId) -> Address | None:
        """A user's address, if they have one already. Raises as `address`."""
        block, place = await self._number(_SERVER + user.partition(":")[2]), await self._number(_USER + user)
        return self._plan.address(block, place) if block is not None and place is not None else None

    async def block(self, server: str) -> str | None:
        """The block of a homeserver's users; None while none of them was ever connected."""
        number = await self._number(_SERVER + server)
        return None if number is None else self._plan.block(number)

    async def _give(self, server: str, user: UserId) -> tuple[int, int]:
        """The numbers of both, new ones where they had none. A crash between the writes skips a number."""
        block = await self._number(_SERVER + server)
        if block is None:
            block = await self._next(_LAST_SERVER, self._plan.servers, "of addresses for homeservers")
            await self._kv.put(_SERVER + server, b"%d" % block)
        place = await self._number(_USER + user)
        if place is None:
            place = await self._next(f"{_LAST_USER}{block}", self._plan.users, "of this user's homeserver")
            await self._kv.put(_USER + user, b"%d" % place)
        return block, place

    async def _next(self, counter: str, most: int, whose: str) -> int:
        number = (await self._number(counter) or 0) + 1
        if number > most:
            raise NoAddress(f"all {most} places {whose} are taken")
        await self._kv.put(counter, b"%d" % number)
        return number

    async def _number(self, key: str) -> int | None:
        """A stored number. Raises NoAddress for what is none: nobody may get another one's address."""
        value = await self._kv.get(key)
        if value is None:
            return None
        if not value.isdigit():
            raise NoAddress("what is stored of this user's address is damaged")
        return int(value)
