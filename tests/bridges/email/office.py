"""The mapping of an email network without doors and without an outbox of its own: hosts, inboxes that remember."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Membership, RemoteEvent, RemoteMessage
from bridge_core.api.ids import ChatId, EventId, LoginId, MessageId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixMember,
    MatrixMessage,
    MatrixReaction,
    MatrixRedaction,
    MatrixSender,
    MessageRef,
)
from bridge_core.api.network import Accepted, Login, Sent
from bridge_core.content import to_plain
from bridge_core.testing.memory import MemoryBlobs, MemoryKV
from bridges.email.absent import Absent
from bridges.email.amending import Amending
from bridges.email.arrivals import Arrivals, Shown
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.config.network import EmailConfig
from bridges.email.contacts import Contacts
from bridges.email.heads import Heads
from bridges.email.lists import Lists
from bridges.email.mail import Door, Envelope, Mail, Result, Signature, Verdict
from bridges.email.mailboxes import Mailboxes
from bridges.email.notices import Notices
from bridges.email.participants import Participants
from bridges.email.people import Author
from bridges.email.ports import About, Draft, OutgoingMail
from bridges.email.recipients import Recipients
from bridges.email.sent import SentMails
from bridges.email.sorting import Sorting
from bridges.email.threads import Threads
from bridges.email.writing import Writing
from tests.bridges.email.mailing import HandClock

NOW = 1_764_000_000_000
ALICE, BEN, EVE = UserId("@alice:hs.test"), UserId("@ben:hs.test"), UserId("@eve:hs.test")
BOX = "support@example.org"
CONFIG: dict[str, Any] = {
    "hostname": "mail.example.org",
    "domains": ["example.org"],
    "mailboxes": {BOX: {"members": [ALICE, BEN], "aliases": ["help@example.org"]}},
    "provide": {"address": "{localpart}@example.org"},
}


class Rooms:
    """Which chats were opened, and for whom."""

    def __init__(self) -> None:
        self.opened: dict[str, tuple[UserId, ...]] = {}

    async def open(self, chat: ChatId, members: Sequence[UserId] = ()) -> None:
        self.opened.setdefault(chat, tuple(members))


class OfficeHost:
    """The parts of `Host` that the mapping uses."""

    def __init__(self) -> None:
        self.kv = MemoryKV()
        self.blobs = MemoryBlobs()
        self.rooms = Rooms()
        self.clock = HandClock()


class KeptInbox:
    """Stores events and rows in one step, as the core does, each event once."""

    def __init__(self, kv: MemoryKV) -> None:
        self.events: list[RemoteEvent] = []
        self.fails = 0
        self._kv = kv

    async def receive(
        self, events: Sequence[RemoteEvent], *, cursor: bytes | None = None, state: Mapping[str, bytes] | None = None
    ) -> list[Accepted]:
        if self.fails:
            self.fails -= 1
            raise RejectedError("the store is gone")
        self.events += events
        self._kv.values.update(state or {})
        return [Accepted(number) for number, _ in enumerate(events)]

    @property
    def messages(self) -> list[RemoteMessage]:
        return [event for event in self.events if isinstance(event, RemoteMessage)]


class PlainComposer:
    """Makes no bytes: remembers what was to be written."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    async def compose(self, draft: Draft) -> OutgoingMail:
        self.drafts.append(draft)
        return OutgoingMail(draft.key, f"{draft.key}@example.org", draft.author, "blob:out", 100)


class KeptOutbox:
    """Sends nothing: remembers what it was given."""

    def __init__(self) -> None:
        self.mails: dict[str, tuple[OutgoingMail, tuple[Address, ...], About]] = {}
        self.held = True
        self.replaced: list[tuple[MessageId, OutgoingMail]] = []
        self.cancelled: list[MessageId] = []

    async def submit(
        self, mail: OutgoingMail, recipients: Sequence[Address], about: About, *, hold: float | None = None
    ) -> None:
        self.mails.setdefault(mail.id, (mail, tuple(recipients), about))

    async def replace(self, message: MessageId, mailbox: Address, mail: OutgoingMail) -> bool:
        if self.held:
            self.replaced.append((message, mail))
        return self.held

    async def cancel(self, message: MessageId, mailbox: Address) -> bool:
        if self.held:
            self.cancelled.append(message)
        return self.held


