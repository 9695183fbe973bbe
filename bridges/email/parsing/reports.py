"""Mails about other mails: delivery reports (RFC 3464, 6533), those that follow none, receipts (8098), abuse (5965).

What they say is a stranger's word: who they are about is known by the token in the address that they were sent to.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from bridges.email.codec.addresses import Address
from bridges.email.mail import Fate, Report, ReportKind
from bridges.email.parsing.headers import Headers, one_line, split
from bridges.email.parsing.ids import ids
from bridges.email.parsing.names import shown
from bridges.email.parsing.tree import Part, Tree
from bridges.email.parsing.words import decode_words

_STATUS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RECEIPT: Final = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
_RETURNED: Final = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
    | {"text/rfc822"}
)
_ACTIONS: Final = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_MOST_FATES: Final = 100
_MOST_GROUPS: Final = 300
_LARGEST: Final = 262_144
_HEX = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_CODE = re.compile(r"(?<![\d.])([45])\.\d{1,3}\.\d{1,3}(?![\d.])")
_REPLY = re.compile(r"(?<!\d)([45])\d\d(?:[ -]|$)")
_WHO = re.compile(r"<?([^\s<>\"',;:()]{1,64}@[^\s<>\"',;:()]{1,253})>?")
_MESSAGE_ID = re.compile(
    r"^[ \t>]*message-id[ \t]*:[ \t]*\r?\n?[ \t]*(<[^<>\r\n]{1,500}>)", re.IGNORECASE | re.MULTILINE
)
_QMAIL = re.compile(r"^<([^\s<>]{3,320})>:[ \t]*\n((?:.+\n?){1,10})", re.MULTILINE)
_BOUNCED = re.compile(
    r"undeliver|delivery (?:status|failure|has failed|problem)|delivery to the following|returned mail|failure notice|"
    r"mail (?:delivery|system error)|message (?:could not be|was not|wasn.t) delivered|non remis|unzustellbar|"
    r"unable to deliver|could not be delivered|did not reach|nicht zugestellt|nondeliverable|mail delayed|delayed \(",
    re.IGNORECASE,
)
_DELAYED = re.compile(
    r"\bdelay|will (?:be|keep) (?:re)?try|still (?:be )?trying|temporar|no action is required", re.IGNORECASE
)
_FAILED = re.compile(r"fail|permanent", re.IGNORECASE)
_COPY = re.compile(r"\n-{2,}.{0,20}(?:below|copy|original|returned|transcript of session).{0,60}\n", re.IGNORECASE)
_DAEMON = re.compile(r"(?:mailer-?daemon|postmaster|mail-?daemon|mdaemon|bounces?|microsoftexchange.*)", re.IGNORECASE)


def report_of(tree: Tree, authors: Sequence[Address], text: str, *, null_sender: bool) -> Report | None:
    """What the mail reports, None when it is no report. `text` is its text in words. Linear; never raises."""
    parts = list(tree.parts())
    about = _about(parts)
    for part in parts:
        if part.mime in _STATUS:
            fates = tuple(_fates(part))
            return Report(ReportKind.DELIVERY, fates, about or _named(text))
        if part.mime in _RECEIPT:
            return _receipt(part, about)
        if part.mime == "message/feedback-report":
            return _complaint(part, about)
    headers = tree.root.headers
    failed = headers.get("x-failed-recipients")
    daemon = null_sender or any(_DAEMON.fullmatch(author.local) for author in authors)
    if not daemon:
        return None
    subject = headers.text("subject")
    if not failed and not _BOUNCED.search(subject) and not _BOUNCED.search(text[:3000]):
        return None
    fates = tuple(_told(failed, subject, text[:20_000]))
    return Report(ReportKind.DELIVERY, fates, about or _named(text)) if fates or about else None


def is_report_part(part: Part) -> bool:
    """Whether the part is for programs to read, or the mail that a report returns."""
    return part.mime in _STATUS or part.mime in _RECEIPT or part.mime == "message/feedback-report"


def _fates(part: Part) -> Iterator[Fate]:
    """The recipients' groups of a delivery report; the first group is about the mail."""
    count = 0
    for headers in _groups(part):
        who = _recipient(headers.get("original-recipient")) or _recipient(headers.get("final-recipient"))
        if not who or count >= _MOST_FATES:
            continue
        count += 1
        status = _CODE.search(headers.get("status")) or re.search(r"2\.\d{1,3}\.\d{1,3}", headers.get("status"))
        words = headers.get("diagnostic-code")
        kind, semicolon, rest = words.partition(";")
        words = shown(rest if semicolon and len(kind) < 30 else words, 1000)
        if status is None:
            status = _CODE.search(words)
        code = status[0] if status is not None else ""
        yield Fate(who, _action(headers.get("action"), code), code, words)


