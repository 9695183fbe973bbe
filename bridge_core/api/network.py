"""The adapter contract: what an adapter implements (Connector, Client) and what it is handed (Inbox, Attempt).

Lifetimes: one Connector per configured network, built without I/O, then `start(host)` ... `stop(deadline)`. It makes
Clients: one without a login (network-wide: the relay, the observer, the mail server), and one per login.
The core calls `send` of one chat one at a time in order; calls for different chats run at the same time.
"""

from asyncio import Future
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId, MessageId, NetworkId, RemoteUserId, UserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.login import LoginFlow
from bridge_core.api.matrix import MatrixMessage


class PlaintextLocation(StrEnum):
    """Where messages exist in the clear while they cross this bridge: shown to users of both sides."""

    SERVER = "server"
    USER_DEVICE = "user_device"
    NONE = "none"


class Grant(StrEnum):
    """What those who run a network may allow a bridge, beside a relay in rooms whose chats have agreed."""

    PORTALS = "portals"
    """Rooms that the bridge makes for chats when somebody asks for them."""
    PRIVATE_REPLIES = "private_replies"
    """Private messages from Matrix to those who wrote first."""
    PRIVATE_MESSAGES = "private_messages"
    """Private messages from Matrix to anybody there."""
    PUPPETS = "puppets"
    """Connections of Matrix users of their own."""
    PUBLIC_HISTORY = "public_history"
    """Rooms that anybody can read without being in them."""


@dataclass(frozen=True, slots=True)
class NetworkMeta:
    """What the core must know of a network before anything connects."""

    id: NetworkId
    name: str
    protocol: str
    plaintext: PlaintextLocation = PlaintextLocation.SERVER
    login_flows: tuple[LoginFlow, ...] = ()
    idempotent: bool = False
    """True when `send` with the same `attempt.key` cannot deliver twice, so the core may simply try again."""
    invited: bool = False
    """True when its chats are for those whom the adapter's settings name, as a mailbox is: no user bridges a room of
    their own to one."""
    signed: bool = False
    """True when what goes by nobody's login says who it is from, as a mailbox's mail does: reactions are passed on for
    those without a login too."""
    withheld: frozenset[Grant] = frozenset()
    """What nobody may do on such a network before its section of the configuration says that it is allowed there
    (`grants`). The core sees to it."""


@dataclass(frozen=True, slots=True)
class Login:
    """One account of one Matrix user. `provided` ones were made without asking, by the adapter's own rules.

    `settings` and `secrets` are what its login flow gave (see `login.Complete`); both are sealed at rest.
    """

    id: LoginId
    user: UserId
    name: str
    provided: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


class Level(IntEnum):
    """How well a chat carries something."""

    REJECTED = -2
    DROPPED = -1
    FALLBACK = 0
    PARTIAL = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one chat can carry. What is not named is `default`. The engine enforces it and tells the user in words.

    Feature names: text formatting emote notice reply thread edit redact react poll vote location caption mention
    spoiler emoji (custom emoji) expiry (disappearing messages) typing receipts delivery (receipts of delivery)
    presence name topic avatar member (kicks, bans, invitations) power, and the `MediaKind` values for files.
    `max_text` is bytes of the whole message, `max_file` bytes of one file, `mimes` the types of files it takes by kind
    (ends may be `/*`; a kind that is not named takes all); `edit_age` and `redact_age` are seconds; `reactions` are
    those allowed and `max_reactions` how many one person may put on a message. None is for no limit.
    """

    features: Mapping[str, Level] = field(default_factory=dict)
    default: Level = Level.FALLBACK
    max_text: int | None = None
    max_file: int | None = None
    mimes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    edit_age: int | None = None
    redact_age: int | None = None
    reactions: tuple[str, ...] | None = None
    max_reactions: int | None = None

    def level(self, feature: str) -> Level:
        """How well this chat carries `feature`."""
        return self.features.get(feature, self.default)


class Proof(StrEnum):
    """How sure it is that a message arrived, from weakest to strongest."""

    WRITTEN = "written"
    ACCEPTED = "accepted"
    ECHOED = "echoed"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message was handed over.

    `ids` are the remote ids of its parts in order (empty where the network has none). With `confirmation` the proof is
    still to come: the core goes on with the lane, and the delivery ends when the future gives the final Sent or, as
    its exception says, RejectedError, UnknownOutcomeError, or NotConnectedError (nothing arrived: it is tried again).
    The future must end within the connection's own time limits; after five minutes its fate counts as unknown.
    `outcomes` names the recipients that did not get it, and why: the sender is told of each.
    """

    ids: tuple[MessageId, ...] = ()
    proof: Proof = Proof.ACCEPTED
    confirmation: "Future[Sent] | None" = None
    outcomes: Mapping[RemoteUserId, str] = field(default_factory=dict)


