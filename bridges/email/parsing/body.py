"""The parts of a mail in the order in which they are read: texts, files, and what else there is in them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from bridges.email.mail import MailReaction
from bridges.email.parsing import calendar
from bridges.email.parsing.charsets import Decoder
from bridges.email.parsing.context import Context
from bridges.email.parsing.headers import split
from bridges.email.parsing.names import ENDINGS, file_name, shown
from bridges.email.parsing.plaintext import printable
from bridges.email.parsing.reactions import GMAIL, reaction_of
from bridges.email.parsing.reports import is_report_part
from bridges.email.parsing.smime import signed_content
from bridges.email.parsing.sniff import type_of
from bridges.email.parsing.tnef import parse_tnef
from bridges.email.parsing.transfer import encoding_of, without_uu
from bridges.email.parsing.tree import Part, TreeLimits, parse_tree

_SIGNATURES: Final = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
    | {"application/pgp-keys"}
)
_SMIME: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_TNEF: Final = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_NO_TEXT: Final = frozenset(
    {"text/rtf", "text/vcard", "text/x-vcard", "text/directory", "text/csv", "text/xml"} | {"text/enriched"}
)
_ELSEWHERE: Final = {
    "message/partial": "a piece of a mail that was sent in several",
    "message/external-body": "kept elsewhere, and was not fetched",
}
_SIGNED: Final = "It is signed; the signature was not checked."
_MOST_UNPACKED: Final = 2
"""How many signatures in one another, or beside one another, are unpacked."""
_HEAD: Final = 512


@dataclass(slots=True)
class Text:
    """A piece of text: HTML, or plain words (`flowed` and `delsp` as of RFC 3676)."""

    text: str
    html: bool = False
    flowed: bool = False
    delsp: bool = False
    note: bool = False
    """It is our own word for something that cannot be shown."""
    spare: bool = False
    """It says again what another text of the mail says, if there is one."""


@dataclass(slots=True)
class File:
    """A file; `data` gives its bytes, decoded then. `place`: it stands among the text of its mail."""

    name: str
    mime: str
    data: Callable[[], bytes]
    cid: str = ""
    location: str = ""
    place: bool = False


Item: TypeAlias = Text | File


@dataclass(slots=True)
class Body:
    """What was found. `plain` holds, by the text that was chosen, what the sender gives for it in plain words."""

    items: list[Item] = field(default_factory=list)
    plain: dict[int, list[Text]] = field(default_factory=dict)
    reaction: MailReaction | None = None
    remarks: dict[str, None] = field(default_factory=dict)
    calendars: set[str] = field(default_factory=set)


class Walker:
    """Walks over the parts of one mail. Recursive: the tree is as shallow as its limit says."""

    def __init__(self, context: Context, decoder: Decoder, *, delta: bool, answers: bool) -> None:
        self.body = Body()
        self._context = context
        self._decoder = decoder
        self._delta = delta
        self._answers = answers
        self._unpacked = 0
        self._left = {True: context.html, False: context.text}
        """How many characters of HTML, and of plain text, may still be read."""

    def walk(self, part: Part) -> list[Item]:
        """The items of the part and all in it, in order."""
        match part.mime:
            case "multipart/alternative":
                return self._alternative(part)
            case "multipart/related":
                return self._related(part)
            case "multipart/signed":
                self.body.remarks[_SIGNED] = None
                return [item for child in part.children if child.mime not in _SIGNATURES for item in self.walk(child)]
            case "multipart/encrypted":
                return self._sealed(part, "This mail is encrypted: it cannot be read here.")
            case "multipart/appledouble":
                return [item for child in part.children[1:] for item in self.walk(child)]
        if part.main == "multipart":
            returned = part.mime == "multipart/report" and any(map(is_report_part, part.children))
            return [
                item
                for number, child in enumerate(part.children)
                if not (returned and number and (is_report_part(child) or child.main in ("message", "text")))
                for item in self.walk(child)
            ]
        return self._leaf(part)

    def _leaf(self, part: Part) -> list[Item]:
        mime = part.mime
        if mime == GMAIL or part.disposition == "reaction":
            found = reaction_of(part, delta=self._delta) if self._answers else None
            if found is not None:
                self.body.reaction = self.body.reaction or found
                return []
        if is_report_part(part):
            return []
        if mime in _TNEF or part.name.lower() == "winmail.dat":
            return self._tnef(part)
        if mime in _SMIME:
            return self._smime(part)
        if part.main == "message":
            return self._message(part)
        if mime in ("text/calendar", "application/ics"):
            return self._calendar(part)
        if mime == "text/x-amp-html" or mime in _SIGNATURES:
            return []
        if part.main == "text" and mime not in _NO_TEXT and part.disposition != "attachment" and not _is_file(part):
            return self._text(part)
        return [self._file(part)]

    def _text(self, part: Part) -> list[Item]:
        html = part.mime in ("text/html", "application/xhtml+xml")
        longest = self._left[html]
        raw = part.body()
        text = self._decoder.decode(raw[: 4 * longest], part.parameters.get("charset"))
        items: list[Item] = []
        if len(text) > longest or len(raw) > 4 * longest:
            text = text[:longest]
            self.body.remarks["Its text is very long: only the beginning is shown, all of it is in a file."] = None
            ending = "html" if html else "txt"
            items.append(File(f"message.{ending}", f"text/{'html' if html else 'plain'}", part.body))
        self._left[html] -= len(text)
        if html:
            return [Text(text, html=True), *items]
        text = printable(text)
        if "\nbegin " in text or text.startswith("begin "):
            text, files = without_uu(text)
            for name, data in files:
                name = file_name(name)
                items.append(File(name, type_of("application/octet-stream", name, data[:_HEAD]), _given(data)))
        flowed = part.parameters.get("format", "").lower() == "flowed"
        return [Text(text, flowed=flowed, delsp=part.parameters.get("delsp", "").lower() == "yes"), *items]

    def _alternative(self, part: Part) -> list[Item]:
        """The last form that has text, HTML before plain; with the files and invitations of all forms."""
        forms = [self.walk(child) for child in part.children]
        best: list[Item] = []
        for form in forms:
            texts = [item for item in form if isinstance(item, Text) and not item.note]
            if any(text.html for text in texts) or not any(isinstance(item, Text) and item.html for item in best):
                best = form if texts or not best else best
        others = [item for form in forms if form is not best for item in form]
        plain = [item for item in others if isinstance(item, Text) and not item.html]
        chosen = next((item for item in best if isinstance(item, Text) and item.html), None)
        if chosen is not None:
            self.body.plain[id(chosen)] = [text for text in plain if not text.note]
        return [*best, *(item for item in others if isinstance(item, File) or item.note)]

    def _related(self, part: Part) -> list[Item]:
        start = part.parameters.get("start", "").strip("<> ")
        root = next((child for child in part.children if start and child.cid == start), None) or next(
            (child for child in part.children if child.main in ("text", "multipart")), part.children[0]
        )
        items = self.walk(root)
        for child in part.children:
            if child is not root:
                items.extend(self.walk(child))
        return items

    def _sealed(self, part: Part, words: str) -> list[Item]:
        parts = [child for child in part.children or [part] if child.mime != "application/pgp-encrypted"]
        return [Text(words, note=True), *map(self._file, parts)]

    def _smime(self, part: Part) -> list[Item]:
        """A mail in its signature is taken out of it; the kind is told by what it is, as many name none or another."""
        data = part.body()
        content = signed_content(data) if self._unpacked < _MOST_UNPACKED else None
        if content is not None:
            self._unpacked += 1
            self.body.remarks[_SIGNED] = None
            tree = parse_tree(content, TreeLimits(self._context.depth // 2, self._context.parts))
            self.body.remarks |= dict.fromkeys(tree.cut)
            return self.walk(tree.root)
        if part.parameters.get("smime-type", "").lower() == "signed-data":
            return self._sealed(part, "This mail is packed into its signature (S/MIME): it cannot be read here.")
        return self._sealed(part, "This mail is encrypted (S/MIME): it cannot be read here.")

    def _message(self, part: Part) -> list[Item]:
        if part.mime in _ELSEWHERE:
            return [Text(f"A part of this mail is {_ELSEWHERE[part.mime]}.", note=True), self._file(part)]
        # Encoded ones are against the rules, and met.
        encoded = encoding_of(part.headers.get("content-transfer-encoding")) in ("base64", "quoted-printable")
        data, start, end = part.data, part.start, part.end
        if encoded:
            data = part.body()
            start, end = 0, len(data)
        headers, _ = split(data, start, end)
        subject = shown(headers.text("subject", 300), 200)
        author = shown(headers.text("from", 300), 200)
        said = f"Attached mail: {subject or '(no subject)'}" + (f", from {author}" if author else "")
        name = file_name(part.name or f"{subject[:80] or 'mail'}.eml")
        return [Text(said, note=True), File(name, "message/rfc822", part.body)]

    def _calendar(self, part: Part) -> list[Item]:
        raw = part.body()[: 4 * self._context.text]
        text = self._decoder.decode(raw, part.parameters.get("charset") or "utf-8")
        if text in self.body.calendars:
            return []
        self.body.calendars.add(text)
        file = self._file(part, "invitation.ics")
        file.mime = "text/calendar"
        said = calendar.describe(text, part.parameters.get("method", "")) if len(self.body.calendars) <= 3 else ""
        return [Text(said, note=True), file] if said else [file]

    def _tnef(self, part: Part) -> list[Item]:
        found = parse_tnef(part.body())
        if found is None:
            return [self._file(part)]
        if found.damaged:
            self.body.remarks["Its winmail.dat is damaged: some of what was in it may be missing."] = None
        items: list[Item] = []
        if found.html:
            items.append(Text(found.html[: self._context.html], html=True, spare=True))
        elif found.text.strip():
            items.append(Text(printable(found.text[: self._context.text]), spare=True))
        elif found.rtf:
            self.body.remarks["The text in its winmail.dat is in a form that is not read (compressed RTF)."] = None
        for one in found.files:
            name = file_name(one.name, one.mime)
            mime = type_of(one.mime or "application/octet-stream", name, one.data[:_HEAD])
            items.append(File(name, mime, _given(one.data), cid=one.cid))
        return items

    def _file(self, part: Part, otherwise: str = "") -> File:
        name = file_name(part.name or otherwise, part.mime)
        mime = type_of(part.mime, name, part.beginning(_HEAD))
        if not part.name and not otherwise:
            name = f"file{ENDINGS.get(mime, '')}"
        place = part.disposition != "attachment" and mime.startswith("image/")
        return File(name, mime, part.body, part.cid, part.headers.get("content-location"), place)


def _is_file(part: Part) -> bool:
    """Whether a part of text has a name that says that it is a file."""
    told = part.headers.has("content-disposition") or part.mime not in ("text/plain", "text/html")
    return bool(part.name) and told


def _given(data: bytes) -> Callable[[], bytes]:
    return lambda: data