def _action(given: str, status: str) -> str:
    word = given.partition(";")[0].partition("(")[0].strip().lower()
    if word in _ACTIONS:
        return word
    if word.startswith("fail") or word in ("error", "denied"):
        return "failed"
    return "delayed" if word.startswith("delay") or status.startswith("4") else "failed"


def _groups(part: Part) -> Iterator[Headers]:
    data = part.body()[:_LARGEST]
    at = 0
    for _ in range(_MOST_GROUPS):
        while data[at : at + 1] in (b"\r", b"\n", b" ", b"\t"):
            at += 1
        if at >= len(data):
            return
        headers, after = split(data, at, len(data))
        if after <= at:
            # A line that is no field: passed over, so that the groups behind it are read.
            newline = data.find(b"\n", at)
            after = newline + 1 if newline >= 0 else len(data)
        at = after
        if headers.fields:
            yield headers


def _recipient(given: str) -> str:
    """The address of a recipient field: `rfc822; a@b`, `utf-8; a\\x{F6}@b` (RFC 6533), or bare."""
    _, semicolon, address = given.partition(";")
    address = (address if semicolon else given).strip().strip("<>").strip()
    address = _HEX.sub(lambda found: chr(int(found[1], 16)) if int(found[1], 16) < 0xD800 else "", address)
    return shown(address, 320)


def _about(parts: Sequence[Part]) -> tuple[str, ...]:
    found: list[str] = []
    for part in parts[:50]:
        if part.mime in _RETURNED:
            data = part.body()[:_LARGEST] if part.headers.has("content-transfer-encoding") else part.encoded[:_LARGEST]
            headers, _ = split(data.lstrip(b"\r\n \t"), 0, len(data))
            found.extend(ids(headers.get("message-id"))[:1])
    return tuple(dict.fromkeys(found))


def _named(text: str) -> tuple[str, ...]:
    """The ids of mails whose header stands in the text."""
    found = [one for given in _MESSAGE_ID.findall(text[:200_000])[:10] for one in ids(given)]
    return tuple(dict.fromkeys(found))


def _receipt(part: Part, about: tuple[str, ...]) -> Report:
    headers, _ = split(body := part.body()[:_LARGEST].lstrip(b"\r\n"), 0, len(body))
    original = ids(headers.get("original-message-id"))[:1]
    disposition = headers.get("disposition").partition(";")[2].partition("/")[0].strip().lower()
    who = _recipient(headers.get("original-recipient")) or _recipient(headers.get("final-recipient"))
    return Report(ReportKind.READ, (Fate(who, shown(disposition, 30) or "displayed"),), original or about)


def _complaint(part: Part, about: tuple[str, ...]) -> Report:
    headers, _ = split(body := part.body()[:_LARGEST].lstrip(b"\r\n"), 0, len(body))
    who = _recipient(headers.get("original-rcpt-to"))
    kind = shown(headers.get("feedback-type"), 30).lower()
    return Report(ReportKind.ABUSE, (Fate(who, kind or "abuse"),), about)


def _told(failed: str, subject: str, text: str) -> Iterator[Fate]:
    """The fates that a report in words tells: of Exim's header, of qmail's paragraphs, or of the words around codes."""
    own = _COPY.split(text, maxsplit=1)[0]
    beginning = own[:3000]
    delayed = bool(_DELAYED.search(subject) or (_DELAYED.search(beginning) and not _FAILED.search(beginning)))
    if failed:
        who = [found[1] for found in _WHO.finditer(decode_words(one_line(failed)))][:_MOST_FATES]
        said = {address: _near(own, address) for address in who}
    elif told := _QMAIL.findall(own):
        said = {address: shown(words, 1000) for address, words in told[:_MOST_FATES]}
    else:
        said = {}
        for line in own.split("\n")[:400]:
            found = _WHO.search(line[:1000])
            if found is not None and found[1] not in said and len(said) < 10:
                near = _near(own, found[1])
                if _CODE.search(near) or _REPLY.search(near):
                    said[found[1]] = near
    for address, words in said.items():
        code = _CODE.search(words)
        temporary = code is not None and code[1] == "4"
        action = "delayed" if delayed or temporary else "failed"
        yield Fate(shown(address, 320), action, code[0] if code is not None else "", words)


def _near(text: str, address: str) -> str:
    """What is said next to the address: the rest of its paragraph and the one behind."""
    at = text.find(address)
    if at < 0:
        return ""
    behind = text[at + len(address) : at + len(address) + 1500].lstrip(">: \t\n")
    return shown("\n\n".join(behind.split("\n\n")[:2]), 600)
