"""What a Matrix user has the bridge say to the network's services whenever it connects them, or enters a channel."""

import json
from collections.abc import Sequence
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, UserId
from bridges.irc.codec.serializer import UnsafeLine, serialize

log = structlog.get_logger(__name__)
_PREFIX: Final = "autocommands/"
_LINES_AT_MOST: Final = 10
_LONGEST: Final = 400
_DIRECT: Final = frozenset(("NICKSERV", "NS", "CHANSERV", "CS", "HOSTSERV", "HS", "AUTHSERV", "AS"))
"""Commands by which servers reach services without a nick that somebody could take."""

CHANNEL: Final = "$CHANNEL"
"""A command with this is said at joining, with the channel's name in its place."""
Command = tuple[str, tuple[str, ...]]


class Autocommands:
    """The commands of all users, sealed: they hold passwords. Read when they are needed."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services
        self._host: Host | None = None
        self._users: set[UserId] = set()

    async def load(self, host: Host) -> None:
        """Learns who has any."""
        self._host = host
        self._users = {UserId(key.removeprefix(_PREFIX)) for key in await host.secrets.items(_PREFIX)}

    def has(self, user: UserId) -> bool:
        """Whether a user has any."""
        return user in self._users

    async def of(self, user: UserId) -> list[str]:
        """A user's commands, as they were given. Raises errors of the store."""
        if user not in self._users:
            return []
        assert self._host is not None, "the connector is not started"
        stored = await self._host.secrets.get(_PREFIX + user)
        try:
            return [str(line) for line in json.loads(stored or b"[]")]
        except (ValueError, TypeError):
            log.warning("irc_autocommands_unreadable", network=self._host.network, user=user)
            return []

    async def commands(self, user: UserId, chat: ChatId | None = None) -> list[Command]:
        """A user's commands to be sent: those at each connection, or at joining a channel; what is not allowed any more
        is left out. Never raises: they can do without."""
        found: list[Command] = []
        try:
            lines = await self.of(user)
        except BridgeError as error:
            log.warning("irc_autocommands_unreadable", user=user, error=str(error))
            return []
        for line in lines:
            if (CHANNEL in line) is not (chat is not None):
                continue
            try:
                found.append(read(line if chat is None else line.replace(CHANNEL, chat), self._services))
            except RejectedError:
                log.info("irc_autocommand_left_out", user=user)
        return found

    async def add(self, user: UserId, line: str) -> int:
        """One more command, the last one; how many there are now. Raises RejectedError; errors of the store."""
        read(line, self._services)
        lines = [*await self.of(user), line]
        if len(lines) > _LINES_AT_MOST:
            raise RejectedError(f"there are {_LINES_AT_MOST} already")
        await self._put(user, lines)
        return len(lines)

    async def clear(self, user: UserId) -> None:
        """No commands any more. Raises errors of the store."""
        await self._put(user, [])

    async def _put(self, user: UserId, lines: list[str]) -> None:
        assert self._host is not None, "the connector is not started"
        await self._host.secrets.put(_PREFIX + user, json.dumps(lines).encode() if lines else None)
        if lines:
            self._users.add(user)
        else:
            self._users.discard(user)


def read(line: str, services: Sequence[str]) -> Command:
    """A command as it was given: `/msg NickServ TEXT`, `PRIVMSG NickServ :TEXT`, `NickServ TEXT`, `NS TEXT`.

    Services only: whatever else a user wants said goes through the chats, where it is judged. Raises RejectedError.
    """
    words = line.strip().removeprefix("/").split(" ", 2)
    verb = words[0].upper()
    known = {service.lower(): service for service in services}
    if verb in ("MSG", "PRIVMSG", "QUERY") and len(words) == 3 and words[1].lower() in known:
        command: Command = "PRIVMSG", (known[words[1].lower()], words[2].removeprefix(":"))
    elif words[0].lower() in known and len(words) > 1:
        command = "PRIVMSG", (known[words[0].lower()], " ".join(words[1:]).removeprefix(":"))
    elif verb in _DIRECT and len(words) > 1:
        command = verb, (" ".join(words[1:]).removeprefix(":"),)
    else:
        raise RejectedError(f"write what is to be said to one of the services ({', '.join(services)})")
    try:
        if len(serialize(command[0], *command[1])) > _LONGEST:
            raise RejectedError("that is too long for one line")
    except UnsafeLine as error:
        raise RejectedError(f"that cannot be sent: {error}") from None
    return command


def shown(line: str) -> str:
    """A command without what may be secret in it."""
    words = line.split()
    return " ".join([*words[:3], "…"]) if len(words) > 3 else " ".join(words[:2])
