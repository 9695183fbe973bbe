"""What admins may ask: under which user name and address somebody is on the network, as its staff sees them."""

from typing import Final

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import UserId
from bridges.irc.access.access import Access
from bridges.irc.access.addresses import NoAddress

_LONGEST: Final = 255


def origin_command(access: Access) -> AdapterCommand:
    """The command `origin`, for admins."""

    async def origin(call: CommandCall) -> str:
        who = call["who"]
        if len(who) > _LONGEST or not who.isprintable():
            raise RejectedError("that is neither a Matrix user nor a homeserver")
        try:
            return await (_user(access, UserId(who)) if who.startswith("@") else _server(access, who))
        except NoAddress as error:
            raise RejectedError(str(error)) from None

    return AdapterCommand(
        "origin",
        "WHO",
        "the user name and address of a Matrix user, or the addresses of a homeserver, as staff sees them",
        origin,
        CommandLevel.ADMIN,
    )


async def _user(access: Access, user: UserId) -> str:
    name = await access.known_username(user)
    if name is None:
        return f"{user} was never connected."
    address = await access.known_address(user)
    if address is None:
        return f"{user} has the user name {name}."
    block = await access.block(user.partition(":")[2])
    return f"{user} has the user name {name} and the address {address}, of its homeserver's {block}."


async def _server(access: Access, server: str) -> str:
    block = await access.block(server)
    return f"No user of {server} has an address of their own." if block is None else f"{server} has {block}."
