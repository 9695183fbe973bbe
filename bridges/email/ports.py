"""What the parts of the email adapter implement for one another: protocols, and the frozen values that cross them.

    Directory, Passwords   mapping          asked by the doors: who is there, who may come in
    Inspector              trust            asked by the doors: may this come in, and who wrote it
    Intake                 the spool        takes a mail over, durably
    Composer               composing        makes the bytes of a mail
    Outbox, Returned       delivery         sends mails, and takes what comes back
    Transport              delivery         hands a mail to other servers

All methods that wait are bounded by who implements them, and by the doors again. One that fails (raises) is answered
with a temporary error by the doors: nothing is let in by a mistake.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from bridge_core.api.content import Content
from bridge_core.api.events import RemoteEvent
from bridge_core.api.ids import ChatId, LoginId, MessageId, UserId
from bridges.email.codec.addresses import Address
from bridges.email.mail import Door, Envelope, Mail, Verdict

OpenRaw: TypeAlias = Callable[[], AsyncIterator[bytes]]
"""Opens a raw mail for reading from its start, in chunks; may be called again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of an SMTP or LMTP server: its code, its enhanced status code (RFC 3463), and words.

    `status` is empty where the protocol has none (220, 334, 354). `text` is one line or several, split by `\\n`; the
    serializer refuses every other control character.
    """

    code: int
    status: str
    text: str

    @property
    def positive(self) -> bool:
        """It says yes (2xx), or that more is wanted (3xx)."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """It says no for now (4xx)."""
        return 400 <= self.code < 500


@dataclass(frozen=True, slots=True)
class Visit:
    """Who is on the line. `peer` is an IP address, empty for a unix socket. `login` is who gave a password.

    `accepted` are the recipients that the mail of a login has already, while the next one is asked about.
    """

    door: Door
    peer: str
    helo: str
    tls: bool = False
    login: str | None = None
    accepted: tuple[Address, ...] = ()


class Directory(Protocol):
    """Which addresses there are, and whose."""

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        """None: mail for it is accepted. Else the answer that refuses it (550 5.1.1, 452 4.2.2, 550 5.7.1 ...).

        No relaying: an address elsewhere is accepted only from a login that may write to it. `postmaster` without a
        domain comes with the first domain of the network; postmaster is always accepted. `sender` is
        None for the null reverse-path, which is always accepted.
        """

    async def may_send_as(self, login: str, address: Address) -> bool:
        """Whether a login may use the address as reverse-path or author."""


class Inspector(Protocol):
    """Whether a mail may come in, and who wrote it. None lets it pass; a Reply is the answer that refuses it."""

    async def connected(self, peer: str, door: Door) -> Reply | None:
        """Before the greeting. A Reply is said instead of it, and the connection closed."""

    async def sender(self, visit: Visit, sender: Address | None) -> Reply | None:
        """At MAIL."""

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        """At RCPT, after the directory has accepted it."""

    async def mail(self, envelope: Envelope, open_raw: OpenRaw) -> Verdict | Reply:
        """After the last byte, before the 250.

        The raw mail begins with the Received header of our own; all else is as it came.
        """


class Passwords(Protocol):
    """The passwords of those who may send."""

    async def check(self, user: str, password: str, peer: str) -> str | None:
        """The login's id, or None: unknown user and wrong password look alike, and take the same time.

        The doors hold back-off per peer and account, so this may cost as much as it likes, off the loop.
        """


class Intake(Protocol):
    """Takes mails over."""

    async def accept(self, envelope: Envelope, verdict: Verdict, blob: str) -> None:
        """Return when the mail is committed: from then on it is ours, whatever comes.

        `blob` is the raw mail in `host.blobs`; it belongs to the intake with the call, and is dropped by it where it
        is not needed (given twice, or an error). Raises BackpressureError when there is no room (452 4.3.1),
        TransientError when the store has trouble (451 4.3.0).
        """

    def confirmed(self, envelope: Envelope) -> None:
        """The client is known to have got its 250: should the same come again, it is meant."""

    async def room(self, size: int) -> bool:
        """Whether a mail of that size would be taken now: asked before it is transferred. From memory."""


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A composed mail. `id` is our own; `message_id` stands in it, without brackets. `blob` holds its bytes.

    `sender` is the reverse-path, None for the null one. `utf8`: it needs SMTPUTF8; `eight_bit`: it needs 8BITMIME.
    `head` are header fields that go before the blob's bytes (signatures, which are known last); `size` is of both.
    """

    id: str
    message_id: str
    sender: Address | None
    blob: str
    size: int
    utf8: bool = False
    eight_bit: bool = False
    head: bytes = b""
    revision: str = ""
    """Which edit it says the mail anew for; empty for the mail as it was written first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient: the reply of the server that answered last, or the words of what went wrong.

    `code` is 0 where no server answered. `unknown`: the connection was lost after the final dot; it may have arrived.
    `message_id` is the id that the server is known to have given the mail instead of ours; empty where it kept it.
    """

    reply: Reply
    server: str = ""
    unknown: bool = False
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """Which message of which room a mail is: where its fate is told (RemoteStatus). `user` is who wrote it.

    `mailbox` is the address that it is from; `thread` names its conversation, for the limits of each.
    """

    chat: ChatId
    message: MessageId
    user: UserId
    mailbox: Address
    thread: str = ""
    receiver: LoginId | None = None


