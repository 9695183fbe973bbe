"""Bytes to a Mail: the one entry to all the parts of the parser. Pure; runs in a worker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from bridge_core.api.content import Node, Paragraph, Picture, Plain, RichText
from bridge_core.content import to_plain, words
from bridge_core.content.plain import BLOCKS
from bridge_core.content.tree import changed, nodes_of
from bridges.email.codec.addresses import Address
from bridges.email.mail import Mail, MailFile
from bridges.email.parsing import dom
from bridges.email.parsing.addresslist import parse_addresses
from bridges.email.parsing.body import File, Item, Text, Walker
from bridges.email.parsing.charsets import Decoder
from bridges.email.parsing.clients import SIGN_END, SIGN_START
from bridges.email.parsing.context import Context
from bridges.email.parsing.headers import Headers
from bridges.email.parsing.html import html_tree
from bridges.email.parsing.ids import date_ms, ids, made_id, one_id
from bridges.email.parsing.lists import bridges, crossed, former_ids, is_automatic, list_headers
from bridges.email.parsing.names import shown
from bridges.email.parsing.phrases import is_forward_subject, is_line
from bridges.email.parsing.plaintext import plain_tree
from bridges.email.parsing.redaction import Redactor
from bridges.email.parsing.reports import report_of
from bridges.email.parsing.tree import Tree, TreeLimits, parse_tree
from bridges.email.parsing.trimming import Trimmed, trim, unmarked

NO_TEXT: Final = "[This mail has no text.]"
_LONGEST_WHOLE: Final = 262_144
_LONGEST_SUBJECT: Final = 500
_KEPT_FILES: Final = 8 << 20
"""Bytes of decoded files that are kept in memory."""


@dataclass(frozen=True, slots=True)
class ReadMail:
    """A mail and what gives the bytes of each of its files."""

    mail: Mail
    files: tuple[Callable[[], bytes], ...]


def read_mail(data: bytes, context: Context) -> ReadMail:
    """The mail that the bytes are. Any bytes are one.

    Costs time linear in the bytes but for the depth of parts (at most `context.depth`), and about four times their
    size in memory. What is over a limit is left out, and `Mail.remarks` says so.
    """
    tree = parse_tree(data, TreeLimits(context.depth, context.parts))
    headers = tree.root.headers
    remarks = dict.fromkeys(tree.cut)
    people = _People(headers, context.addresses, remarks)
    answered = ids(headers.get("in-reply-to"))
    delta = headers.has("chat-version")
    walker = Walker(context, Decoder(), delta=delta, answers=bool(answered))
    items = walker.walk(tree.root)
    body = walker.body
    mailing = list_headers(headers)
    composed = _composed(items, body.plain, context, listed=bool(mailing.id))
    remarks |= body.remarks | composed.remarks
    redactor = Redactor(context.domains, context.links)
    whole = unmarked(composed.text)
    subject = redactor.text(shown(headers.text("subject", 4 * _LONGEST_SUBJECT), _LONGEST_SUBJECT))
    parts = Trimmed(whole, whole, False)
    if context.trim:
        parts = trim(composed.text, quotes=is_forward_subject(subject))
    said = to_plain(whole)[:_LONGEST_WHOLE]
    report = report_of(tree, people.authors, said, null_sender=context.null_sender)
    text = redactor.tree(_tidy(parts.text))
    quoting = redactor.tree(_tidy(parts.quoting))
    if not _says(text) and not composed.files and body.reaction is None:
        text, quoting = (Plain(NO_TEXT),), ()
    edits, deletes = _amends(tree)
    given = one_id(headers.get("message-id"))
    mail = Mail(
        id=given or made_id(_seed(tree, context.given)),
        made_id=not given,
        authors=people.authors,
        sender=people.sender,
        reply_to=people.reply_to,
        to=people.to,
        cc=people.cc,
        subject=subject,
        date=date_ms(headers.get("date"), context.received_at),
        in_reply_to=answered,
        references=ids(headers.get("references")),
        former_ids=former_ids(headers),
        text=text,
        quoting=quoting if parts.trimmed and quoting != text else (),
        trimmed=parts.trimmed,
        whole=redactor.text(said) if parts.trimmed else "",
        files=tuple(composed.described),
        reaction=body.reaction,
        report=report,
        edits=edits,
        deletes=deletes,
        list_id=mailing.id,
        list_name=mailing.name,
        list_post=mailing.post,
        unsubscribe=mailing.unsubscribe,
        one_click=mailing.one_click,
        automatic=report is not None or is_automatic(headers, people.authors, subject, null_sender=context.null_sender),
        hops=headers.count("received"),
        bridges=bridges(headers),
        crossed=crossed(headers),
        messenger=delta,
        reads_reactions=body.reaction is not None or delta,
        remarks=tuple(remarks),
    )
    return ReadMail(mail, tuple(composed.files))


class _People:
    """Who stands in the headers."""

    def __init__(self, headers: Headers, most: int, remarks: dict[str, None]) -> None:
        def of(name: str) -> tuple[Address, ...]:
            found = tuple(one for value in headers.all(name) for one in parse_addresses(value, most))
            if len(found) >= most:
                remarks[f"It names more than {most} people: the others were left out."] = None
            return found[:most]

        self.authors = of("from")
        if headers.count("from") > 1:
            remarks["It has more than one From header."] = None
        if not self.authors:
            remarks["Its From header names nobody that could be read."] = None
        self.sender = next(iter(of("sender")), None)
        self.reply_to = of("reply-to")
        self.to = of("to")
        self.cc = of("cc")


@dataclass(slots=True)
class _Composed:
    """The items put together: one text with marks in it, the files described, and what gives their bytes."""

    text: RichText
    described: list[MailFile]
    files: list[Callable[[], bytes]]
    remarks: dict[str, None]


def _composed(
    items: Sequence[Item], plain: Mapping[int, Sequence[Text]], context: Context, *, listed: bool
) -> _Composed:
    remarks: dict[str, None] = {}
    if any(isinstance(item, Text) and not item.note and not item.spare and item.text.strip() for item in items):
        items = [item for item in items if not (isinstance(item, Text) and item.spare)]
    files = [item for item in items if isinstance(item, File)]
    if len(files) > context.files:
        remarks[f"It has more than {context.files} files: the others were left out."] = None
        files = files[: context.files]
    numbers = {id(file): number for number, file in enumerate(files)}
    places: dict[str, int] = {}
    for number, file in enumerate(files):
        if file.mime.startswith("image/"):
            for name in filter(None, (file.cid, file.location)):
                places.setdefault(name, number)
    nodes = context.nodes
    pieces: list[RichText] = []
    shown_files: set[int] = set()
    texts = [item for item in items if isinstance(item, Text)]
    for item in items:
        if isinstance(item, Text):
            if item.html:
                free = {name: number for name, number in places.items() if number not in shown_files}
                found = html_tree(item.text, free, dom.Limits(context.html, nodes))
                nodes = max(nodes - found.nodes, 0)
                if found.cut:
                    remarks["Its HTML is too large or intricate: the rest of it was left out."] = None
                others = plain.get(id(item), ())
                if others and (found.cut or (not _says(found.text) and not found.files)):
                    pieces.extend(_plain(other) for other in others)
                    continue
                shown_files |= found.files
                pieces.append(found.text)
            else:
                footer = listed and item is texts[-1] and len(texts) > 1 and _is_footer(item)
                pieces.append(_marked(_plain(item)) if footer else _plain(item))
    if len(texts) > 1:
        pieces = _with_places(items, pieces, numbers, shown_files)
    described: list[MailFile] = []
    given: list[Callable[[], bytes]] = []
    cids: dict[str, str] = {}
    kept = 0
    for number, file in enumerate(files):
        data = file.data()
        cid = file.cid
        if number in shown_files:
            cid = cid if cid and f"cid:{cid}" not in cids.values() else f"file {number}"
            cids[f"file:{number}"] = f"cid:{cid}"
        described.append(MailFile(file.name, file.mime, len(data), cid, number in shown_files))
        # Small ones are kept, so that they are decoded once; of large ones only one is in memory at a time.
        kept += len(data)
        given.append(partial(bytes, data) if kept <= _KEPT_FILES else file.data)

    def named(node: Node) -> RichText | None:
        return (Picture(node.alt, cids.get(node.source or "")),) if isinstance(node, Picture) else None

    text = _joined(pieces)
    return _Composed(changed(text, named) if cids else text, described, given, remarks)


def _with_places(
    items: Sequence[Item], pieces: Sequence[RichText], numbers: Mapping[int, int], placed: set[int]
) -> list[RichText]:
    """Images that stand between texts (as Apple Mail sends them) put between them."""
    if len(pieces) != sum(isinstance(item, Text) for item in items):
        return list(pieces)
    found: list[RichText] = []
    left = list(pieces)
    for item in items:
        if isinstance(item, Text):
            found.append(left.pop(0))
        elif item.place and found and left and (number := numbers.get(id(item))) is not None and number not in placed:
            placed.add(number)
            found.append((Paragraph((Picture("", f"file:{number}"),)),))
    return found


def _plain(item: Text) -> RichText:
    return plain_tree(item.text, flowed=item.flowed, delsp=item.delsp)


def _marked(text: RichText) -> RichText:
    return (Paragraph((Plain(SIGN_START),)), *text, Paragraph((Plain(SIGN_END),)))


def _is_footer(item: Text) -> bool:
    """Whether a list has put its footer behind the mail as a part of its own."""
    return not item.html and is_line(item.text.strip().partition("\n")[0]) and len(item.text) < 2000


def _joined(pieces: Sequence[RichText]) -> RichText:
    found: list[Node] = []
    for piece in pieces:
        if piece and found and not isinstance(found[-1], BLOCKS) and not isinstance(piece[0], BLOCKS):
            found.append(Plain("\n\n"))
        found.extend(piece)
    return tuple(found)


def _tidy(text: RichText) -> RichText:
    """Neighbouring words made one node, none that are blank at the ends."""
    found: list[Node] = []
    for node in text:
        if isinstance(node, Plain) and found and isinstance(last := found[-1], Plain):
            found[-1] = Plain(last.text + node.text)
        else:
            found.append(node)
    if found and isinstance(first := found[0], Plain):
        found[0] = Plain(first.text.lstrip("\n"))
    if found and isinstance(last := found[-1], Plain):
        found[-1] = Plain(last.text.rstrip())
    return tuple(node for node in found if not (isinstance(node, Plain) and not node.text))


def _says(text: RichText) -> bool:
    """Whether there is anything to see in the text."""
    return bool(words(text).strip()) or any(isinstance(node, Picture) for node in nodes_of(text))


def _amends(tree: Tree) -> tuple[str, tuple[str, ...]]:
    """Which mail this one corrects, and which it takes back; Delta Chat hides the headers in the first part."""
    first = tree.root.children[0] if tree.root.children else tree.root
    for headers in (tree.root.headers, first.headers):
        edits, deletes = ids(headers.get("chat-edit")), headers.get("chat-delete")
        if edits or deletes:
            return (edits[0] if edits else ""), tuple(dict.fromkeys(word.strip("<>") for word in deletes.split()))[:100]
    return "", ()


def _seed(tree: Tree, given: str) -> bytes:
    """What a mail without an id is known by: its author, date, subject, recipients and body, but no trace headers.

    And by its envelope where that is `given`: a script that says the same each night says it each night.
    """
    headers = tree.root.headers
    named = b"\n".join(headers.raw(name) for name in ("from", "date", "subject", "to"))
    return given.encode() + b"\0" + named + b"\n" + tree.root.data[tree.root.start : tree.root.end]
