"""Remote events to journal payloads and back, in a form that later versions can still read.

A frozen dataclass becomes `[tag, field, field, ...]`. A class may gain fields at its end (with defaults) without a new
version; anything else needs a new VERSION and a branch in `decode`. Tags are never used again for another class.
"""

from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Final, cast, get_args

import orjson

from bridge_core.api import content, events
from bridge_core.api.errors import BridgeError
from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import ChatId, EventId, LoginId, RoomId, UserId

VERSION: Final = 1


class PayloadError(BridgeError):
    """A stored payload cannot be read: it was written by a newer version, or the database was damaged."""


@dataclass(frozen=True, slots=True)
class BotNotice:
    """The bot says something in a room: a status, a command's answer. `about` is the event it answers.

    With `key` it is remembered which event it became, so that a BotCorrection can replace it. `mentions` are whom it
    concerns most. With `only` it is sent encrypted, and where nobody else reads along, or not at all.
    """

    room: RoomId
    text: str
    about: EventId | None = None
    key: str = ""
    mentions: tuple[UserId, ...] = ()
    only: UserId | None = None


@dataclass(frozen=True, slots=True)
class BotEvent:
    """The bot sends an event that is no message. `content` is JSON; `key` as of BotNotice."""

    room: RoomId
    type: str
    content: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class BotCorrection:
    """What the bot said under `key` about an event is so no more: `text` takes its place."""

    room: RoomId
    text: str
    about: EventId
    key: str


@dataclass(frozen=True, slots=True)
class Departure:
    """Our users are to leave a room, after all that the bot said there before."""

    room: RoomId


@dataclass(frozen=True, slots=True)
class RoomCopy:
    """What was said in one room of a chat is to be seen in its other rooms. `event` is the Matrix event as JSON."""

    chat: ChatId
    room: RoomId
    portal: int
    event: str
    receiver: LoginId | None = None


BotWords = BotNotice | BotEvent | BotCorrection | Departure | RoomCopy
"""What the bot itself has to say."""


_TAGS: Final[dict[str, type[Any]]] = {
    "p": content.Plain,
    "s": content.Span,
    "col": content.Colored,
    "spo": content.Spoiler,
    "a": content.Link,
    "@": content.Mention,
    "#": content.RoomMention,
    "pic": content.Picture,
    "math": content.Math,
    "par": content.Paragraph,
    "h": content.Heading,
    "q": content.Quote,
    "code": content.CodeBlock,
    "list": content.ListBlock,
    "hr": content.Rule,
    "tab": content.Table,
    "det": content.Details,
    "att": content.Attachment,
    "poll": content.Poll,
    "ans": content.PollAnswer,
    "loc": content.Location,
    "pro": content.Profile,
    "c": content.Content,
    "who": events.RemoteSender,
    "msg": events.RemoteMessage,
    "edit": events.RemoteEdit,
    "red": events.RemoteRedaction,
    "rea": events.RemoteReaction,
    "rec": events.RemoteReceipt,
    "typ": events.RemoteTyping,
    "mem": events.RemoteMember,
    "ren": events.RemoteRename,
    "info": events.RemoteInfo,
    "sta": events.RemoteStatus,
    "con": events.RemoteConsent,
    "jrq": events.RemoteJoinRequest,
    "gap": events.RemoteGap,
    "vote": events.RemoteVote,
    "end": events.RemotePollEnd,
    "pres": events.RemotePresence,
    "all": events.RemoteMembers,
    "pow": events.RemotePower,
    "lev": events.MemberPower,
    "mov": events.RemoteChatMoved,
    "gone": events.RemoteChatGone,
    "bot": BotNotice,
    "bye": Departure,
    "bev": BotEvent,
    "cor": BotCorrection,
    "copy": RoomCopy,
}
_TAG_OF: Final[dict[type[Any], str]] = {cls: tag for tag, cls in _TAGS.items()}
_FIELDS: Final[dict[type[Any], tuple[str, ...]]] = {cls: tuple(f.name for f in fields(cls)) for cls in _TAG_OF}
_REQUIRED: Final[dict[type[Any], int]] = {
    cls: sum(f.default is MISSING and f.default_factory is MISSING for f in fields(cls)) for cls in _TAG_OF
}
_ENUMS: Final[dict[tuple[type[Any], str], type[StrEnum]]] = {
    (content.Span, "style"): content.Style,
    (content.Content, "kind"): content.Kind,
    (content.Attachment, "kind"): content.MediaKind,
    (events.RemoteMember, "membership"): events.Membership,
    (events.RemoteStatus, "fate"): events.Fate,
    (events.RemotePresence, "presence"): events.Presence,
}


