"""A mail as a message: its text under its head, its files, and what there is to say about it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bridge_core.api.content import (
    Attachment,
    CodeBlock,
    Content,
    Kind,
    ListBlock,
    Math,
    MediaKind,
    Mention,
    Node,
    Paragraph,
    Picture,
    Plain,
    RichText,
    RoomMention,
    Rule,
    Span,
    Style,
    Table,
)
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import MessageId, RemoteUserId
from bridge_core.content import to_plain
from bridges.email.chats import Chat
from bridges.email.codec.addresses import Address
from bridges.email.mail import Mail, MailFile
from bridges.email.mailboxes import Mailbox
from bridges.email.people import UNVERIFIED, Author
from bridges.email.threads import Thread


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a mail that lies in the spool."""

    blob: str
    name: str


LONGEST: Final = 30_000
"""Characters of a text that is shown; what is longer is a file as well."""
_NAMED: Final = 10
"""Addresses that a head names; the others are counted."""
_EMPTY: Final = "(empty mail)"


def head(mail: Mail, mailbox: Address) -> RichText:
    """Subject and further recipients, above a conversation's first mail."""
    nodes: list[Node] = [Paragraph((Span(Style.BOLD, (Plain(mail.subject or "(no subject)"),)),))]
    for label, people in (("To", mail.to), ("Cc", mail.cc)):
        others = [one for one in people if one.key != mailbox.key]
        if others:
            nodes.append(Paragraph((Plain(f"{label}: {_listed(others)}"),)))
    return tuple(nodes)


def changes(before: Thread, after: Thread, author: Author, *, first: bool, headed: bool) -> list[str]:
    """Whom answers go to since this mail, beside its author; `headed`: those who got it stand in its head already."""
    said = []
    if after.list_post:
        if first:
            said.append(f"answers go to the list, {after.list_post}")
    elif not headed:
        known = {author.address.key, *(one.key for one in before.people)}
        added = [one for one in after.people if one.key not in known]
        if added:
            said.append(f"also to {_listed(added)}: answers go there too")
    if author.address.key in after.hidden:
        said.append("got a blind copy: an answer to this very message goes to them alone, no other does")
    return said


def remarks(mail: Mail, author: Author, reasons: Sequence[str]) -> RichText:
    """What people must know: that nobody answers for the sender, where answers go, what could not be read."""
    said = list(reasons)
    reply_to = [one for one in mail.reply_to if one.domain != author.address.domain]
    if reply_to:
        # Only of who is sure to have written it is it done.
        said.append(f"{'answers go' if author.verified else 'asks for answers'} to {_listed(reply_to)}")
    said.extend(mail.remarks)
    return tuple(Paragraph((Span(Style.ITALIC, (Plain(f"({one})"),)),)) for one in said)


def asking(mail: Mail, author: Author) -> Content:
    """What a mailbox is told of somebody who writes to it for the first time."""
    known = "" if author.verified else ", though nobody answers for that address"
    subject = f": {mail.subject}" if mail.subject else ""
    text = (
        f"{author.address} wants to write to you{known}{subject}. "
        f"`!bridge accept {author.id}` shows their mail, `!bridge block {author.address}` none of it; "
        "so does a reaction to this, 👍 or 👎."
    )
    return Content((Plain(text),), Kind.NOTICE)


def expired(mailbox: Mailbox, person: str, held: str) -> RemoteMessage:
    """What a mailbox is told of a mail (`held` names it) that waited for a word about who wrote it for too long."""
    name = f"{person} (unverified)" if person.startswith(UNVERIFIED) else person
    sender = RemoteSender(RemoteUserId(person), name.removeprefix(UNVERIFIED))
    text = f"A mail of {person} has waited long enough for `accept` or `block`: it is gone, and was not read."
    content = Content((Plain(text),), Kind.NOTICE)
    return RemoteMessage(Chat(mailbox.home).id, sender, content, MessageId(f"expired {held}"), receiver=mailbox.login)


def content(mail: Mail, above: RichText, files: Sequence[Attachment]) -> Content:
    """The message. A text too long for one is cut, and says where it goes on. Never without words or files."""
    text = mail.text
    if len(to_plain(text)) > LONGEST:
        text = (Plain(to_plain(text)[:LONGEST]), Paragraph((Span(Style.ITALIC, (Plain("(goes on in the file)"),)),)))
    if not (to_plain(text).strip() or files):
        text = (Span(Style.ITALIC, (Plain(_EMPTY),)),)
    return Content((*above, *text), attachments=tuple(files))


def long(mail: Mail) -> bool:
    """Whether the text has to be a file as well."""
    return len(to_plain(mail.text)) > LONGEST


def attachment(file: MailFile, blob: str) -> Attachment:
    """A file of a mail that lies in the spool."""
    kind = {"image": MediaKind.IMAGE, "video": MediaKind.VIDEO, "audio": MediaKind.AUDIO}
    top = file.mime.partition("/")[0]
    return Attachment(kind.get(top, MediaKind.FILE), file.name or "file", blob, file.mime, file.size)


def plain(mail: Mail) -> str:
    """All of its text in plain words."""
    return to_plain(mail.text)


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    """Bytes as the spool takes them."""
    yield data


def with_pictures(text: RichText, sources: Mapping[str, Shown]) -> RichText:
    """The text with pictures of the mail itself (`cid:`) shown from where they are; others keep their words."""
    return tuple(_picture(node, sources) for node in text)


def _picture(node: Node, sources: Mapping[str, Shown]) -> Node:
    if isinstance(node, Picture):
        shown = sources.get((node.source or "").removeprefix("cid:"))
        return Picture(node.alt or (shown.name if shown else ""), shown.blob if shown else None)
    if isinstance(node, Plain | Mention | RoomMention | Math | CodeBlock | Rule):
        return node
    if isinstance(node, ListBlock):
        return replace(node, items=tuple(with_pictures(item, sources) for item in node.items))
    if isinstance(node, Table):
        return replace(node, rows=tuple(tuple(with_pictures(cell, sources) for cell in row) for row in node.rows))
    return replace(node, children=with_pictures(node.children, sources))


def _listed(people: Sequence[Address]) -> str:
    named = ", ".join(str(one) for one in people[:_NAMED])
    return named if len(people) <= _NAMED else f"{named} and {len(people) - _NAMED} more"
