"""What a Client or Connector may also do. Absence means unsupported; the engine tells the user once, in words."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from bridge_core.api.commands import AdapterCommand
from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import ChatId, RemoteUserId, UserId
from bridge_core.api.info import Advice, Figure, RoomFacts
from bridge_core.api.login import LoginProcess
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixMember,
    MatrixMessage,
    MatrixOutgoing,
    MatrixPollEnd,
    MatrixPower,
    MatrixReaction,
    MatrixRedaction,
    MatrixSignal,
    MatrixVote,
)
from bridge_core.api.network import Attempt, Consent, History, Login, Sent


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
class Quotes(Protocol):
    """A client of a network that does not show what a message answers: it says so in words."""

    def quotes(self, message: MatrixMessage) -> int:
        """How many characters of what `message` answers are wanted as `reply_to.excerpt`; 0 for none. Does not block.

        The core gives no more than the sender and the whole chat could read already.
        """


@runtime_checkable
class Polls(Protocol):
    """A client that can vote in polls. A poll itself is a message whose content has `poll`."""

    async def vote(self, vote: MatrixVote, attempt: Attempt) -> Sent:
        """As `Client.send`."""

    async def end_poll(self, end: MatrixPollEnd, attempt: Attempt) -> Sent:
        """As `Client.send`."""


@runtime_checkable
class Moderates(Protocol):
    """A client that can change who is in a chat, and what power they have there."""

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        """As `Client.send`. What the network refuses is taken back on Matrix where that is possible.

        Members: KICK, BAN, UNBAN and INVITE of people; BAN and UNBAN of users with a login. With `relayed` somebody
        asks who has no connection of their own: refuse it unless that is configured.
        """


@runtime_checkable
class ChangesInfo(Protocol):
    """A client that can change a chat's name, topic or picture."""

    async def change_info(self, info: MatrixInfo, attempt: Attempt) -> Sent:
        """As `Client.send`."""


@runtime_checkable
class EntersChats(Protocol):
    """A client of a login that is in chats or not, as its user is in the rooms."""

    async def enter(self, chat: ChatId) -> None:
        """The user is in the chat's room now, or asks to be in the chat. Returns soon; idempotent.

        Raises RejectedError in words for the user when the network will not have them.
        """

    async def leave(self, chat: ChatId, reason: str | None) -> None:
        """The user is not in the chat's room any more. Returns soon; idempotent."""


@runtime_checkable
class Knocks(Protocol):
    """A client of a login that can ask to be let into a chat that does not let everybody in."""

    async def knock(self, chat: ChatId, reason: str | None) -> None:
        """The user knocks at the chat's room: enter the chat where that is possible, else ask its people.

        Returns soon; idempotent. When they let the user in, tell it as RemoteMember (INVITE or JOIN, with the login).
        Raises RejectedError in words for the user when the network will not have them. Without it `enter` is called.
        """


@runtime_checkable
class Signals(Protocol):
    """A client that passes on receipts, typing or presence; which of them, its capabilities say (partial or better).

    A login's client is told of its user only. The network-wide one is told who types of those without a login.
    """

    async def signal(self, signal: MatrixSignal) -> None:
        """Pass it on or drop it; never waits for the network. An error is logged, and nothing tries again."""


@runtime_checkable
class Backfills(Protocol):
    """A client that can ask for what was said earlier."""

    def remembers(self) -> bool:
        """Whether its network tells history now: what a server offers may change with each connection. No waiting."""

    async def history(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        """What was said after a cursor that an earlier History or `reached` gave; for None the latest `limit` events.

        Events that came live meanwhile may be among them: they are known by their ids. Raises the errors of
        `bridge_core.api.errors`; RejectedError when it cannot be had.
        """

    def reached(self, event: RemoteEvent) -> bytes | None:
        """The cursor behind an event that came live; None when it has none. Does not block."""


@runtime_checkable
class Consents(Protocol):
    """A connector whose chats are bridged only when somebody there agrees. Later changes come as RemoteConsent."""

    async def consent(self, chat: ChatId, asked_by: UserId, room: RoomFacts | None) -> Consent:
        """Whether the chat may be bridged; ASKED when somebody there has been asked now, or before.

        `room` is what they should know of the room; None: one will be made, whose members read what was said since
        they joined.
        """


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
class LogsOut(Protocol):
    """A client of a login that can end its session at the network."""

    async def log_out(self) -> None:
        """End it there; `disconnect` follows. An error is logged, and the login is forgotten all the same."""


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
class Advises(Protocol):
    """A connector that can tell, before it is started, what should be otherwise in its settings: `check` shows it."""

    def advise(self) -> Iterable[Advice]:
        """All of it."""


@runtime_checkable
class NamesUsers(Protocol):
    """A connector whose settings name Matrix users: `check` looks whether they may do anything."""

    def named(self) -> Mapping[UserId, str]:
        """Each of them, with a dotted key under which the network's section names them."""


@runtime_checkable
class Rehearses(Protocol):
    """A connector that can try, before it is started, whether its servers are there and let it in: `check` does."""

    async def wrong(self) -> Sequence[Advice]:
        """What would keep it from working now, each with what to do; empty when nothing does.

        Takes at most a minute, changes nothing, and nobody on the network sees it, the running bridge included.
        Raises BridgeError in words for the admin.
        """


@runtime_checkable
class KnowsPresence(Protocol):
    """A connector that can tell which Matrix users are in its chats by connections of their own."""

    def absent(self, chat: ChatId, users: Collection[UserId]) -> Mapping[UserId, str] | None:
        """Those of the users who are not in the chat now, as the network itself tells, each with why in words.

        None when that is not known at this moment. Does not block: it is asked before each message is shown.
        """


@runtime_checkable
class Reloads(Protocol):
    """A connector that can take over other settings while it runs."""

    def reload(self, settings: Any) -> Sequence[str]:
        """Take over what can change (an instance of its config model, checked); the keys of the rest that is otherwise.

        Does not block. Without it every change of the network's own settings needs a restart.
        """


@runtime_checkable
class ShowsFigures(Protocol):
    """A connector with figures of its own for the bridge's metrics."""

    def figures(self) -> Iterable[Figure]:
        """All of them, always the same names. Does not block: called at each scrape, also before `start`."""


@runtime_checkable
class NamesPeople(Protocol):
    """A connector whose people can be named by an admin or user in text."""

    def person(self, text: str) -> RemoteUserId:
        """The person. Raises ValueError in the words of the network."""


@runtime_checkable
class OffersCommands(Protocol):
    """A connector with commands of its own, for users and admins."""

    def commands(self) -> Sequence[AdapterCommand]:
        """All of them, always the same. Called once, before `start`; no I/O. Who may is checked before they run."""
