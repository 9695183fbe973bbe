"""The adapter under test, seen from its network's side: a Subject makes people there act, and tells what they saw.

An adapter's author writes one. It must share no code with the adapter where that is possible: what it saw is evidence.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from bridge_core.api.ids import ChatId, RemoteUserId


class Feature(StrEnum):
    """What an adapter can do besides carrying text, in both directions; each has a class of tests of its name."""

    REPLIES = "replies"
    EDITS = "edits"
    REDACTIONS = "redactions"
    REACTIONS = "reactions"
    REACTION_REMOVALS = "reaction_removals"
    FILES = "files"
    POLLS = "polls"
    MEMBERS = "members"
    MODERATION = "moderation"
    INFO = "info"
    TYPING = "typing"
    RECEIPTS = "receipts"
    HISTORY = "history"
    PUBLIC_HISTORY = "public_history"
    CONSENT = "consent"
    LOGINS = "logins"


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as somebody on the network saw it. `id` names it there, `by` is who said it, as they are called."""

    id: str
    by: str
    text: str
    reply_to: str | None = None
    """The id of what it answers, where the network shows that."""


@dataclass(frozen=True, slots=True)
class LoginWay:
    """How the tests log in: by a flow of the adapter that asks only, with an answer for each field, in order.

    `wrong` ones are refused by the network, which asks again. `secrets` are those answers that nobody may see.
    """

    flow: str
    right: Sequence[str]
    wrong: Sequence[str]
    secrets: frozenset[str]
    name: str
    """What whoever is logged in is called on the network, as `Heard.by`."""


