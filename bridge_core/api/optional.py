"""What a Client or Connector may also do. Absence means unsupported; the engine tells the user once, in words."""

from typing import Protocol, runtime_checkable

from bridge_core.api.events import MatrixEdit, MatrixOutgoing, MatrixReaction, MatrixRedaction
from bridge_core.api.ids import ChatId, RemoteUserId, UserId
from bridge_core.api.login import LoginProcess
from bridge_core.api.network import Attempt, Login, Sent


@runtime_checkable
class Edits(Protocol):
    """A client that can change what was sent."""

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        """As `Client.send`."""


@runtime_checkable
class Redacts(Protocol):
    """A client that can take back what was sent."""

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        """As `Client.send`."""


@runtime_checkable
class Reacts(Protocol):
    """A client that can put a reaction on a message."""

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        """As `Client.send`."""


@runtime_checkable
class ResolvesOutcomes(Protocol):
    """A client that can find out, after a crash, whether an attempt arrived."""

    async def outcome(self, message: MatrixOutgoing, attempt: Attempt) -> Sent | None:
        """What it became, or None when that cannot be known. Raises NotConnectedError when asked too early,
        RejectedError when it certainly never arrived and never will."""


@runtime_checkable
class ProvidesLogins(Protocol):
    """A connector that makes accounts for Matrix users without asking them."""

    async def provide(self, user: UserId, name: str) -> Login | None:
        """The login for this user, or None when there is none for them."""


@runtime_checkable
class Puppets(Protocol):
    """A client of a login that needs time to be able to speak in a chat: the relay speaks until then."""

    def ready(self, chat: ChatId) -> bool:
        """Whether `send` to the chat would be written now. Does not block."""

    async def prepare(self, chat: ChatId) -> None:
        """Start becoming ready, without waiting for it."""


@runtime_checkable
class LogsIn(Protocol):
    """A connector with login flows."""

    def login(self, user: UserId, flow: str) -> LoginProcess:
        """A new process of the flow."""


@runtime_checkable
class WatchesChats(Protocol):
    """A connector that must know which chats have a portal (to join them, say)."""

    async def chat_added(self, chat: ChatId) -> None:
        """The chat has a portal now. Returns soon; joining happens in the background."""

    async def chat_removed(self, chat: ChatId) -> None:
        """The chat has no portal any more."""


@runtime_checkable
class OpensDirectChats(Protocol):
    """A connector where a private chat can be begun from Matrix."""

    def direct_chat(self, user: RemoteUserId) -> ChatId:
        """The chat in which a login talks to the person."""


@runtime_checkable
class NamesPeople(Protocol):
    """A connector whose people can be named by an admin or user in text."""

    def person(self, text: str) -> RemoteUserId:
        """The person. Raises ValueError in the words of the network."""
