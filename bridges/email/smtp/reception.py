"""One mail: from the first byte of it to the 250, or to the answer why not."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from bridge_core.api.errors import BackpressureError, BridgeError
from bridges.email.codec.addresses import Address
from bridges.email.codec.data import BareLineEnd, LongLine
from bridges.email.codec.smtp import MailCommand
from bridges.email.mail import Envelope, Verdict
from bridges.email.ports import Reply, Visit
from bridges.email.smtp.parts import TROUBLE, Refused, Shared
from bridges.email.smtp.trace import Passing, received_header

_log = structlog.get_logger(__name__)
FULL: Final = Reply(452, "4.3.1", "no room now, try again later")
TOO_LARGE: Final = Reply(552, "5.3.4", "the mail is too large")
BARE: Final = Reply(550, "5.5.2", "bare CR or LF refused (SMTP smuggling): lines end with CRLF")
LONG: Final = Reply(550, "5.6.0", "a line is too long")
_PATIENCE: Final = 4
"""How many times the largest mail is read to its end, only to say that it is too large."""
LOOP: Final = Reply(554, "5.4.6", "too many hops: the mail goes in a circle")


@dataclass(slots=True)
class Transaction:
    """What one mail has of its own: made by MAIL, gone with its end. Nothing of it outlives it."""

    mail: MailCommand
    recipients: list[Address]
    address_bytes: int = 0


class Reception:
    """Takes the bytes of one mail into the spool, asks what is to be asked, and commits it."""

    def __init__(self, shared: Shared, visit: Visit, transaction: Transaction) -> None:
        self._shared = shared
        self._passing = Passing()
        self._crowded = False
        self.untrusted = False
        """Where mail ends and commands begin is not sure any more: the connection has to end."""
        self.envelope = Envelope(
            id=secrets.token_hex(10),
            door=visit.door,
            sender=transaction.mail.sender,
            recipients=tuple(transaction.recipients),
            peer=visit.peer,
            helo=visit.helo,
            received_at=shared.parts.clock.now_ms(),
            size=0,
            tls=visit.tls,
            login=visit.login,
            utf8=transaction.mail.utf8,
        )
        self._header = received_header(self.envelope, shared.parts.name)

    async def receive(self, pieces: AsyncIterator[bytes], alive: Callable[[], bool]) -> Reply:
        """The answer to the mail. A 250 is said only of what is committed.

        All of `pieces` are read, also of a mail that is refused, unless `untrusted`. Raises what reading them raises,
        and then nothing is kept. `alive` tells whether anybody is there to hear the answer: if not, the mail is left
        to its sender, who will give it again.
        """
        async with aclosing(self._watched(pieces)) as watched:
            try:
                blob = await self._read(watched)
            except Refused as refused:
                return refused.reply
            except (BareLineEnd, LongLine) as finding:
                self.untrusted = True
                _log.info("smtp_mail_malformed", finding=type(finding).__name__, peer=self.envelope.peer)
                return BARE if isinstance(finding, BareLineEnd) else LONG
        try:
            verdict = await self._judge(blob)
            if not alive():
                raise Refused(TROUBLE)
        except Refused as refused:
            await self._drop(blob)
            return refused.reply
        except BaseException:
            await asyncio.shield(self._drop(blob))
            raise
        return await self._commit(verdict, blob)

    async def _watched(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        flight, counted = self._shared.flight, 0
        try:
            async for piece in pieces:
                self._passing.see(piece)
                if flight.add(len(piece)):
                    counted += len(piece)
                else:
                    self._crowded = True
                if piece:
                    yield piece
        finally:
            flight.used -= counted

    async def _read(self, pieces: AsyncIterator[bytes]) -> str:
        try:
            return await self._store(pieces)
        except Refused:
            # What is left of it is not wanted, but it stands between us and the next command.
            async for _ in pieces:
                if self._passing.size > _PATIENCE * self._shared.parts.settings.largest:
                    self.untrusted = True
                    break
            raise

    async def _store(self, pieces: AsyncIterator[bytes]) -> str:
        parts = self._shared.parts

        async def content() -> AsyncGenerator[bytes, None]:
            yield self._header
            async for piece in pieces:
                if self._passing.size > parts.settings.largest:
                    raise Refused(TOO_LARGE)
                if self._crowded:
                    raise Refused(FULL)
                yield piece

        async with aclosing(content()) as chunks:
            try:
                # The limit is looked at above; this one leaves room for the header on top.
                return await parts.blobs.put(chunks, parts.settings.largest + 65_536)
            except BridgeError as error:
                _log.warning("smtp_mail_not_spooled", error=str(error))
                raise Refused(FULL) from error

    async def _judge(self, blob: str) -> Verdict:
        parts, passing = self._shared.parts, self._passing
        if passing.hops > parts.settings.hops:
            raise Refused(LOOP)
        size = len(self._header) + passing.size
        self.envelope = replace(self.envelope, size=size, digest=passing.digest(), has_id=passing.has_id)
        verdict = await self._shared.ask(parts.inspector.mail(self.envelope, lambda: parts.blobs.open(blob)))
        if isinstance(verdict, Reply):
            raise Refused(verdict)
        return verdict

    async def _commit(self, verdict: Verdict, blob: str) -> Reply:
        """From here on the blob is the intake's, also when we are cancelled: the commit goes on."""
        parts = self._shared.parts
        commit = self._shared.commits.start(parts.intake.accept(self.envelope, verdict, blob))
        try:
            async with asyncio.timeout(parts.settings.times.answer):
                await commit.outcome()
        except BackpressureError:
            return FULL
        except (TimeoutError, BridgeError) as error:
            _log.warning("smtp_mail_not_committed", error=str(error) or "it took too long")
            return TROUBLE
        except Exception:
            _log.exception("smtp_commit_broken")
            return TROUBLE
        return Reply(250, "2.0.0", f"accepted as {self.envelope.id}")

    async def _drop(self, blob: str) -> None:
        with suppress(BridgeError, OSError):
            # What stays is swept by its age.
            await self._shared.parts.blobs.drop(blob)