class Subject(ABC):
    """One network for the tests of one class. People are called by plain names (`ann`, `bob`); chats as in the config.

    Every `async` method that waits for something to be seen raises TimeoutError or AssertionError when it does not
    come within its own bound (ten seconds are enough). What a feature needs is listed by its class of tests; the rest
    may stay as it is here.
    """

    features: ClassVar[frozenset[Feature]] = frozenset()
    """What the adapter can do: the same as the classes of tests it is given, which a test compares."""
    network: ClassVar[str] = "net"
    """Its name in the configuration."""
    login: ClassVar[LoginWay | None] = None
    """LOGINS: an account there, which nobody else uses."""
    adapters: Mapping[str, Any] | None = None
    """Adapters by type beside the installed ones, where the adapter has no entry point yet."""

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """The network's section of the configuration."""

    @abstractmethod
    def chats(self, count: int) -> list[str]:
        """Names of so many chats that nobody has used."""

    async def open(self, folder: Path) -> None:  # noqa: B027 - not every network needs it
        """Start what the network needs. Before the bridge."""

    async def close(self) -> None:  # noqa: B027 - not every network needs it
        """End it. After the bridge."""

    async def prepare(self, chat: ChatId) -> None:  # noqa: B027 - not every network needs it
        """Make a chat on the network, before it is bridged."""

    async def enter(self, chat: ChatId) -> None:  # noqa: B027 - not every network needs it
        """Get `ann` into a chat, and wait until the bridge is there as well: after each start of the bridge too."""

    @abstractmethod
    async def say(self, who: str, chat: ChatId, text: str, *, reply_to: str | None = None) -> str:
        """Somebody says something, in answer to a message perhaps; what names it there (empty for nothing)."""

    @abstractmethod
    async def heard(self, chat: ChatId, text: str) -> Heard:
        """The first message in a chat whose text holds `text`, as `ann` saw it; waits for it."""

    @abstractmethod
    async def texts(self, chat: ChatId) -> list[str]:
        """The texts of all messages that `ann` has seen in a chat from Matrix, in order."""

    @abstractmethod
    def person(self, who: str) -> RemoteUserId:
        """Somebody's id as the adapter is to give it."""

    # Features

    async def edit(self, who: str, chat: ChatId, message: str, text: str) -> None:
        """EDITS: somebody changes what they said."""
        raise NotImplementedError

    async def edited(self, chat: ChatId, message: str, text: str) -> None:
        """EDITS: wait until a message from Matrix says `text` instead."""
        raise NotImplementedError

    async def take_back(self, who: str, chat: ChatId, message: str) -> None:
        """REDACTIONS: somebody takes back what they said."""
        raise NotImplementedError

    async def taken_back(self, chat: ChatId, message: str) -> None:
        """REDACTIONS: wait until a message from Matrix is gone."""
        raise NotImplementedError

    async def react(self, who: str, chat: ChatId, message: str, key: str, *, removed: bool = False) -> None:
        """REACTIONS: somebody puts a key on a message, or takes it off."""
        raise NotImplementedError

    async def reacted(self, chat: ChatId, message: str, key: str, *, removed: bool = False) -> None:
        """REACTIONS: wait until a key from Matrix is on a message, or is off it."""
        raise NotImplementedError

    async def send_file(self, who: str, chat: ChatId, data: bytes, name: str) -> None:
        """FILES: somebody sends a file. Networks that carry none need not."""
        raise NotImplementedError

    async def got_file(self, chat: ChatId, name: str) -> bytes:
        """FILES: the bytes of a file from Matrix as somebody there gets them (by its link, perhaps); waits for it."""
        raise NotImplementedError

    async def poll(self, who: str, chat: ChatId, question: str, answers: Sequence[str]) -> str:
        """POLLS: somebody asks; what names the poll there. The ids of answers are their numbers, from 0."""
        raise NotImplementedError

    async def vote(self, who: str, chat: ChatId, poll: str, answer: int) -> None:
        """POLLS: somebody chooses an answer."""
        raise NotImplementedError

    async def polled(self, chat: ChatId, question: str) -> tuple[str, list[str]]:
        """POLLS: what names a poll from Matrix, and its answers; waits for it."""
        raise NotImplementedError

    async def voted(self, chat: ChatId, poll: str, answer: int) -> None:
        """POLLS: wait until a vote from Matrix for an answer has come."""
        raise NotImplementedError

    async def join(self, who: str, chat: ChatId) -> None:
        """MEMBERS: somebody comes in."""
        raise NotImplementedError

    async def leave(self, who: str, chat: ChatId) -> None:
        """MEMBERS: somebody leaves."""
        raise NotImplementedError

    async def kick(self, who: str, chat: ChatId, by: str) -> None:
        """MEMBERS: somebody is thrown out by somebody."""
        raise NotImplementedError

    async def trust(self, chat: ChatId, name: str) -> None:  # noqa: B027 - not every network needs it
        """MODERATION, INFO: let a Matrix user, who is called so there, moderate a chat."""

    async def present(self, chat: ChatId, who: str, *, absent: bool = False) -> None:
        """MODERATION: wait until somebody is in a chat of the network, or is not."""
        raise NotImplementedError

    async def set_topic(self, who: str, chat: ChatId, topic: str) -> None:
        """INFO: somebody changes a chat's topic."""
        raise NotImplementedError

    async def has_topic(self, chat: ChatId, topic: str) -> None:
        """INFO: wait until a chat has the topic on the network."""
        raise NotImplementedError

    async def type(self, who: str, chat: ChatId, typing: bool) -> None:
        """TYPING: somebody begins or ends typing."""
        raise NotImplementedError

    async def types(self, chat: ChatId) -> None:
        """TYPING: wait until somebody of Matrix is seen typing."""
        raise NotImplementedError

    async def read(self, who: str, chat: ChatId, message: str) -> None:
        """RECEIPTS: somebody has read everything up to a message."""
        raise NotImplementedError

    async def say_away(self, who: str, chat: ChatId, text: str) -> None:
        """HISTORY: somebody says something while the bridge is not there: it was stopped, or has not come yet."""
        raise NotImplementedError

    async def publish(self, chat: ChatId) -> None:
        """PUBLIC_HISTORY: from now on everybody who enters the chat may read what was said there before."""
        raise NotImplementedError

    async def consent(self, who: str, chat: ChatId, granted: bool) -> None:
        """CONSENT: somebody agrees to a chat being bridged, or takes that back. Until then chats are only asked."""
        raise NotImplementedError
