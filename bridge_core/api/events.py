"""What networks say: `Remote*` came from the network. All frozen. What Matrix says is in `bridge_core.api.matrix`.

Times are milliseconds since 1970 (UTC). `id` may be None where a network gives its messages none: the core then
uses the journal's own id.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from bridge_core.api.content import Content, Picture, Profile
from bridge_core.api.ids import ChatId, LoginId, MessageId, RemoteUserId


@dataclass(frozen=True, slots=True)
class RemoteSender:
    """Who did it on the network. `name` is what to call them; `login` is set when it is one of our own logins.

    `avatar` is where their picture is (`blob:`, `mxc:` or `https:`); None for unknown, empty for none.
    """

    id: RemoteUserId
    name: str | None = None
    login: LoginId | None = None
    avatar: str | None = None


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
    profile: Profile | None = None
    """Whom the sender speaks for, where it is a relay itself."""
    expiry: int | None = None
    """Milliseconds after which the message disappears."""
    also: tuple[MessageId, ...] = ()
    """Further ids that it is known by: of several messages of the network which are shown as one (a paste).

    With any of its ids known, it is a duplicate as a whole: who made it of several hands those in, one by one.
    """
    least_power: int | None = None
    """It is meant for people of at least this power in the chat: a room where others read along does not get it."""


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
    """Someone put `key` (an emoji or word) on `target`, or took it off again.

    `picture` shows a custom emoji; `key` then names it.
    """

    chat: ChatId
    sender: RemoteSender
    target: MessageId
    key: str
    removed: bool = False
    id: MessageId | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class RemoteVote:
    """Someone chose these answers (by id) of the poll `target`; none at all takes an earlier vote back."""

    chat: ChatId
    sender: RemoteSender
    target: MessageId
    answers: tuple[str, ...]
    id: MessageId | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemotePollEnd:
    """The poll `target` is over. `text` says how it ended."""

    chat: ChatId
    sender: RemoteSender
    target: MessageId
    text: str = ""
    id: MessageId | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteReceipt:
    """Someone has read, or got, everything up to `target`. Of one of our own logins: it was read elsewhere."""

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


class Presence(StrEnum):
    """Whether somebody is there."""

    ONLINE = "online"
    AWAY = "unavailable"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class RemotePresence:
    """Someone came, went, or says something new about themselves."""

    sender: RemoteSender
    presence: Presence
    status: str | None = None


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
class RemoteMembers:
    """Who is in a chat now, all of them: what an adapter knows after it (re)joined. The core works off the difference.

    Our own logins among them have `login` set.
    """

    chat: ChatId
    members: tuple[RemoteSender, ...]
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class MemberPower:
    """What power a person has in a chat, as a Matrix power level. The core caps it."""

    member: RemoteSender
    level: int


@dataclass(frozen=True, slots=True)
class RemotePower:
    """People of a chat have these powers now. `complete`: everybody else has none."""

    chat: ChatId
    powers: tuple[MemberPower, ...]
    by: RemoteSender | None = None
    complete: bool = False
    timestamp: int | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteRename:
    """A person has a new id, name or picture: the ghost stays the same, or `old` becomes `new`."""

    old: RemoteUserId
    new: RemoteSender


@dataclass(frozen=True, slots=True)
class RemoteInfo:
    """The chat's own description changed. None means unchanged, an empty string means removed.

    `expiry` is the time after which messages disappear there, in milliseconds, 0 for never. `join_rule` is one of
    Matrix's words (public, invite, knock). `avatar` is where the picture is (`blob:`, `mxc:` or `https:`).
    `speak_power` is the power that saying something takes (0: everybody may). A chat that is not `listed` stands in no
    list and no space.
    """

    chat: ChatId
    by: RemoteSender | None = None
    name: str | None = None
    topic: str | None = None
    avatar: str | None = None
    timestamp: int | None = None
    receiver: LoginId | None = None
    expiry: int | None = None
    join_rule: str | None = None
    speak_power: int | None = None
    listed: bool | None = None


@dataclass(frozen=True, slots=True)
class RemoteChatMoved:
    """A chat has another id now (a renamed channel, a group that grew into another kind): its rooms go with it."""

    chat: ChatId
    new: ChatId
    by: RemoteSender | None = None
    receiver: LoginId | None = None


@dataclass(frozen=True, slots=True)
class RemoteChatGone:
    """A chat is not there any more, for everybody, or for the `receiver`."""

    chat: ChatId
    reason: str = ""
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
    | RemoteVote
    | RemotePollEnd
    | RemoteReceipt
    | RemoteTyping
    | RemotePresence
    | RemoteMember
    | RemoteMembers
    | RemotePower
    | RemoteRename
    | RemoteInfo
    | RemoteChatMoved
    | RemoteChatGone
    | RemoteStatus
    | RemoteConsent
    | RemoteJoinRequest
    | RemoteGap
)
