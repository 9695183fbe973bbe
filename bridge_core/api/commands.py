"""Commands that a network adds to those of the bridge: said to the bot, or given through its HTTP API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from bridge_core.api.ids import ChatId, LoginId, UserId


class CommandLevel(IntEnum):
    """The lowest permission that may use a command, as in the configuration's `permissions`."""

    RELAY = 1
    USER = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class CommandCall:
    """One command as it was given. All arguments are text of a stranger; those left out are missing."""

    user: UserId
    level: CommandLevel
    """What the user may do, which is at least what the command asks for."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case: `NEW_NICK...` is `new_nick`."""
    chat: ChatId | None = None
    """The chat of this network that the room is bridged to; None in other rooms."""
    login: LoginId | None = None
    """The user's login on this network that speaks in the room, or their preferred one; None when they have none."""

    def __getitem__(self, name: str) -> str:
        """An argument that every call has."""
        return self.arguments[name]

    def get(self, name: str, default: str = "") -> str:
        """An argument that may be left out."""
        return self.arguments.get(name, default)


RunCommand: TypeAlias = Callable[[CommandCall], Awaitable[str]]
"""Does it; the text is the answer. Ends within 30 seconds, and may be called twice for one event after a crash.

Raises the errors of `bridge_core.api.errors` with words for the user. Nothing is tried again: they say it again.
"""


@dataclass(frozen=True, slots=True)
class AdapterCommand:
    """A command of one network. It is said as `NETWORK NAME`, or as `NAME` where only one network can be meant.

    `name` is one word in lower case. `arguments` is how they are written: `CHAT` (needed), `[WHO]` (may be left out),
    `TEXT...` (all that is left), `[REASON...]`. `help` goes on after "NAME - ". With `moderates` it is taken in a room
    that is bridged to the network, from who may change that room's settings or is an admin. With `private` it is taken
    where nobody else reads along. The arguments named in `secret` are never logged.
    """

    name: str
    arguments: str
    help: str
    run: RunCommand
    level: CommandLevel = CommandLevel.USER
    moderates: bool = False
    private: bool = False
    secret: tuple[str, ...] = ()