_EVENTS: Final = (*get_args(RemoteEvent), *get_args(BotWords))


def _pack(value: Any) -> Any:
    cls = value.__class__
    if cls is str or cls is int or value is None or cls is bool or cls is float:
        return value
    if cls is tuple:
        return [0, *map(_pack, value)]
    if issubclass(cls, StrEnum):
        return value.value
    tag = _TAG_OF.get(cls)
    if tag is None:
        raise PayloadError(f"a {cls.__name__} cannot be stored")
    return [tag, *[_pack(getattr(value, name)) for name in _FIELDS[cls]]]


def _unpack(value: Any) -> Any:
    if value.__class__ is not list:
        return value
    tag = value[0]
    if tag == 0:
        return tuple(map(_unpack, value[1:]))
    cls = _TAGS[tag]
    names = _FIELDS[cls]
    if not _REQUIRED[cls] <= len(value) - 1 <= len(names):
        raise PayloadError(f"a stored {cls.__name__} has {len(value) - 1} fields")
    # The event types in the journal are few and their enums known: everything else is a plain value.
    values = [
        _ENUMS[cls, name](item) if (cls, name) in _ENUMS else _unpack(item)
        for name, item in zip(names, value[1:], strict=False)
    ]
    return cls(*values)


def encode(event: "RemoteEvent | BotWords") -> bytes:
    """The payload of an event. Raises PayloadError for what is no event of the contract."""
    if isinstance(event, events.RemoteMessage) and len(event.content.text) == 1 and not event.content.attachments:
        # Nearly every event: the same result as below, for a third of the time.
        (node,) = event.content.text
        sender, content_ = event.sender, event.content
        further = (content_.poll, content_.location, event.profile, event.expiry, sender.avatar)
        named = content_.mentions or content_.mentions_all
        if isinstance(node, content.Plain) and further == (None,) * 5 and not named:
            said = ["c", [0, ["p", node.text]], event.content.kind.value, [0]]
            who = ["who", sender.id, sender.name, sender.login]
            rest = [event.id, event.timestamp, event.reply_to, event.thread, event.receiver]
            return orjson.dumps(["msg", event.chat, who, said, *rest])
    return orjson.dumps(_pack(event))


def mended(event: RemoteEvent) -> RemoteEvent:
    """The event with `?` for what is no Unicode text (half surrogate pairs, as lax decoders make them)."""
    return cast("RemoteEvent", _unpack(_mended(_pack(event))))


def _mended(value: Any) -> Any:
    if value.__class__ is str:
        return value.encode("utf-8", "replace").decode()
    return [_mended(item) for item in value] if value.__class__ is list else value


def decode(payload: bytes, version: int) -> "RemoteEvent | BotWords":
    """The event of a payload. Raises PayloadError when it cannot be read."""
    if version != VERSION:
        raise PayloadError(f"this payload has version {version}, and this program reads version {VERSION}")
    try:
        event: Any = _unpack(orjson.loads(payload))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise PayloadError(f"this payload is damaged: {type(error).__name__}") from error
    if not isinstance(event, _EVENTS):
        raise PayloadError("this payload is no event")
    return cast("RemoteEvent | BotWords", event)
