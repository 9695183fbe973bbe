"""The files of a mail, put into the spool, and the message made of them and its text."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from bridge_core.api.content import Attachment, Content, MediaKind, RichText
from bridge_core.api.host import Blobs
from bridges.email import presenting
from bridges.email.config.mailboxes import Rooms
from bridges.email.mail import Mail, MailFile

_SMALL: Final = 16_384
"""Bytes up to which a picture within a text is shown there only: programs show those as small as a line of text."""

Stored = Callable[[int], Awaitable[str]]
"""Puts a file of the mail, by its number, into the spool; its `blob:`."""


@dataclass(frozen=True, slots=True)
class Files:
    """What of a mail lies in the spool: its pictures by their `cid`, and what is attached."""

    pictures: Mapping[str, presenting.Shown] = field(default_factory=dict)
    attached: tuple[Attachment, ...] = ()


class Contents:
    """Makes the contents of messages."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def needs_files(self, mail: Mail, rooms: Rooms) -> bool:
        """Whether anything has to be put into the spool for it."""
        return bool(mail.files) or _wants_whole(mail, rooms)

    async def files(self, mail: Mail, rooms: Rooms, stored: Stored) -> Files:
        """Put all of it into the spool. Takes as long as the files are large: not in a mailbox's turn."""
        pictures: dict[str, presenting.Shown] = {}
        attached: list[Attachment] = []
        for number, file in enumerate(mail.files):
            blob = await stored(number)
            inline = file.inline and bool(file.cid) and _is_picture(file)
            if inline:
                pictures[file.cid] = presenting.Shown(blob, file.name)
            if not inline or file.size > _SMALL:
                attached.append(presenting.attachment(file, blob))
        if _wants_whole(mail, rooms):
            attached.append(await self._whole(mail))
        return Files(pictures, tuple(attached))

    def content(self, mail: Mail, above: RichText, files: Files, *, first: bool) -> Content:
        """The message. `first`: it begins a conversation."""
        if first and mail.quoting:
            # What a conversation's first mail quotes is nowhere else in the room.
            mail = replace(mail, text=mail.quoting)
        made = presenting.content(mail, above, files.attached)
        return Content(presenting.with_pictures(made.text, files.pictures), attachments=made.attachments)

    async def _whole(self, mail: Mail) -> Attachment:
        """All of the mail's text, as a file."""
        data = (mail.whole or presenting.plain(mail)).encode(errors="replace")
        blob = await self._blobs.put(presenting.chunks(data), len(data))
        return Attachment(MediaKind.FILE, "mail.txt", blob, "text/plain; charset=utf-8", len(data))


def _wants_whole(mail: Mail, rooms: Rooms) -> bool:
    return (mail.trimmed and rooms.whole) or presenting.long(mail)


def _is_picture(file: MailFile) -> bool:
    return file.mime.startswith("image/")
