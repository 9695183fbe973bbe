"""All parts of one email network, put together: made without input or output, started, opened, closed."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from bridge_core.api.errors import TransientError
from bridge_core.api.host import Host
from bridge_core.api.network import Inbox
from bridges.email.absent import Absent
from bridges.email.admitting import Admitting
from bridges.email.ahead import Ahead, Owners
from bridges.email.amending import Amending
from bridges.email.arrivals import Arrivals
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.composer import MailComposer
from bridges.email.composing.submitted import SubmittedMails
from bridges.email.config.network import EmailConfig
from bridges.email.contacts import Contacts
from bridges.email.delivery.counts import Counts
from bridges.email.delivery.names import DnsNames
from bridges.email.delivery.office import PostOffice, signing_keys
from bridges.email.delivery.rows import Row
from bridges.email.desk import Desk
from bridges.email.directory import PeopleDirectory
from bridges.email.gate import Gate
from bridges.email.heads import Heads
from bridges.email.lists import Lists
from bridges.email.mailboxes import Mailbox, Mailboxes
from bridges.email.membership import Memberships
from bridges.email.notices import Notices
from bridges.email.parsing.pool import Parser
from bridges.email.participants import Participants
from bridges.email.passwords import StoredPasswords
from bridges.email.ports import Reply
from bridges.email.recipients import Recipients
from bridges.email.requests import Requests
from bridges.email.sent import SentMails
from bridges.email.smtp.parts import Parts
from bridges.email.smtp.server import Doors
from bridges.email.sorting import Sorting
from bridges.email.spool import Spool
from bridges.email.submissions import Submissions, writer
from bridges.email.tally import Tally
from bridges.email.threads import Threads
from bridges.email.trust.inspector import MailInspector
from bridges.email.trust.names import Resolver
from bridges.email.writing import Writing

_SECRET: Final = "secret"  # noqa: S105 - a key's name
_SHUT: Final = 10.0
"""Seconds that mails under way get when the doors are shut."""


class Station:
    """Owns the parts of a network between the connector's start and stop. `open` and `close` are of the doors."""

    def __init__(
        self,
        config: EmailConfig,
        host: Host,
        inbox: Inbox,
        mailboxes: Mailboxes,
        secret: bytes,
        counts: Counts | None = None,
        tally: Tally | None = None,
    ) -> None:

        async def keep(rows: Mapping[str, bytes]) -> None:
            await inbox.receive((), state=rows)

        self.host = host
        self._config = config
        self._inbox = inbox
        self.mailboxes = mailboxes
        self.threads = Threads(host.kv, secret, keep)
        receiving = config.receiving
        most = {"most_mails": receiving.most_mails, "most_bytes": receiving.most_bytes}
        self.spool = Spool(host, **most, tally=tally, aside=receiving.aside)
        self.passwords = StoredPasswords(host.secrets, mailboxes)
        self._memberships = Memberships(host, mailboxes, self.passwords)
        tokens = Tokens(secret)
        resolver = Resolver(config.trust.dns)
        self.post = PostOffice(
            host,
            inbox,
            tokens,
            config.delivery,
            config.hostname,
            names=DnsNames(resolver),
            learnt=self._learnt,
            counts=counts,
        )
        returned = self.post.returned
        self.contacts = Contacts(host.kv)
        self.lists = Lists(host.kv)
        self.requests = Requests(host, self.spool, receiving.held)
        self.admitting = Admitting(mailboxes, self.contacts, self.requests)
        keys = signing_keys(config.delivery)
        composer = MailComposer(host, tokens, config.composing, bridge=config.hostname, keys=keys)
        absent, sent, notices, outbox = Absent(host.kv), SentMails(host.kv), Notices(inbox), self.post.outbox
        self.heads = Heads(host.kv, host.clock)
        self.recipients = Recipients(mailboxes, self.threads, self.lists, absent, self.contacts)
        self.people = Participants(self.recipients, self.threads, absent, notices, inbox)
        self.writing = Writing(
            mailboxes, self.threads, sent, self.contacts, self.recipients, absent, self.heads, composer, outbox
        )
        self.amending = Amending(config.composing, self.recipients, self.threads, sent, composer, outbox, notices)
        self._parser = Parser(config.parsing)
        sorting = Sorting(mailboxes, self.threads)
        arrivals = Arrivals(host, inbox, mailboxes, self.threads, sorting, self.contacts, returned)
        ready = SubmittedMails(host.blobs, host.clock, tokens, keys, config.composing.max_size)
        submissions = Submissions(mailboxes, self.threads, sorting, self.contacts, ready, self.post.outbox, inbox)
        self._desk = Desk(host, self.spool, self._parser, arrivals, self.requests, mailboxes, submissions)
        self.owners = Owners(host.kv)
        ahead = Ahead(host, mailboxes, on=config.provide.ahead)
        directory = PeopleDirectory(mailboxes, self.threads, self.contacts, returned, ahead, self._outgoing)
        self.post.keep_near(directory, self.spool, config.domains)
        self.inspector = MailInspector(config.trust, config.domains, directory, host, resolver)
        self._parts = Parts(
            config.hostname,
            directory,
            self.inspector,
            self.passwords,
            Gate(self.spool, self.requests, mailboxes, self.contacts, self.threads),
            host.blobs,
            host.clock,
            host.tasks,
            config.receiving,
            config.domains[0],
        )
        self.doors: Doors | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def made(
        cls,
        config: EmailConfig,
        host: Host,
        inbox: Inbox,
        mailboxes: Mailboxes,
        counts: Counts | None = None,
        tally: Tally | None = None,
    ) -> "Station":
        """All of it, as the settings say. `counts` and `tally` go on over restarts of the network."""
        return cls(config, host, inbox, mailboxes, await secret_of(host), counts, tally)

    def kept(self) -> tuple[int, int, int]:
        """How many mails wait to be shown, are in the quarantine, and wait for a word about who wrote them."""
        return self.spool.waiting, self.spool.aside.mails, self.requests.mails

    async def _learnt(self, row: Row, given: str) -> None:
        """A relay gave a mail another id: answers will name that one, unless another mail has it.

        Takes the mailbox's turn: nobody who holds the turn of the queue may wait for it.
        """
        mailbox = row.about.mailbox.key
        async with self.threads.turn(mailbox):
            thread = await self.threads.of(mailbox, row.about.message)
            if thread is not None and await self.threads.place(mailbox, given) is None:
                await self.threads.keep(self.threads.rows(thread, (given,), author=mailbox))

    async def _outgoing(self, mailbox: Mailbox, address: Address, others: Sequence[Address]) -> Reply | None:
        """Whether a mail program may send to somebody elsewhere, as the mailbox."""
        return await self.post.outbox.refusal(mailbox.address, writer(mailbox), address, others)

    async def open(self) -> None:
        """Take mail. Raises TransientError in words when a door cannot be opened. Idempotent."""
        if self.doors is not None:
            return
        await self.spool.start()
        await self.requests.start()
        self.inspector.start()
        doors = Doors(self._parts)
        try:
            await doors.start()
        except TransientError as error:
            raise TransientError(f"networks.{self.host.network}: {error}") from error
        self.doors = doors
        self.post.start()
        spawn = self.host.tasks.spawn
        self._tasks = [
            spawn(self._desk.run(), "email desk"),
            spawn(self.spool.tend(), "email spool"),
            spawn(self.requests.tend(self.mailboxes, self._inbox), "email requests"),
            # Only now all mailboxes of logins are known.
            spawn(self._memberships.run(), "email members"),
        ]

    async def close(self) -> None:
        """Take no more; what was accepted waits for the next start. Idempotent."""
        doors, self.doors = self.doors, None
        if doors is not None:
            await doors.stop(_SHUT)
        await self.inspector.close()
        if doors is not None:
            await self.post.stop(_SHUT)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.spool.close()
        await self._parser.stop()


async def secret_of(host: Host) -> bytes:
    """The network's own secret, made once."""
    found = await host.secrets.get(_SECRET)
    if found is None:
        found = secrets.token_bytes(32)
        await host.secrets.put(_SECRET, found)
    return found
