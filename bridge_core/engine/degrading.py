"""What a message becomes where a chat cannot carry all of it: the same in text. Pure."""

import re
from dataclasses import replace
from typing import Final

from bridge_core.api.content import (
    Attachment,
    Content,
    Kind,
    MediaKind,
    Mention,
    Node,
    Picture,
    Plain,
    RichText,
    Spoiler,
)
from bridge_core.api.network import Capabilities, Level
from bridge_core.content.plain import to_plain
from bridge_core.content.tree import changed, nodes_of

_SLOT: Final = re.compile("\ue000([0-9]{1,4})\ue001")
"""Stands for a node that is kept while the text around it is made plain. Private-use characters."""

_PLAINER: Final = {MediaKind.STICKER: MediaKind.IMAGE, MediaKind.VOICE: MediaKind.AUDIO}
"""What a kind of file is where the chat has no such thing."""


def without_pictures(text: RichText) -> RichText:
    """The text with custom emoji as their names."""
    return changed(text, lambda node: ((Plain(node.alt),) if node.alt else ()) if isinstance(node, Picture) else None)


def without_spoilers(text: RichText) -> RichText:
    """The text with hidden parts between `||`, after the reason: there for who must see it, marked for who must not."""

    def shown(node: Node) -> RichText | None:
        if not isinstance(node, Spoiler):
            return None
        reason = f"({node.reason}) " if node.reason else ""
        return (Plain(f"{reason}||"), *changed(node.children, shown), Plain("||"))

    return changed(text, shown)


def without_formatting(text: RichText, *, mentions: bool, pictures: bool) -> RichText:
    """The text as plain text, but for mentions and custom emoji where the chat can carry those."""
    kept: list[Node] = []

    def slot(node: Node) -> RichText | None:
        if not (isinstance(node, Mention) and mentions) and not (isinstance(node, Picture) and pictures):
            return None
        kept.append(node)
        return (Plain(f"\ue000{len(kept) - 1}\ue001"),)

    plain = to_plain(changed(text, slot))
    if not kept:
        return (Plain(plain),) if plain else ()
    found: list[Node] = []
    for number, piece in enumerate(_SLOT.split(plain)):
        if number % 2 and int(piece) < len(kept):
            found.append(kept[int(piece)])
        elif piece and not number % 2:
            found.append(Plain(piece))
    return tuple(found)


def is_formatted(text: RichText) -> bool:
    """Whether there is more to a text than words and the people named in it."""
    return any(not isinstance(node, Plain | Mention | Picture) for node in text)


def has_picture(text: RichText) -> bool:
    """Whether a custom emoji is in the text."""
    return any(isinstance(node, Picture) and node.source is not None for node in nodes_of(text))


def has_spoiler(text: RichText) -> bool:
    """Whether a part of the text is hidden."""
    return any(isinstance(node, Spoiler) for node in nodes_of(text))


def as_text(content: Content, sender: str) -> Content:
    """An emote or notice as a text that says whose it is."""
    if content.kind is Kind.EMOTE:
        content = replace(content, text=(Plain(f"* {sender} "), *content.text))
    return replace(content, kind=Kind.TEXT)


def carried_as(attachment: Attachment, can: Capabilities) -> Attachment:
    """The file as the nearest kind that the chat carries: a sticker as an image, voice as audio, any as a file."""
    kind = attachment.kind
    if can.level(kind) <= Level.FALLBACK and kind in _PLAINER:
        kind = _PLAINER[kind]
    if kind is not MediaKind.FILE and not takes(can, kind, attachment.mime):
        plain_file = can.level(MediaKind.FILE) >= Level.PARTIAL and takes(can, MediaKind.FILE, attachment.mime)
        kind = MediaKind.FILE if plain_file else kind
    return attachment if kind is attachment.kind else replace(attachment, kind=kind)


def takes(can: Capabilities, kind: MediaKind, mime: str | None) -> bool:
    """Whether the chat takes files of this kind and media type."""
    allowed = can.mimes.get(kind)
    if allowed is None:
        return True
    mime = mime or "application/octet-stream"
    return any(mime == one or (one.endswith("/*") and mime.startswith(one[:-1])) for one in allowed)