class KeptAttempt:
    """`Attempt` in memory."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.number = 1
        self.state: bytes | None = None

    async def save(self, state: bytes) -> None:
        self.state = state


class NothingReturned:
    """No reverse-path of ours, but those that begin with `b+`."""

    def __init__(self) -> None:
        self.told: list[RemoteEvent] = []

    def token(self, address: Address) -> str | None:
        return address.tag() if address.without_tag().local == "b" else None

    async def events(self, token: str, mail: Mail) -> Sequence[RemoteEvent]:
        return self.told


class Office:
    """One email network's mapping."""

    def __init__(self, **config: Any) -> None:
        self.config = EmailConfig(**{**CONFIG, **config})
        self.host = OfficeHost()
        self.inbox = KeptInbox(self.host.kv)
        self.mailboxes = Mailboxes(self.config)
        self.threads = Threads(self.host.kv, b"secret", self._keep)
        self.contacts = Contacts(self.host.kv)
        self.composer, self.outbox, self.returned = PlainComposer(), KeptOutbox(), NothingReturned()
        self.arrivals = Arrivals(
            self.host,  # type: ignore[arg-type]
            self.inbox,  # type: ignore[arg-type]
            self.mailboxes,
            self.threads,
            Sorting(self.mailboxes, self.threads),
            self.contacts,
            self.returned,
        )
        sent = SentMails(self.host.kv)
        self.lists = Lists(self.host.kv)
        absent, notices, inbox = Absent(self.host.kv), Notices(self.inbox), self.inbox  # type: ignore[arg-type]
        self.heads = Heads(self.host.kv, self.host.clock)
        self.recipients = Recipients(self.mailboxes, self.threads, self.lists, absent, self.contacts)
        self.people = Participants(self.recipients, self.threads, absent, notices, inbox)  # type: ignore[arg-type]
        self.writing = Writing(
            self.mailboxes,
            self.threads,
            sent,
            self.contacts,
            self.recipients,
            absent,
            self.heads,
            self.composer,
            self.outbox,
        )
        settings = self.config.composing
        self.amending = Amending(settings, self.recipients, self.threads, sent, self.composer, self.outbox, notices)
        self.commits: list[Mapping[str, bytes]] = []
        self.signatures: tuple[Signature, ...] = ()
        self.attempts: dict[str, KeptAttempt] = {}
        self.waiting: list[tuple[str, str]] = []
        self.held_for: list[list[str]] = []
        self.held: str | None = "e1"
        """What names a request; None: as many wait as may."""
        self.shown = Shown()
        """What the last mail became."""
        self._numbers = 0

    async def _keep(self, rows: Mapping[str, bytes]) -> None:
        await self.inbox.receive((), state=rows)
        self.commits.append(rows)

    def attempt(self, key: str | None = None) -> "KeptAttempt":
        """One at a delivery: with a key, the same again."""
        self._numbers += 1
        return self.attempts.setdefault(key or f"k{self._numbers}", KeptAttempt(key or f"k{self._numbers}"))

    def login(self, user: UserId = ALICE) -> LoginId:
        """A Matrix user's own mailbox."""
        address = self.mailboxes.address_for(user, "hs.test")
        assert address is not None
        self.mailboxes.add(Login(LoginId(address.key), user, "Alice", provided=True))
        return LoginId(address.key)

    async def comes(
        self,
        mail: Mail,
        *to: str,
        verified: bool = True,
        digest: str = "",
        login: str | None = None,
        files: Sequence[bytes] = (),
        door: Door = Door.SMTP,
        sender: str | None = None,
        loose: Sequence[str] = (),
    ) -> list[RemoteEvent]:
        """A mail is taken over and shown; the events that it became."""
        self._numbers += 1
        recipients = tuple(parse_address(one) for one in to or (BOX,))
        door = Door.SUBMISSION if login else door
        author = mail.authors[0] if mail.authors else None
        reverse = author if sender is None else parse_address(sender) if sender else None
        envelope = Envelope(f"e{self._numbers}", door, reverse, recipients, "192.0.2.1", "x", NOW, 100, login=login)
        result = Result.PASS if verified else Result.FAIL
        verdict = Verdict(
            author,
            signatures=self.signatures,
            dmarc=result,
            verified=verified,
            reason="" if verified else "it failed",
            loose=tuple(loose),
        )
        before = len(self.inbox.events)

        async def stored(number: int) -> str:
            async def chunks() -> AsyncIterator[bytes]:
                yield files[number]

            return await self.host.blobs.put(chunks(), 1 << 20)

        async def hold(mailbox: str, author: Author, recipients: Sequence[Address]) -> str | None:
            self.waiting.append((mailbox, author.id))
            self.held_for.append([str(one) for one in recipients])
            return self.held

        self.shown = await self.arrivals.show(envelope, verdict, digest or mail.id, mail, stored, hold)
        return self.inbox.events[before:]

    async def says(
        self,
        text: str,
        chat: str = BOX,
        user: UserId = ALICE,
        *,
        thread: str | None = None,
        reply_to: str | None = None,
        key: str | None = None,
        own: LoginId | None = None,
    ) -> Sent:
        """Somebody on Matrix writes."""
        self._numbers += 1
        event = EventId(f"${self._numbers}")
        message = MatrixMessage(
            RoomId("!r"),
            event,
            ChatId(chat),
            MatrixSender(user, "Alice"),
            Content((Plain(text),)),
            NOW,
            _ref(reply_to),
            _ref(thread),
        )
        return await self.writing.send(message, self.attempt(key), own)

    async def edits(self, target: str, text: str, user: UserId = ALICE, *, key: str | None = None) -> Sent:
        """Somebody changes what they wrote."""
        where = (RoomId("!r"), EventId(f"$edit {key}"), ChatId(BOX), MatrixSender(user, "Alice"))
        found = _ref(target)
        assert found is not None
        return await self.amending.edit(MatrixEdit(*where, found, Content((Plain(text),)), NOW), self.attempt(key))

    async def takes_back(self, target: str, reaction: str | None = None) -> Sent:
        """Somebody takes back what they wrote."""
        where = (RoomId("!r"), EventId("$e"), ChatId(BOX), MatrixSender(ALICE, "Alice"))
        found = _ref(target)
        assert found is not None
        return await self.amending.redact(MatrixRedaction(*where, found, NOW, reaction=reaction), self.attempt())

    async def removes(
        self, person: str, chat: str = BOX, user: UserId = ALICE, change: Membership = Membership.KICK
    ) -> Sent:
        """Somebody changes whether a ghost is in a room."""
        where = (RoomId("!r"), EventId(f"${change} {person}"), ChatId(chat), MatrixSender(user, "Alice"))
        return await self.people.moderate(MatrixMember(*where, change, NOW, RemoteUserId(person)), None)

    async def reacts(self, target: str, key: str) -> Sent:
        """Somebody reacts."""
        where = (RoomId("!r"), EventId("$e"), ChatId(BOX), MatrixSender(ALICE, "Alice"))
        found = _ref(target)
        assert found is not None
        return await self.writing.react(MatrixReaction(*where, found, key, NOW), "reaction")


def _ref(message_id: str | None) -> MessageRef | None:
    return MessageRef(MessageId(message_id), EventId("$x")) if message_id is not None else None


def mail(message_id: str = "one@x.net", text: str = "Hello", *, author: str = "bob@x.net", **fields: Any) -> Mail:
    """A parsed mail of Bob's to support."""
    settings: dict[str, Any] = {"subject": "The invoice", "to": (parse_address(BOX),), **fields}
    return Mail(message_id, authors=(parse_address(author).named("Bob"),), text=(Plain(text),), **settings)


def text_of(message: RemoteMessage) -> str:
    """Its words."""
    return to_plain(message.content.text)