class Outbox(Protocol):
    """The durable queue of mails on their way out. Implemented by delivery, used by the mapping."""

    async def submit(
        self, mail: OutgoingMail, recipients: Sequence[Address], about: About, *, hold: float | None = None
    ) -> None:
        """Return when it is committed, one row for each recipient. The same `mail.id` again changes nothing.

        It is sent no sooner than `hold` seconds from now (None: as configured; 0 for what nobody can change). The blob
        belongs to the outbox with the call. Raises RejectedError in words: a limit, a suppressed recipient, a loop.
        """

    async def replace(self, message: MessageId, mailbox: Address, mail: OutgoingMail) -> bool:
        """Send this instead of what the mailbox wrote, to the same recipients, held anew.

        False when a part of it is on its way already.

        True also where the mail says this revision already, on its way or not: the same edit, tried again.
        """

    async def cancel(self, message: MessageId, mailbox: Address) -> bool:
        """Send nothing of what the mailbox wrote (others know its mails by the same id).

        False when a part of it is on its way already; what is not yet, stays.
        """


class Returned(Protocol):
    """Takes what comes back to the reverse-paths of our mails (VERP). Implemented by delivery, used by the mapping."""

    def token(self, address: Address) -> str | None:
        """The token, where the address is such a reverse-path of ours, by its form. Does not wait."""

    async def events(self, token: str, mail: Mail) -> Sequence[RemoteEvent]:
        """What a report tells; nothing where the token is unknown. The same mail may come again after a crash."""


class Transport(Protocol):
    """Hands mails to other servers."""

    async def deliver(self, mail: OutgoingMail, recipients: Sequence[Address]) -> Mapping[Address, Outcome]:
        """One try for all of them, which share a destination. An outcome for each; never raises for what servers do."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written: the content, from whom, to whom, and what it belongs to. Ids are without brackets.

    `automatic` mail says so in its headers and asks for no answer. `edits` and `redacts` name the mail that this one
    corrects or takes back; `reacts` makes it a reaction to the first of `in_reply_to`.
    """

    key: str
    """Of this mail and no other: the Message-ID and `OutgoingMail.id` are made from it, so that a second try, or a
    correction before it is sent, is the same mail."""
    content: Content
    author: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...] = ()
    reply_to: Address | None = None
    subject: str = ""
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    quoted: str = ""
    """What is answered, in plain words, for an excerpt; empty for none."""
    edits: str = ""
    redacts: str = ""
    reacts: str = ""
    automatic: bool = False
    list_id: str = ""
    written_at: int = 0
    signature: str = ""
    """Plain text below the mail's own; mail programs know it for what it is."""
    hops: int = 0
    """Over how many bridges it came."""


class Composer(Protocol):
    """Makes mails."""

    async def compose(self, draft: Draft) -> OutgoingMail:
        """Write it into `host.blobs`. The same `key` gets the same ids. Raises RejectedError in words."""
