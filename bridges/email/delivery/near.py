"""Mail from one mailbox of the bridge to another: put into the spool at once, by no other server's leave."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import BackpressureError
from bridge_core.api.host import Blobs, Clock
from bridges.email.codec.addresses import Address
from bridges.email.delivery.courier import Carrier
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.ports import Directory, Intake, Outcome, OutgoingMail, Reply, Visit
from bridges.email.smtp.trace import Passing, received_header
from bridges.email.trust.head import read_mail

log = structlog.get_logger(__name__)
HERE: Final = "mailboxes of this bridge"
_TAKEN: Final = Reply(250, "2.0.0", "it is in this bridge's own spool")
_FULL: Final = Reply(452, "4.3.1", "no room now for mails that wait to be shown")


class NearCarrier:
    """A `Carrier` that keeps what is for our own mailboxes, and gives all else to the other one.

    Handed over again after a crash, the spool knows the mail: its sender has the row's own token, its bytes are those
    of the blob. With `smarthost` an address of our domains that is no mailbox here may be one of the server there.
    """

    def __init__(
        self,
        others: Carrier,
        domains: Collection[str],
        directory: Directory,
        intake: Intake,
        blobs: Blobs,
        clock: Clock,
        hostname: str,
        *,
        smarthost: bool,
    ) -> None:
        self._others = others
        self._domains = domains
        self._directory = directory
        self._intake = intake
        self._blobs = blobs
        self._clock = clock
        self._hostname = hostname
        self._smarthost = smarthost

    def destination(self, mail: OutgoingMail, recipient: Address, domain: str) -> str:
        """All of our own domains are one."""
        return HERE if recipient.domain in self._domains else self._others.destination(mail, recipient, domain)

    async def deliver(
        self, mail: OutgoingMail, recipients: Sequence[Address], destination: str = ""
    ) -> Mapping[Address, Outcome]:
        """As `Transport.deliver`. Raises as the spools do: then nothing was handed over, or it is known again."""
        if destination != HERE:
            return await self._others.deliver(mail, recipients, destination)
        return {one: await self._near(mail, one) for one in recipients}

    async def _near(self, mail: OutgoingMail, recipient: Address) -> Outcome:
        author = await self._author(mail)
        # Not by its reverse-path, which is a token: the mailbox may know its author, and take nobody else's mail.
        asking = author if author is not None and mail.sender is not None else mail.sender
        refusal = await self._directory.recipient(Visit(Door.LOCAL, "", self._hostname), asking, recipient)
        if refusal is not None:
            if refusal.status == "5.1.1" and self._smarthost:
                return (await self._others.deliver(mail, [recipient]))[recipient]
            return Outcome(refusal, self._hostname)
        try:
            await self._handed_over(mail, recipient, author)
        except BackpressureError:
            return Outcome(_FULL, self._hostname)
        return Outcome(_TAKEN, self._hostname)

    async def _author(self, mail: OutgoingMail) -> Address | None:
        """Written here, or by who gave a password: both were asked whether they may write as this author."""
        head = await read_mail(lambda: self._bytes(mail), lambda _: ())
        authors = head.authors()
        return authors[0] if len(authors) == 1 and authors[0].domain in self._domains else None

    async def _handed_over(self, mail: OutgoingMail, recipient: Address, author: Address | None) -> None:
        envelope = Envelope(
            secrets.token_hex(10),
            Door.LOCAL,
            mail.sender,
            (recipient,),
            "",
            self._hostname,
            self._clock.now_ms(),
            size=0,
            utf8=mail.utf8,
        )
        passing, trace = Passing(), received_header(envelope, self._hostname)

        async def content() -> AsyncIterator[bytes]:
            yield trace
            async with aclosing(self._bytes(mail)) as chunks:
                async for chunk in chunks:
                    passing.see(chunk)
                    yield chunk

        blob = await self._blobs.put(content(), len(trace) + mail.size)
        size = len(trace) + passing.size
        envelope = replace(envelope, size=size, digest=passing.digest(), has_id=passing.has_id)
        await self._intake.accept(envelope, Verdict(author, verified=author is not None), blob)
        log.info("mail_delivered_here", mail=mail.id, taken_as=envelope.id)

    async def _bytes(self, mail: OutgoingMail) -> AsyncGenerator[bytes, None]:
        if mail.head:
            yield mail.head
        async for chunk in self._blobs.open(mail.blob):
            yield chunk
