"""One connection, from the greeting to its end (RFC 5321, 2033, 3207, 1870, 2920, 3030, 6531, 9422)."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

import structlog

from bridges.email.codec.addresses import Address
from bridges.email.codec.data import BareLineEnd, DataDecoder, LineCheck, LongLine
from bridges.email.codec.smtp import (
    COMMAND_LINE,
    Command,
    SyntaxProblem,
    parse_bdat,
    parse_command,
    parse_helo,
    parse_mail,
    parse_rcpt,
)
from bridges.email.config.receiving import Tls
from bridges.email.mail import Door, Envelope
from bridges.email.ports import Reply, Visit
from bridges.email.smtp.admission import admit_recipient, admit_sender, check_secured
from bridges.email.smtp.auth import MECHANISMS, authenticate
from bridges.email.smtp.chunks import Chunked, in_time
from bridges.email.smtp.parts import Refused, Shared
from bridges.email.smtp.reception import BARE, Reception, Transaction
from bridges.email.smtp.speech import Speech
from bridges.email.smtp.wire import Gone, Interrupted, Silence, Wire

_log = structlog.get_logger(__name__)
HANDSHAKE: Final = 30.0
"""Seconds that a TLS handshake may take."""
_FOREIGN: Final = frozenset(("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"))
"""First words of browsers and proxies that were talked into speaking to us."""

_OK: Final = Reply(250, "2.0.0", "ok")
_MAIL_FIRST: Final = Reply(503, "5.5.1", "MAIL comes first")
_NO_RECIPIENTS: Final = Reply(503, "5.5.1", "no valid recipients")


class _End(Exception):  # noqa: N818 - it is an event
    """The connection ends with this answer; None: without one."""

    def __init__(self, reply: Reply | None) -> None:
        super().__init__()
        self.reply = reply


class Session:
    """Answers one client. `run` returns when the connection has ended, and raises nothing but cancellation."""

    def __init__(self, shared: Shared, wire: Wire) -> None:
        self._shared = shared
        self._settings = shared.parts.settings
        self._wire = wire
        self._speech = Speech(wire)
        self._helo = ""
        self._extended = False
        self._login: str | None = None
        self._transaction: Transaction | None = None
        self._chunked: Chunked | None = None
        self._unconfirmed: Envelope | None = None
        self._commands = 0
        self._errors = 0
        self._until = asyncio.get_running_loop().time() + self._settings.times.visit
        lmtp = shared.door.kind is Door.LMTP
        self._verbs: Mapping[str, Callable[[str], Awaitable[Reply | None]]] = {
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
            "VRFY": self._vrfy,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
        } | ({"LHLO": self._ehlo} if lmtp else {"EHLO": self._ehlo, "HELO": self._hello})

    async def run(self) -> None:
        """Serve until the end."""
        try:
            await self._greet()
            while True:
                await self._one()
        except _End as end:
            if end.reply is not None:
                self._speech.say(end.reply)
            await self._speech.part()
        except Silence:
            self._speech.say(Reply(421, "4.4.2", "you said nothing for long"))
            await self._speech.part()
        except Interrupted:
            self._speech.say(Reply(421, "4.3.2", "the server stops, come back later"))
            await self._speech.part()
        except Gone as gone:
            _log.debug("smtp_gone", peer=self._wire.peer, reason=gone.reason)
        except Exception:
            _log.exception("smtp_session_broken", peer=self._wire.peer)
            self._speech.say(Reply(421, "4.3.0", "trouble here, try again later"))
        finally:
            if self._chunked is not None:
                await self._chunked.abandon()
            self._speech.flush()
            self._wire.close()

    async def _greet(self) -> None:
        try:
            refusal = await self._shared.ask(
                self._shared.parts.inspector.connected(self._wire.peer, self._shared.door.kind)
            )
        except Refused:
            refusal = Reply(421, "4.3.0", "trouble here, try again later")
        if refusal is not None:
            raise _End(refusal)
        kind = "LMTP" if self._shared.door.kind is Door.LMTP else "ESMTP"
        self._speech.say(Reply(220, "", f"{self._shared.parts.name} {kind} ready"))

    async def _one(self) -> None:
        if not self._wire.has_line or self._speech.much:
            # Who sends and does not read is left waiting.
            self._speech.flush()
            await self._wire.drain(self._settings.times.command)
        try:
            line = await self._wire.line(COMMAND_LINE, self._settings.times.command)
        except BareLineEnd:
            raise _End(Reply(500, "5.5.2", BARE.text)) from None
        except LongLine:
            raise _End(Reply(500, "5.5.2", "the line is too long")) from None
        self._confirm()
        self._commands += 1
        if self._commands > self._settings.commands or asyncio.get_running_loop().time() > self._until:
            raise _End(Reply(421, "4.7.0", "that is enough for one connection, come back"))
        try:
            reply = await self._answer(line)
        except SyntaxProblem as problem:
            reply = Reply(problem.code, problem.status, problem.text)
        except Refused as refused:
            reply = refused.reply
        if reply is None:
            return
        self._speech.say(reply)
        if reply.code == 421:
            raise _End(None)
        if not reply.positive:
            self._errors += 1
            if self._errors >= self._settings.errors:
                raise _End(Reply(421, "4.7.0", "too many errors"))

    async def _answer(self, line: bytes) -> Reply | None:
        command: Command = parse_command(line)
        if self._commands == 1 and command.verb in _FOREIGN:
            raise _End(Reply(554, "5.5.1", "this is a mail server"))
        method = self._verbs.get(command.verb)
        if method is None:
            known = command.verb in ("EHLO", "HELO", "LHLO", "EXPN", "HELP", "TURN", "ETRN")
            return Reply(502 if known else 500, "5.5.1", "no such command here")
        if self._chunked is not None and command.verb not in ("BDAT", "RSET", "NOOP", "QUIT"):
            return Reply(503, "5.5.1", "BDAT goes on, or RSET")
        return await method(command.argument)

    async def _ehlo(self, argument: str) -> Reply:
        self._hail(argument, extended=True)
        offers = [
            self._shared.parts.name,
            f"SIZE {self._settings.largest}",
            "8BITMIME",
            "SMTPUTF8",
            "PIPELINING",
            "CHUNKING",
            "ENHANCEDSTATUSCODES",
            f"LIMITS RCPTMAX={self._settings.recipients}",
        ]
        if not self._wire.tls and self._shared.tls in (Tls.OPTIONAL, Tls.REQUIRED):
            offers.append("STARTTLS")
        if self._may_authenticate():
            offers.append(f"AUTH {' '.join(MECHANISMS)}")
        return Reply(250, "", "\n".join(offers))

    async def _hello(self, argument: str) -> Reply:
        self._hail(argument, extended=False)
        return Reply(250, "", self._shared.parts.name)

    def _hail(self, argument: str, *, extended: bool) -> None:
        self._helo = parse_helo(argument)
        self._extended = extended
        self._transaction = None

    async def _mail(self, argument: str) -> Reply:
        if not self._helo:
            return Reply(503, "5.5.1", "say who you are first")
        if self._transaction is not None:
            return Reply(503, "5.5.1", "one mail at a time")
        check_secured(self._shared, tls=self._wire.tls, login=self._login)
        self._transaction = await admit_sender(self._shared, self._visit(), parse_mail(argument))
        return Reply(250, "2.1.0", "ok")

    async def _rcpt(self, argument: str) -> Reply:
        transaction = self._transaction
        if transaction is None:
            return _MAIL_FIRST
        address = parse_rcpt(argument, utf8=transaction.mail.utf8).address
        if not address.domain:
            address = Address(address.local, self._shared.parts.domain or self._shared.parts.name)
        await admit_recipient(self._shared, self._visit(), transaction, address)
        return Reply(250, "2.1.5", "ok")

    async def _data(self, argument: str) -> Reply | None:
        if argument:
            return Reply(501, "5.5.4", "DATA stands alone")
        if self._wire.waiting:
            # Who does not wait for the 354 sends a mail's text as commands where we say no to it.
            raise _End(Reply(503, "5.5.0", "wait for the answer to DATA"))
        transaction = self._transaction
        if transaction is None:
            return _MAIL_FIRST
        if not transaction.recipients:
            return _NO_RECIPIENTS
        self._speech.say(Reply(354, "", "go on, a dot on a line of its own ends it"))
        self._speech.flush()
        reception = Reception(self._shared, self._visit(), transaction)
        self._transaction = None
        async with aclosing(in_time(self._until_dot(), self._settings.times.mail)) as pieces:
            reply = await reception.receive(pieces, self._there)
        self._finish(reception, reply)
        return None

    async def _until_dot(self) -> AsyncGenerator[bytes, None]:
        decoder = DataDecoder(LineCheck(self._settings.longest_line))
        while not decoder.ended:
            yield decoder.feed(await self._wire.piece(self._settings.times.data))
        self._wire.give_back(decoder.rest)

    async def _bdat(self, argument: str) -> Reply | None:
        try:
            chunk = parse_bdat(argument)
        except SyntaxProblem as problem:
            # How many bytes to skip is not known: what follows cannot be told from commands.
            raise _End(Reply(problem.code, problem.status, problem.text)) from None
        if self._chunked is None:
            transaction = self._transaction
            reply = _MAIL_FIRST if transaction is None else None if transaction.recipients else _NO_RECIPIENTS
            if transaction is None or reply is not None:
                if chunk.size > self._settings.largest:
                    raise _End(reply)
                await self._skip(chunk.size)
                return reply
            self._transaction = None
            reception = Reception(self._shared, self._visit(), transaction)
            self._chunked = Chunked(self._shared, self._wire, reception, self._there)
        reply = await self._chunked.take(chunk)
        if reply is not None:
            self._finish(self._chunked.reception, reply)
            return None
        return Reply(250, "2.0.0", f"{chunk.size} bytes")

    async def _skip(self, size: int) -> None:
        while size:
            size -= len(await self._wire.piece(self._settings.times.data, min(size, 65_536)))

    def _finish(self, reception: Reception, reply: Reply) -> None:
        """Answers a mail: once, over LMTP once for each of its recipients."""
        self._chunked = None
        if reply.positive:
            self._unconfirmed = reception.envelope
            self._errors = 0
        else:
            self._errors += 1
        times = len(reception.envelope.recipients) if self._shared.door.kind is Door.LMTP else 1
        for _ in range(times):
            self._speech.say(reply)
        if reception.untrusted or reply.code == 421:
            raise _End(None)
        if self._errors >= self._settings.errors:
            raise _End(Reply(421, "4.7.0", "too many errors"))

    def _confirm(self) -> None:
        """Whoever says something after a 250 has got it."""
        if self._unconfirmed is not None:
            self._shared.parts.intake.confirmed(self._unconfirmed)
            self._unconfirmed = None

    async def _rset(self, argument: str) -> Reply:
        self._transaction = None
        if self._chunked is not None:
            await self._chunked.abandon()
            self._chunked = None
        return _OK

    async def _noop(self, argument: str) -> Reply:
        return _OK

    async def _quit(self, argument: str) -> Reply:
        raise _End(Reply(221, "2.0.0", "bye"))

    async def _vrfy(self, argument: str) -> Reply:
        return Reply(252, "2.1.5", "send it, and see")

    async def _starttls(self, argument: str) -> Reply | None:
        certificate = self._shared.certificate
        if certificate is None or self._shared.tls not in (Tls.OPTIONAL, Tls.REQUIRED):
            return Reply(502, "5.5.1", "no TLS here")
        if self._wire.tls:
            return Reply(503, "5.5.1", "that is so already")
        if argument:
            return Reply(501, "5.5.4", "STARTTLS stands alone")
        if self._wire.waiting:
            # Plain text that would be taken for something said under TLS (CVE-2021-33515 and its kin).
            raise _End(Reply(503, "5.5.0", "nothing may follow STARTTLS"))
        self._speech.say(Reply(220, "2.0.0", "go on"))
        self._speech.flush()
        await self._wire.start_tls(certificate.context, HANDSHAKE)
        self._helo, self._extended, self._transaction = "", False, None
        return None

    async def _auth(self, argument: str) -> Reply:
        if self._shared.door.kind is not Door.SUBMISSION:
            return Reply(502, "5.5.1", "no passwords here")
        if self._login is not None or self._transaction is not None or not self._extended:
            return Reply(503, "5.5.1", "not now")
        if not self._may_authenticate():
            return Reply(538, "5.7.11", "STARTTLS comes first")
        self._speech.flush()
        try:
            self._login = await authenticate(self._shared, self._wire, argument)
        except LongLine:
            raise _End(Reply(500, "5.5.6", "the line is too long")) from None
        except BareLineEnd:
            raise _End(Reply(500, "5.5.2", BARE.text)) from None
        return Reply(235, "2.7.0", "welcome")

    def _there(self) -> bool:
        return not self._wire.lost

    def _may_authenticate(self) -> bool:
        secure = self._wire.tls or self._settings.plain_passwords
        return secure and self._shared.door.kind is Door.SUBMISSION and self._login is None

    def _visit(self) -> Visit:
        return Visit(self._shared.door.kind, self._wire.peer, self._helo, self._wire.tls, self._login)