class Attempt(Protocol):
    """One try at one delivery. It was recorded before it is made."""

    @property
    def key(self) -> str:
        """The same for every try at this delivery, different for every other: an idempotency key. At most 64 ASCII."""

    @property
    def number(self) -> int:
        """1 for the first try."""

    @property
    def state(self) -> bytes | None:
        """What an earlier try saved."""

    async def save(self, state: bytes) -> None:
        """Commit `state` with this delivery before going on, for ratchets and multi-step sends."""


@dataclass(frozen=True, slots=True)
class History:
    """A piece of a chat's history, oldest first: messages, and what was done to them.

    `cursor` continues behind it; with `more` there is more to ask for. `missing` says why what lies between the asked
    for cursor and these events cannot be had (None: nothing is missing). `public`: everybody who enters the chat there
    may read it; otherwise nobody is shown what was said before they came.
    """

    events: tuple[RemoteEvent, ...] = ()
    cursor: bytes | None = None
    more: bool = False
    missing: str | None = None
    public: bool = False


class Consent(StrEnum):
    """What the other side says to a chat being bridged."""

    GRANTED = "granted"
    """Somebody there agreed. What was said before that is not fetched as history."""
    ASKED = "asked"
    REFUSED = "refused"
    NOT_NEEDED = "not needed"
    """Nobody there has to be asked."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event is stored. `duplicate` means it was stored before and nothing more will come of it."""

    entry: int
    duplicate: bool = False


class LoginStatus(StrEnum):
    """How a login's connection is."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    BAD_CREDENTIALS = "bad_credentials"
    BANNED = "banned"
    LOGGED_OUT = "logged_out"


@dataclass(frozen=True, slots=True)
class LoginState:
    """How a client's connection is, why, and what its user can do. `login` is None for the network-wide client.

    `remark` is something that the network wants its user (or, of the network-wide client, the admins) to know, in its
    words: with one the report says that, and nothing of how the connection is.
    """

    network: NetworkId
    login: LoginId | None
    status: LoginStatus
    reason: str = ""
    action: str = ""
    remark: str = ""


class Inbox(Protocol):
    """Where an adapter puts what it receives."""

    async def receive(
        self,
        events: Sequence[RemoteEvent],
        *,
        cursor: bytes | None = None,
        state: Mapping[str, bytes] | None = None,
    ) -> list[Accepted]:
        """Return when all of it is committed, cursor and state with it, in one commit; one result per event.

        Acknowledge upstream only then. Blocks while the journal is full; raises BackpressureError when that lasts.
        A message with further ids (`RemoteMessage.also`) is a duplicate when any of its ids was stored before: hand in
        its parts one by one then, and the cursor after them.
        """

    def report(self, state: LoginState) -> None:
        """Tell how the connection is. Never blocks; the core debounces."""


class Client(Protocol):
    """One login's connection, or the network-wide one. Built without I/O."""

    async def connect(self, cursor: bytes | None) -> None:
        """Start connecting and return; progress and trouble go to `inbox.report`. Reconnecting is the client's work."""

    async def disconnect(self) -> None:
        """Close, awaiting all own tasks. Idempotent."""

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        """Hand a message to the network. Raises the errors of `bridge_core.api.errors`."""

    async def chat_info(self, chat: ChatId) -> ChatInfo | None:
        """What the network knows of the chat; None when there is no such chat."""

    async def user_info(self, user: RemoteUserId) -> UserInfo:
        """What the network knows of the person."""

    def capabilities(self, chat: ChatId) -> Capabilities:
        """What this chat can carry now. Does not block."""


class Connector(Protocol):
    """An adapter's process-wide object for one configured network."""

    @property
    def meta(self) -> NetworkMeta:
        """What the core must know before start."""

    async def start(self, host: Host, inbox: Inbox) -> None:
        """Get ready: listeners, shared state. Connects nothing yet."""

    async def stop(self, deadline: float) -> None:
        """Stop all of the connector's own work before the monotonic time `deadline`."""

    def client(self, login: Login | None, inbox: Inbox) -> Client:
        """A client for the login, or the network-wide one for None. No I/O."""

    def chat(self, text: str) -> ChatId:
        """The chat that an admin or user names by `text`. Raises ValueError in the words of the network."""


class ConnectorFactory(Protocol):
    """What an entry point of the group `matrix_bridge.networks` is: usually the Connector class itself."""

    config_model: type[Any]
    """The pydantic model of this network's section in the configuration."""

    def __call__(self, network: NetworkId, config: Any) -> Connector:
        """Build the connector without I/O."""
