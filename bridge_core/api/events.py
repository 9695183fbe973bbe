"""What crosses the bridge: `Remote*` came from the network, `Matrix*` came from Matrix. All frozen.

Times are milliseconds since 1970 (UTC). `id` may be None where a network gives its messages none: the core then
uses the journal's own id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from bridge_core.api.content import Content
from bridge_core.api.ids import ChatId, EventId, LoginId, MessageId, RemoteUserId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class RemoteSender:
    """Who did it on the network. `name` is what to call them; `login` is set when it is one of our own logins."""

    id: RemoteUserId
    name: str | None = None
    login: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteMessage:
    """A message was said. `receiver` is set where the portal belongs to one login (private chats)."""

    chat: ChatId
    sender: RemoteSender
    content: Content
    id: MessageId | None = None
    timestamp: int | None = None
    reply_to: MessageId | None = None
    thread: MessageId | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteEdit:
    """The message `target` now says something else."""

    chat: ChatId
    sender: RemoteSender
    target: MessageId
    content: Content
    id: MessageId | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteRedaction:
    """The message `target` was taken back."""

    chat: ChatId
    sender: RemoteSender
    target: MessageId
    reason: str | None = None
    id: MessageId | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteReaction:
    """Someone put `key` (an emoji or word) on `target`, or took it off again."""

    chat: ChatId
    sender: RemoteSender
    target: MessageId
    key: str
    removed: bool = False
    id: MessageId | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteReceipt:
    """Someone has read, or got, everything up to `target`."""

    chat: ChatId
    sender: RemoteSender
    target: MessageId
    delivered_only: bool = False
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteTyping:
    """Someone types, for at most `seconds`; 0 means stopped."""

    chat: ChatId
    sender: RemoteSender
    seconds: float
    receiver: LoginId | None = None


class Membership(StrEnum):
    """What a person is in a chat."""

    JOIN = "join"
    LEAVE = "leave"
    KICK = "kick"
    BAN = "ban"
    UNBAN = "unban"
    INVITE = "invite"
    KNOCK = "knock"


@dataclass(frozen=True, slots=True)
class RemoteMember:
    """Someone's membership changed; `by` did it when it was someone else.

    `member.login` is set when it is one of our own logins, that is a Matrix user.
    """

    chat: ChatId
    member: RemoteSender
    membership: Membership
    by: RemoteSender | None = None
    reason: str | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteRename:
    """A person has a new id or name: the ghost stays the same, or `old` becomes `new`."""

    old: RemoteUserId
    new: RemoteSender


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """The chat's own description changed. None means unchanged, an empty string means removed."""

    chat: ChatId
    by: RemoteSender | None = None
    name: str | None = None
    topic: str | None = None
    avatar: str | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None


class Fate(StrEnum):
    """What became of a message that was handed over before."""

    DELIVERED = "delivered"
    READ = "read"
    DELAYED = "delayed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """The network tells, perhaps hours later, what became of `target` for one recipient (a bounce, say)."""

    chat: ChatId
    target: MessageId
    fate: Fate
    recipient: RemoteUserId | None = None
    reason: str | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteConsent:
    """The other side allows, or no longer allows, that this chat (or person) is bridged."""

    chat: ChatId
    by: RemoteSender
    granted: bool
    evidence: str | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteJoinRequest:
    """Someone asks to be let into a chat that Matrix moderates."""

    chat: ChatId
    member: RemoteSender
    reason: str | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteGap:
    """Nothing is known of the chat between two times: the network was unreachable and keeps no history."""

    chat: ChatId
    since: int
    until: int
    reason: str
    receiver: LoginId | None = None


RemoteEvent: TypeAlias = (
    RemoteMessage
    | RemoteEdit
    | RemoteRedaction
    | RemoteReaction
    | RemoteReceipt
    | RemoteTyping
    | RemoteMember
    | RemoteRename
    | RemoteInfo
    | RemoteStatus
    | RemoteConsent
    | RemoteJoinRequest
    | RemoteGap
)


@dataclass(frozen=True, slots=True)
class MatrixSender:
    """Who did it on Matrix. `name` is the display name in that room."""

    id: UserId
    name: str
    avatar: str | None = None


@dataclass(frozen=True, slots=True)
class MessageRef:
    """An earlier message this one refers to. `id` is None where the network gave it none.

    `excerpt` is its text. It is None until the core can tell for sure that the sender may see that message in this
    very room (CVE-2023-38700, CVE-2024-32000): today always. `remote_sender` is set for ghosts, `matrix_sender` for
    Matrix users.
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


@dataclass(frozen=True, slots=True)
class MatrixRedaction:
    """`target` is to be taken back."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    target: MessageRef
    timestamp: int
    reason: str | None = None
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class MatrixReaction:
    """`key` is put on `target`."""

    room: RoomId
    event_id: EventId
    chat: ChatId
    sender: MatrixSender
    target: MessageRef
    key: str
    timestamp: int
    relayed: bool = False


MatrixOutgoing: TypeAlias = MatrixMessage | MatrixEdit | MatrixRedaction | MatrixReaction


@dataclass(frozen=True, slots=True)
class ChatInfo:
    """What a network knows of a chat. None means unknown."""

    name: str | None = None
    topic: str | None = None
    avatar: str | None = None
    direct: bool = False
    members: tuple[RemoteSender, ...] | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserInfo:
    """What a network knows of a person. `identifiers` are addresses such as `irc:nick`."""

    name: str | None = None
    avatar: str | None = None
    bot: bool = False
    identifiers: tuple[str, ...] = ()
