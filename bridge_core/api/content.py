"""The neutral message model: what a message says, without the words of Matrix or of any network.

A text is a tree of frozen nodes. Every adapter turns the tree into its wire form and back; Matrix HTML stays in
`bridge_core.content`. A tree made from strangers' input is bounded there in depth, nodes and bytes.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from bridge_core.api.ids import RemoteUserId, UserId


class Style(StrEnum):
    """How a span of text looks."""

    BOLD = "bold"
    ITALIC = "italic"
    UNDERLINE = "underline"
    STRIKE = "strike"
    CODE = "code"
    SUPERSCRIPT = "superscript"
    SUBSCRIPT = "subscript"


@dataclass(frozen=True, slots=True)
class Plain:
    """Text as it stands. Line ends are `\\n`."""

    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """Children in one style."""

    style: Style
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Colored:
    """Children with a foreground and/or background colour, each `rrggbb` in lower-case hex or None."""

    foreground: str | None
    background: str | None
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Spoiler:
    """Children hidden until asked for."""

    reason: str | None
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Link:
    """Children that lead to a URL. The scheme is one of the allowed ones; see `bridge_core.content`."""

    url: str
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Mention:
    """A person named in the text: on the network (`remote`), on Matrix (`matrix`), or both when known."""

    name: str
    remote: RemoteUserId | None = None
    matrix: UserId | None = None


@dataclass(frozen=True, slots=True)
class RoomMention:
    """A room or chat named in the text (an alias or id)."""

    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Picture:
    """An image within the text, such as a custom emoji. Sources as of attachments."""

    alt: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Math:
    """A formula in LaTeX."""

    latex: str
    block: bool = False


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A block of inline nodes."""

    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 1 to 6."""

    level: int
    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """A block quoted from elsewhere."""

    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Preformatted lines."""

    text: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class ListBlock:
    """A list; `start` is the first number of an ordered one, None for bullets."""

    items: tuple[tuple["Node", ...], ...]
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first row is the head when `head` is set."""

    rows: tuple[tuple[tuple["Node", ...], ...], ...]
    head: bool = False


@dataclass(frozen=True, slots=True)
class Details:
    """A block folded under its summary."""

    summary: tuple["Node", ...]
    children: tuple["Node", ...]


Node: TypeAlias = (
    Plain
    | Span
    | Colored
    | Spoiler
    | Link
    | Mention
    | RoomMention
    | Picture
    | Math
    | Paragraph
    | Heading
    | Quote
    | CodeBlock
    | ListBlock
    | Rule
    | Table
    | Details
)
RichText: TypeAlias = tuple[Node, ...]
"""A text: nodes in order. Plain text is `(Plain("..."),)`."""


class Kind(StrEnum):
    """How a message is meant."""

    TEXT = "text"
    NOTICE = "notice"
    EMOTE = "emote"


class MediaKind(StrEnum):
    """What an attachment is."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    VOICE = "voice"
    FILE = "file"
    STICKER = "sticker"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file with a message. Its bytes are streamed from `source`, never held here.

    `source` is `mxc://server/id` for files on Matrix, `blob:ID` for files an adapter put into `host.blobs`, or an
    `https:` address to be fetched under guard. `keys` is the JSON of an encrypted file's keys. Sizes are bytes,
    dimensions pixels, duration milliseconds; what is unknown is None. `spoiler`: it is hidden until asked for, with
    this reason (empty: without one). `waveform` are loudnesses of a voice message, 0 to 1024.
    """

    kind: MediaKind
    name: str
    source: str
    mime: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    duration: int | None = None
    keys: str | None = None
    spoiler: str | None = None
    waveform: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """One answer to choose. `id` is unique within its poll."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Poll:
    """A question with answers to choose from. `disclosed`: votes are shown before the poll has ended."""

    question: str
    answers: tuple[PollAnswer, ...]
    most: int = 1
    """How many answers one person may choose."""
    disclosed: bool = True


@dataclass(frozen=True, slots=True)
class Location:
    """A place. Degrees (WGS 84), `accuracy` in metres."""

    latitude: float
    longitude: float
    accuracy: float | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """Whom a message is from where its sender speaks for others (MSC4144). Claimed by the sender, proved by nobody."""

    id: str
    name: str | None = None
    avatar: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What one message says: text, files, or both (the text is then their caption).

    With `poll` or `location` the text says the same in words, for networks that have no such thing. `mentions` are
    people to notify beside those that the text names (who is answered, say), `mentions_all` is everybody.
    """

    text: RichText = ()
    kind: Kind = Kind.TEXT
    attachments: tuple[Attachment, ...] = ()
    poll: Poll | None = None
    location: Location | None = None
    mentions: tuple[Mention, ...] = ()
    mentions_all: bool = False
