"""One command: how it is written, who may give it, and what a call of it holds."""

import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.permissions import Permission


class UnknownCommandError(RejectedError):
    """There is no such command."""


class UsageError(RejectedError):
    """The arguments do not fit; the text says how to write it."""


class NotAllowedError(RejectedError):
    """The caller's level is too low, or this is not the place for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says: `text` for people (plain, may have several lines), `data` (JSON) for programs.

    `alone`: nobody but the caller may be able to read it, else it is not said.
    """

    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


class Surety(IntEnum):
    """How sure it is that a command is its sender's, and not what their homeserver or another login says for them."""

    SAID = 0
    """In the clear, or with a token that their homeserver gives."""
    ENCRYPTED = 1
    """By a device of theirs whose messages are taken."""
    SURE = 2
    """By a device that an identity has signed which an admin has confirmed; or with the API's secret."""


@dataclass(frozen=True, slots=True)
class Call:
    """One command as it was given, by whom, and where.

    `arguments` are by their names in lower case; those that were left out are missing. They are text of a stranger.
    `room` is where it was said, or what the API's caller named (a member of it): whether they may change anything
    there is the command's to ask. None when no room was named. `event` is None when it came through the API.
    """

    sender: UserId
    level: Permission
    arguments: Mapping[str, str] = field(default_factory=dict)
    room: RoomId | None = None
    event: EventId | None = None
    private: bool = True
    """Nobody but the caller reads the answer: the management room, or the API."""
    plain: bool = False
    """It was said without the prefix, as in a management room."""
    confirmed: bool = True
    """The caller knows what follows: `confirm` stood behind it, or it is a program, which does not guess at words."""
    surety: Surety = Surety.SAID

    def __getitem__(self, name: str) -> str:
        """An argument that every call has."""
        return self.arguments[name]

    def get(self, name: str, default: str = "") -> str:
        """An argument that may be left out."""
        return self.arguments.get(name, default)

    def here(self) -> RoomId:
        """The room that the command is about. Raises UsageError when none was named."""
        if self.room is None:
            raise UsageError("say this in the room that it is about, or name the room")
        return self.room


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. `rest` takes all words that are left."""

    name: str
    optional: bool = False
    rest: bool = False

    @property
    def key(self) -> str:
        """Its name in `Call.arguments`."""
        return self.name.lower()


Run = Callable[[Call], Awaitable[Answer]]
"""Does it. May be called twice for one event, after a crash in between.

Raises RejectedError in words for the caller; TransientError and RateLimitedError to be tried again later.
"""

Asks = Callable[[Call], Awaitable[str]]
"""What follows from a call that no other command takes back, in sentences; empty where nothing has to be asked.

Changes nothing. Raises as `Run`.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `name` is one word or two (`journal list`).

    `arguments` is how they are written: `NETWORK CHAT` (both needed), `[NETWORK]` (may be left out), `TEXT...` (all
    that is left), `[REASON...]`. `level` is the lowest that may use it. With `private` it is only taken where nobody
    else reads along. The arguments named in `secret` are never logged, and what held them is redacted. With `asks` it
    first says what follows, and is done when `confirm` stands behind it.
    """

    name: str
    arguments: str
    help: str
    level: Permission
    run: Run
    topic: str = "General"
    private: bool = False
    secret: tuple[str, ...] = ()
    asks: Asks | None = None

    def __post_init__(self) -> None:
        """Refuse what could never be called: a mistake of whoever wrote it."""
        parsed = self.parsed()
        if self.key != self.key.lower() or len(self.name.split()) not in (1, 2) or not self.key.strip("-"):
            raise ValueError(f"{self.name!r} is no name for a command")
        for before, after in pairwise(parsed):
            if before.rest or (before.optional and not after.optional):
                raise ValueError(f"{self.usage}: nothing can be told apart after {before.name}")

    @property
    def key(self) -> str:
        """The name in one word, as in the API's paths: `journal-list`."""
        return "-".join(self.name.split())

    @property
    def usage(self) -> str:
        """How to write it."""
        return f"{self.name} {self.arguments}".strip()

    def confirmed(self, words: Sequence[str]) -> tuple[bool, Sequence[str]]:
        """Whether the words confirm a call that asks back, and those that are left."""
        if self.asks is not None and words and words[-1].lower() == CONFIRM:
            return True, words[:-1]
        return False, words

    def again(self, call: Call) -> str:
        """How to write a call once more, confirmed. Secrets are not repeated."""
        words = [argument.name if argument.key in self.secret else call.get(argument.key) for argument in self.parsed()]
        return " ".join([self.name, *filter(None, words), CONFIRM])

    def parsed(self) -> tuple[Argument, ...]:
        """The arguments one by one."""
        return tuple(
            Argument(word.strip("[].").replace("...", ""), word.startswith("["), "..." in word)
            for word in self.arguments.split()
        )

    def bind(self, words: Sequence[str]) -> dict[str, str]:
        """Words as arguments. Raises UsageError."""
        bound: dict[str, str] = {}
        left = list(words)
        for argument in self.parsed():
            if not left:
                if argument.optional:
                    continue
                raise UsageError(f"write it as: {self.usage}")
            bound[argument.key] = " ".join(left) if argument.rest else left[0]
            left = [] if argument.rest else left[1:]
        if left:
            raise UsageError(f"write it as: {self.usage}")
        for key, value in bound.items():
            _readable(key, value)
        return bound

    def check(self, arguments: Mapping[str, str]) -> dict[str, str]:
        """Arguments by name, as a program gives them. Raises UsageError for missing, unknown and unreadable ones."""
        known = {argument.key: argument for argument in self.parsed()}
        for key, value in arguments.items():
            if key not in known:
                raise UsageError(f"{self.key} has no argument {key[:40]!r}; it is: {self.usage}")
            if len(value) > LONGEST:
                raise UsageError(f"{key} is too long")
        missing = [key for key, argument in known.items() if not argument.optional and not arguments.get(key)]
        if missing:
            raise UsageError(f"{missing[0]} is missing; write it as: {self.usage}")
        # What is one line in a room is one line from a program too.
        lines = {key: " ".join(value.split()) for key, value in arguments.items() if value.strip()}
        for key, value in lines.items():
            _readable(key, value)
        return lines


def _readable(key: str, value: str) -> None:
    """Refuse control characters, separators of lines and half surrogate pairs: wires and terminals obey some."""
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in value):
        raise UsageError(f"{key} holds characters that cannot be written there")


CONFIRM: Final = "confirm"
"""The last word of a command that has said what follows from it."""

LONGEST: Final = 4096
"""Characters in an argument, and in what is read as a command."""
