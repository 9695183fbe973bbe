"""What the parts of the email adapter hand to one another: an envelope, what was found out about it, and the mail.

    server ─ Envelope, raw bytes ─> trust ─ Verdict ─> spool ─> parser ─ Mail ─> mapping ─> events

All frozen, all without input or output. Times are milliseconds since 1970 (UTC), sizes bytes.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from bridge_core.api.content import RichText
from bridges.email.codec.addresses import Address
from bridges.email.codec.outcomes import Policy as Policy
from bridges.email.codec.outcomes import Result as Result


class Door(StrEnum):
    """Where a mail came in."""

    SMTP = "smtp"
    """From any mail server: it is verified."""
    SUBMISSION = "submission"
    """From a user or script that gave a password."""
    LMTP = "lmtp"
    """From the admin's own mail server, which has verified it."""
    IMPORT = "import"
    """From a file of old mails."""
    LOCAL = "local"
    """From another mailbox of the bridge, by its own outbox."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """How a mail was handed over. `id` is our own, unique, and stands in the Received header and in logs.

    `sender` is None for the null reverse-path. `recipients` were all accepted. `login` is who gave a password.
    `size` are the bytes of the raw mail as it is stored, with our own Received header on top.
    `digest` is the SHA-256, in hex, of the mail without the trace headers on top: the same when it is given again.
    `has_id`: it has a Message-ID. Who makes an id for one that has none puts `id` into it: two mails that say the same
    are two mails (a script's report of each night, say).
    """

    id: str
    door: Door
    sender: Address | None
    recipients: tuple[Address, ...]
    peer: str
    """IP address it came from; empty for a unix socket."""
    helo: str
    received_at: int
    size: int
    tls: bool = False
    login: str | None = None
    utf8: bool = False
    digest: str = ""
    has_id: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM signature that was checked."""

    domain: str
    selector: str
    result: Result
    reason: str = ""
    covered: tuple[str, ...] = ()
    """Those of the sensitive header fields (`trust.coverage`) that it covers."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who the author of a mail was found to be.

    `verified`: the domain of the one author address answers for the mail (DMARC passes, or an aligned DKIM or SPF
    result does where the domain publishes no policy). Only then may the author's own ghost speak. `policy` is what the
    domain wants done otherwise. `source` is empty where we checked ourselves, else the authserv-id that was trusted.
    """

    author: Address | None = None
    spf: Result = Result.NONE
    signatures: tuple[Signature, ...] = ()
    dmarc: Result = Result.NONE
    policy: Policy = Policy.NONE
    verified: bool = False
    source: str = ""
    reason: str = ""
    """In words, for people: why it is not verified. Empty when it is."""
    spam: bool = False
    """What a filter thinks of it."""
    loose: tuple[str, ...] = ()
    """Header fields that are there, and that whatever proves the author does not cover: anybody may have put them
    on a mail of theirs. What they say is not believed."""


@dataclass(frozen=True, slots=True)
class MailFile:
    """A file of a mail; its bytes come beside it, in the order of `Mail.files`.

    `inline`: it is shown at its place in the text, which refers to it by its `cid`: no two inline files have the same.
    Otherwise `cid` is the Content-ID that it was sent with.
    """

    name: str
    mime: str
    size: int
    cid: str = ""
    inline: bool = False


class ReportKind(StrEnum):
    """What a report tells."""

    DELIVERY = "delivery"
    READ = "read"
    ABUSE = "abuse"


@dataclass(frozen=True, slots=True)
class Fate:
    """What a delivery report says of one recipient (RFC 3464): `action` is failed, delayed, delivered, relayed or
    expanded; `status` the enhanced code, `text` the words of the server that said so."""

    recipient: str
    action: str
    status: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A mail about another mail: `about` are the Message-IDs that it names."""

    kind: ReportKind
    fates: tuple[Fate, ...] = ()
    about: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailReaction:
    """A mail that is a reaction (RFC 9078, or the form of Gmail) to the one it is in reply to.

    `key` is empty where all earlier ones are taken back. `replaces`: it takes the place of the person's earlier ones.
    """

    key: str
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """A parsed mail. Everything in it is a stranger's word, bounded and cleaned of control characters.

    `trimmed` says that quotes or a signature were left out of `text`, and then `whole` is all of it in plain words.
    `id` is without angle brackets, and made from a hash where the mail has none (`made_id`).
    """

    id: str
    made_id: bool = False
    authors: tuple[Address, ...] = ()
    """Of From. A ghost needs exactly one."""
    sender: Address | None = None
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    subject: str = ""
    date: int | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    former_ids: tuple[str, ...] = ()
    """Ids that it had before a relay gave it another (X-Microsoft-Original-Message-ID and the like)."""
    text: RichText = ()
    """What is new in it. A `Picture` whose source is `cid:X` is the inline file of that `cid`, at its place."""
    quoting: RichText = ()
    """The same with what it quotes, where something was left out: for the first mail of a thread that is known. Empty
    where it is no different."""
    trimmed: bool = False
    whole: str = ""
    files: tuple[MailFile, ...] = ()
    reaction: MailReaction | None = None
    report: Report | None = None
    edits: str = ""
    """Id of the mail that this one corrects (Chat-Edit)."""
    deletes: tuple[str, ...] = ()
    """Ids of mails that its author takes back (Chat-Delete)."""
    list_id: str = ""
    list_name: str = ""
    list_post: str = ""
    unsubscribe: tuple[str, ...] = ()
    """The addresses of List-Unsubscribe; the first is https where `one_click` (RFC 8058)."""
    one_click: bool = False
    automatic: bool = False
    """It was sent by a program, or wants no automatic answer (RFC 3834): never answer or bounce it by ourselves."""
    hops: int = 0
    """How many Received headers it has."""
    bridges: tuple[str, ...] = ()
    """Ids of bridges that it has crossed (X-Matrix-Bridge)."""
    crossed: int = 0
    """Over how many bridges it says that it came."""
    messenger: bool = False
    """Its author's program is one that knows corrections and withdrawals of mails (Chat-Version)."""
    reads_reactions: bool = False
    """Its author's program is known to understand mails that are reactions."""
    remarks: tuple[str, ...] = field(default=())
    """What could not be read or was left out, in words for people."""
