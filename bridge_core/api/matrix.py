"""What Matrix says: `Matrix*` came from Matrix. All frozen. Times are milliseconds since 1970 (UTC)."""

from dataclasses import dataclass
from typing import TypeAlias

from bridge_core.api.content import Attachment, Content, Picture
from bridge_core.api.events import Membership, Presence
from bridge_core.api.ids import ChatId, EventId, MessageId, RemoteUserId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class MatrixSender:
    """Who did it on Matrix. `name` is the display name in that room."""

    id: UserId
    name: str
    avatar: str | None = None


@dataclass(frozen=True, slots=True)
class MessageRef:
    """An earlier message this one refers to. `id` is None where the network gave it none.

    `excerpt` is the beginning of its text, in one line: only for clients with `Quotes`, and only where it is sure that
    the sender may see that message in this very room (CVE-2023-38700, CVE-2024-32000). `remote_sender` is set for
    ghosts, `matrix_sender` for Matrix users.
    """

    id: MessageId | None
    event_id: EventId
    excerpt: str | None = None
    remote_sender: RemoteUserId | None = None
    matrix_sender: MatrixSender | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class MatrixMessage:
    """A message to send. `relayed` means the sender has no connection of their own: name them in the text."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    content: Content
    timestamp: int
    reply_to: MessageRef | None = None
    thread: MessageRef | None = None
    relayed: bool = False
    expiry: int | None = None
    """Milliseconds after which it disappears from the room."""
    max_lines: int | None = None
    """How many lines its room wants it to have at most, where a network says text in lines."""


@dataclass(frozen=True, slots=True)
class MatrixEdit:
    """`target` now says `content`. `previous` is what it said before: None until the core keeps texts, today always."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    target: MessageRef
    content: Content
    timestamp: int
    previous: Content | None = None
    relayed: bool = False
    max_lines: int | None = None


@dataclass(frozen=True, slots=True)
class MatrixRedaction:
    """`target` is to be taken back: a message, or the reaction with the key `reaction` on `reacted_to`."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    target: MessageRef
    timestamp: int
    reason: str | None = None
    relayed: bool = False
    reaction: str | None = None
    reacted_to: MessageRef | None = None
    further: tuple[MessageId, ...] = ()
    """The other ids of the message, which went out in several parts."""


@dataclass(frozen=True, slots=True)
class MatrixReaction:
    """`key` is put on `target`. With `picture` it is a custom emoji, and `key` its name or address."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    target: MessageRef
    key: str
    timestamp: int
    relayed: bool = False
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class MatrixVote:
    """The sender chose these answers (by id) of the poll `target`; none at all takes an earlier vote back."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    target: MessageRef
    answers: tuple[str, ...]
    timestamp: int
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class MatrixPollEnd:
    """The poll `target` is over. `text` says how it ended."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    target: MessageRef
    text: str
    timestamp: int
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class MatrixMember:
    """The sender changed the membership of a ghost (`remote`) or of a Matrix user, perhaps their own (`user`)."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    membership: Membership
    timestamp: int
    remote: RemoteUserId | None = None
    user: MatrixSender | None = None
    reason: str | None = None
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class MatrixPower:
    """The sender changed powers: each person (`remote` for ghosts, else `user`) with the new Matrix power level."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    remote: tuple[tuple[RemoteUserId, int], ...]
    users: tuple[tuple[UserId, int], ...]
    timestamp: int
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class MatrixInfo:
    """The sender changed the chat's description. None means unchanged, an empty string (or no source) removed.

    `expiry` is the time after which messages disappear, in milliseconds, 0 for never.
    """

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    timestamp: int
    name: str | None = None
    topic: str | None = None
    avatar: Attachment | None = None
    expiry: int | None = None
    relayed: bool = False


MatrixOutgoing: TypeAlias = (
    MatrixMessage
    | MatrixEdit
    | MatrixRedaction
    | MatrixReaction
    | MatrixVote
    | MatrixPollEnd
    | MatrixMember
    | MatrixPower
    | MatrixInfo
)


@dataclass(frozen=True, slots=True)
class MatrixReceipt:
    """A Matrix user has read everything up to `target`, or, with `thread`, what was said there up to `target`."""

    room: RoomId
    chat: ChatId
    user: UserId
    target: MessageRef
    timestamp: int
    thread: MessageRef | None = None


@dataclass(frozen=True, slots=True)
class MatrixTyping:
    """Who of Matrix types in the chat's room now: `started` began, `stopped` ended."""

    room: RoomId
    chat: ChatId
    started: frozenset[UserId]
    stopped: frozenset[UserId]


@dataclass(frozen=True, slots=True)
class MatrixPresence:
    """A Matrix user came, went, or says something new about themselves."""

    user: UserId
    presence: Presence
    status: str | None = None


MatrixSignal: TypeAlias = MatrixReceipt | MatrixTyping | MatrixPresence
"""What is not worth a place in the journal: the newest counts, and one that is lost harms nobody."""
