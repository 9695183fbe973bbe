"""Which files of a message go into the mail, which are shown in it, and which are linked. Pure but for the links."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge_core.api.content import Attachment, Link, MediaKind, Node, Plain, RichText

_SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_MIME: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,80}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}")
_NEVER: Final = ("multipart/", "message/")
_SPACE: Final = 64 * 1024
"""Bytes of a mail beside its files."""
_LONGEST_NAME: Final = 150
_TYPES: Final = {MediaKind.VOICE: ("audio/ogg", "ogg"), MediaKind.STICKER: ("image/png", "png")}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What goes into the mail, and words about what does not."""

    shown: tuple[Attachment, ...]
    attached: tuple[Attachment, ...]
    further: RichText


def chosen(files: Sequence[Attachment], limit: int, link: Callable[[Attachment], str | None], *, sure: bool) -> Chosen:
    """Sorts the files: as long as there is room in a mail of `limit` bytes, they go along.

    Those of unknown size do unless `sure`. What has neither room nor a link is named, so that its loss is known.
    """
    room = (limit - _SPACE) * 3 // 4 * 76 // 78
    shown: list[Attachment] = []
    attached: list[Attachment] = []
    further: list[Node] = []
    for file in files:
        size = file.size if file.size is not None else room if sure else 0
        if size < room or (size == room and not sure):
            room -= size
            pictured = file.kind in {MediaKind.IMAGE, MediaKind.STICKER} and mime_of(file) in _SHOWN
            (shown if pictured and file.spoiler is None else attached).append(file)
            continue
        url = link(file)
        if further:
            further.append(Plain("\n"))
        if url is not None:
            further += [Plain("File: "), Link(url, (Plain(name_of(file)),))]
        else:
            further.append(Plain(f"[the file {name_of(file)} is too large for a mail]"))
    return Chosen(tuple(shown), tuple(attached), tuple(further))


def mime_of(file: Attachment) -> str:
    """The type that the mail names: what is none, or would be taken apart by a reader, is bytes."""
    mime = (file.mime or "").partition(";")[0].strip().lower()
    if not mime and file.kind in _TYPES:
        mime = _TYPES[file.kind][0]
    return mime if _MIME.fullmatch(mime) and not mime.startswith(_NEVER) else "application/octet-stream"


def name_of(file: Attachment) -> str:
    """A name that is no path and holds no control characters, with an ending for kinds that always have one."""
    kept = "".join(one for one in file.name if unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Zl", "Zp"})
    name = re.sub(r'[/\\:*?"<>|]', "_", kept).strip(". ")
    if len(name) > _LONGEST_NAME:
        head, dot, end = name.rpartition(".")
        name = f"{head[: _LONGEST_NAME - 20]}.{end[:16]}" if dot else name[:_LONGEST_NAME]
    if file.kind in _TYPES and "." not in name:
        name = f"{name or file.kind.value}.{_TYPES[file.kind][1]}"
    return name or "file"
