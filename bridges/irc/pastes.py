"""Lines of one person that wait together become one message; a lone line waits for nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from bridge_core.api.content import Content, Kind, Node, Plain, RichText
from bridge_core.api.events import RemoteEvent, RemoteMessage
from bridge_core.api.ids import ChatId

LINES_AT_MOST: Final = 50
"""Lines of one message."""
CHARACTERS_AT_MOST: Final = 12_000
_NODES_AT_MOST: Final = 500
_TOGETHER_MS: Final = 5000
"""Lines further apart than this are no paste, however long they have waited."""
_BREAK: Final = Plain("\n")
_KINDS: Final = frozenset((Kind.TEXT, Kind.NOTICE))
Group = Sequence[RemoteEvent]
"""One event, or the lines of a paste."""


def merged(events: Sequence[RemoteEvent]) -> Sequence[RemoteEvent]:
    """The events with each paste in them as one message, in the place of its first line.

    Lines are of one paste when nothing else happened in that chat between them, they are of one kind and answer
    nothing. The message has the first line's id and time; the others' ids find it, too.
    """
    found = pastes(events)
    return events if found is None else [one(lines) for lines in found]


def pastes(events: Sequence[RemoteEvent]) -> list[list[RemoteEvent]] | None:
    """The events in order, those of a paste together in the place of its first line; None when there is no paste."""
    if len(events) < 2:
        return None
    last: dict[ChatId, int] = {}
    open_: dict[int, list[RemoteMessage]] = {}
    for place, event in enumerate(events):
        chat = getattr(event, "chat", None)
        if chat is None:
            last.clear()  # somebody has another name, say: what follows may be theirs
            continue
        before = last.get(chat)
        if before is not None and isinstance(event, RemoteMessage):
            first = events[before]
            if isinstance(first, RemoteMessage) and first.sender.id == event.sender.id:
                lines = open_.get(before)
                if _follows(lines[-1] if lines is not None else first, event):
                    if lines is None:
                        lines = open_[before] = [first]
                    lines.append(event)
                    continue
        last[chat] = place
    return _in_order(events, open_) if open_ else None


def _in_order(events: Sequence[RemoteEvent], found: dict[int, list[RemoteMessage]]) -> list[list[RemoteEvent]]:
    """The events in order, pastes in the places of their first lines, cut where they grow too large."""
    taken = {id(line) for lines in found.values() for line in lines[1:]}
    out: list[list[RemoteEvent]] = []
    for place, event in enumerate(events):
        if id(event) in taken:
            continue
        lines = found.get(place)
        if lines is None:
            out.append([event])
        else:
            out += _groups(lines)
    return out


def _groups(lines: list[RemoteMessage]) -> list[list[RemoteEvent]]:
    """As few messages as the limits allow."""
    out: list[list[RemoteEvent]] = []
    group: list[RemoteEvent] = []
    characters = nodes = 0
    for line in lines:
        size, count = measure(line.content.text)
        full = len(group) >= LINES_AT_MOST or characters + size > CHARACTERS_AT_MOST or nodes + count > _NODES_AT_MOST
        if group and full:
            out.append(group)
            group, characters, nodes = [], 0, 0
        group.append(line)
        characters += size
        nodes += count
    out.append(group)
    return out


def may_be_known(group: Group) -> bool:
    """Whether it is a paste that may be taken for known as a whole, since one of its lines is: one with ids."""
    return len(group) > 1 and any(getattr(line, "id", None) is not None for line in group)


def rounds(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups in as few parts as may be handed in one after the other, in order: behind a paste that may be known
    nothing else of its chat is in the same part, and nothing that is of no chat."""
    part: list[Group] = []
    waiting: set[ChatId] = set()
    for group in groups:
        chat: ChatId | None = getattr(group[0], "chat", None)
        if waiting and (chat is None or chat in waiting):
            yield part
            part, waiting = [], set()
        part.append(group)
        if chat is not None and may_be_known(group):
            waiting.add(chat)
    if part:
        yield part


def one(group: Group) -> RemoteEvent:
    """What a group is handed in as."""
    first = group[0]
    lines = [line for line in group if isinstance(line, RemoteMessage)]
    if len(lines) < 2 or not isinstance(first, RemoteMessage):
        return first
    content = Content(joined([line.content.text for line in lines]), first.content.kind)
    ids = [message for line in lines for message in (line.id, *line.also) if message is not None]
    return replace(first, content=content, id=ids[0] if ids else None, also=tuple(ids[1:]))


def _follows(before: RemoteMessage, after: RemoteMessage) -> bool:
    """Whether a line may stand in one message with the one before it."""
    content = after.content
    return (
        content.kind is before.content.kind
        and content.kind in _KINDS
        and after.reply_to is None
        and after.receiver == before.receiver
        and after.sender == before.sender
        and after.least_power == before.least_power
        and abs((after.timestamp or 0) - (before.timestamp or 0)) <= _TOGETHER_MS
        and not content.attachments
        and not before.content.attachments
    )


def joined(texts: Sequence[RichText]) -> RichText:
    """Texts as the lines of one; plain neighbours become one node."""
    nodes: list[Node] = []
    for number, text in enumerate(texts):
        for node in (_BREAK, *text) if number else text:
            if isinstance(node, Plain) and nodes and isinstance(last := nodes[-1], Plain):
                nodes[-1] = Plain(last.text + node.text)
            else:
                nodes.append(node)
    return tuple(nodes)


def measure(text: RichText) -> tuple[int, int]:
    """Characters and nodes of a text."""
    characters = nodes = 0
    stack: list[Node] = list(text)
    while stack:
        node = stack.pop()
        nodes += 1
        if isinstance(node, Plain):
            characters += len(node.text)
        else:
            stack += getattr(node, "children", ())
            characters += len(getattr(node, "name", "") or "")
    return characters, nodes
