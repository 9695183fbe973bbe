"""One connection to a mail server: opened, a mail handed over, closed. The bytes are written by aiosmtplib."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, cast

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPResponseException
from aiosmtplib.response import SMTPResponse

from bridges.email.codec.addresses import Address
from bridges.email.codec.fields import FieldError, bare_address
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.hops import Hop
from bridges.email.delivery.relays import given_id
from bridges.email.ports import Outcome, OutgoingMail, Reply

_STATUS: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_BROKEN: Final = (SMTPException, OSError, TimeoutError, ValueError)
"""What aiosmtplib raises (its ValueErrors are about what we handed it, which is checked before)."""


class NoConnectionError(Exception):
    """The server cannot be spoken to; nothing was handed over. `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class LostError(NoConnectionError):
    """A connection that stood was lost before anything was handed over."""


class Wire:
    """A connection on which mails are handed over, one after the other."""

    def __init__(self, client: SMTP, hop: Hop, settings: Delivery) -> None:
        self._client = client
        self._settings = settings
        self._used = False
        self._writer: asyncio.StreamWriter | None = None
        self.hop = hop

    @classmethod
    async def opened(cls, hop: Hop, settings: Delivery, hostname: str) -> "Wire":
        """Connect, say hello, protect, log in. Raises NoConnectionError; bounded in time."""
        last = Reply(0, "4.4.1", f"{hop.host} has no address")
        for address in hop.addresses:
            try:
                return await cls._opened(hop, address, settings, hostname, tls=hop.starttls)
            except NoConnectionError as error:
                last = error.reply
            except _TlsTroubleError as error:
                last = error.reply
                if not hop.must:
                    # Opportunistic: what cannot be encrypted goes as it did before there was TLS (RFC 7435).
                    with contextlib.suppress(NoConnectionError, _TlsTroubleError):
                        return await cls._opened(hop, address, settings, hostname, tls=False)
        raise NoConnectionError(last)

    @classmethod
    async def _opened(cls, hop: Hop, address: str, settings: Delivery, hostname: str, *, tls: bool) -> "Wire":
        try:
            sock = await _connected(address, hop.port, settings.connect_timeout)
        except (OSError, TimeoutError) as error:
            raise NoConnectionError(Reply(0, "4.4.1", f"{hop.host} does not answer")) from error
        client = SMTP(
            hostname=hop.host,
            sock=sock,
            local_hostname=hostname,
            timeout=settings.command_timeout,
            use_tls=hop.implicit,
            start_tls=False,
            tls_context=hop.context,
        )
        try:
            await client.connect(timeout=settings.command_timeout)
            await client._ehlo_or_helo_if_needed()
            if tls and not hop.implicit:
                await _protected(client, hop, settings)
            if hop.user is not None:
                await client.login(hop.user, hop.password or "")
        except SMTPAuthenticationError as error:
            client.close()
            raise NoConnectionError(
                Reply(0, "4.7.8", f"{hop.host} refuses our login: {_words(error.message)}")
            ) from error
        except SMTPResponseException as error:
            client.close()
            raise NoConnectionError(_reply(error.code, error.message)) from error
        except _BROKEN as error:
            client.close()
            sock.close()
            if hop.implicit:
                raise NoConnectionError(_tls_reply(hop)) from error
            raise NoConnectionError(Reply(0, "4.4.2", f"{hop.host} gave up the connection")) from error
        except BaseException:
            client.close()
            sock.close()
            raise
        return cls(client, hop, settings)

    @property
    def usable(self) -> bool:
        """Whether it still stands, as far as is known."""
        return self._client.is_connected

    async def hand_over(
        self, mail: OutgoingMail, recipients: Sequence[Address], content: Callable[[], AsyncIterator[bytes]]
    ) -> Mapping[Address, Outcome]:
        """One transaction. An outcome for each recipient.

        Raises LostError where the connection was gone before MAIL was answered (an idle one may be): try another one.
        What `content` raises passes through; then the connection is closed, and nothing was handed over.
        """
        refusal = self._unfit(mail, recipients)
        if refusal is not None:
            return {one: Outcome(refusal, self.hop.host) for one in recipients}
        try:
            if self._used:
                await self._client.rset()
            self._used = True
            answer = await self._command(
                b"MAIL", b"FROM:<" + self._bare(mail.sender) + b">", *self._mail_options(mail, recipients)
            )
        except _BROKEN as error:
            self.close()
            raise LostError(Reply(0, "4.4.2", f"{self.hop.host} gave up the connection")) from error
        if not _yes(answer):
            return {one: self._outcome(answer) for one in recipients}
        outcomes: dict[Address, Outcome] = {}
        try:
            for one in recipients:
                answer = await self._command(b"RCPT", b"TO:<" + self._bare(one) + b">", *self._rcpt_options(one))
                if not _yes(answer):
                    outcomes[one] = self._outcome(answer)
        except _BROKEN:
            self.close()
            return {one: outcomes.get(one) or self._lost() for one in recipients}
        taken = [one for one in recipients if one not in outcomes]
        if taken:
            outcomes |= dict.fromkeys(taken, await self._data(content))
        return outcomes

    async def quit(self) -> None:
        """Part in peace, if that is possible within a moment."""
        with contextlib.suppress(*_BROKEN):
            await self._client.quit(timeout=5)
        self.close()

    def close(self) -> None:
        """Part at once."""
        self._client.close()

    async def _data(self, content: Callable[[], AsyncIterator[bytes]]) -> Outcome:
        try:
            answer = await self._command(b"DATA")
        except _BROKEN:
            self.close()
            return self._lost()
        if answer.code != 354:
            return self._outcome(answer)
        protocol, transport = self._client.protocol, self._client.transport
        if protocol is None or transport is None:
            return self._lost()
        # Its DATA takes a whole mail: this streams one, with the protocol's own flow control.
        if self._writer is None:
            # uvloop's transports are none of asyncio's classes.
            writable = cast(asyncio.WriteTransport, transport)
            self._writer = asyncio.StreamWriter(writable, protocol, None, asyncio.get_running_loop())
        try:
            async with asyncio.timeout(self._settings.data_timeout):
                async for chunk in stuffed(content()):
                    protocol.write(chunk)
                    await self._writer.drain()
        except _BROKEN:
            # The final dot was not written: the server has no whole mail, and must not keep it (RFC 5321, 4.1.1.4).
            self.close()
            return self._lost()
        except BaseException:
            self.close()
            raise
        try:
            protocol.write(b".\r\n")
            answer = await protocol.read_response(timeout=self._settings.data_timeout)
        except _BROKEN:
            self.close()
            words = f"{self.hop.host} took the mail, but gave up the connection before it said so"
            return Outcome(Reply(0, "4.4.2", words), self.hop.host, unknown=True)
        if answer.code == 421:
            self.close()
        if not _yes(answer):
            return self._outcome(answer)
        return Outcome(
            _reply(answer.code, answer.message), self.hop.host, message_id=given_id(self.hop.host, answer.message)
        )

    async def _command(self, *words: bytes) -> SMTPResponse:
        return await self._client.execute_command(*words, timeout=self._settings.command_timeout)

    def _unfit(self, mail: OutgoingMail, recipients: Sequence[Address]) -> Reply | None:
        """Why this server cannot take the mail, as it said itself in its answer to EHLO."""
        utf8 = mail.utf8 or not all(one.ascii for one in recipients)
        if utf8 and not self._client.supports_extension("smtputf8"):
            return Reply(550, "5.6.7", "its mail server knows only addresses in ASCII")
        if mail.eight_bit and not self._client.supports_extension("8bitmime"):
            return Reply(550, "5.6.3", "its mail server takes only mails in ASCII")
        limit = self._client.esmtp_extensions.get("size", "")
        if limit.isdecimal() and 0 < int(limit) < mail.size:
            return Reply(552, "5.3.4", f"its mail server takes {int(limit) // 1024} KiB at most")
        for one in recipients:
            try:
                self._bare(one)
            except FieldError:
                return Reply(550, "5.1.3", "the address is malformed")
        return None

    def _mail_options(self, mail: OutgoingMail, recipients: Sequence[Address]) -> list[bytes]:
        options = []
        if self._client.supports_extension("size"):
            options.append(f"SIZE={mail.size}".encode())
        if mail.eight_bit:
            options.append(b"BODY=8BITMIME")
        if mail.utf8 or not all(one.ascii for one in recipients):
            options.append(b"SMTPUTF8")
        if self._client.supports_extension("dsn"):
            # Only its head comes back: the mail is ours, and the report must fit into our own mailbox.
            options += [b"RET=HDRS", f"ENVID={mail.id}".encode()]
        return options

    def _rcpt_options(self, one: Address) -> list[bytes]:
        if not self._client.supports_extension("dsn") or not one.ascii:
            return []
        original = re.sub(r"[^!-*,-<>-~]", lambda found: f"+{ord(found[0]):02X}", f"{one.local}@{one.wire_domain}")
        return [b"NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;{original}".encode()]

    def _bare(self, address: Address | None) -> bytes:
        """What stands between the brackets; refuses whatever could leave them."""
        return bare_address("path", address, utf8=True).encode() if address is not None else b""

    def _outcome(self, answer: SMTPResponse) -> Outcome:
        return Outcome(_reply(answer.code, answer.message), self.hop.host)

    def _lost(self) -> Outcome:
        return Outcome(Reply(0, "4.4.2", f"{self.hop.host} gave up the connection"), self.hop.host)


class _TlsTroubleError(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


async def stuffed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes with each line that begins with a dot given another one (RFC 5321, 4.5.2), ended by CRLF.

    The mail has CRLF line ends only: what could end it early cannot be in it.
    """
    end = b"\r\n"
    async for chunk in chunks:
        if not chunk:
            continue
        # A CR at the end of a chunk is looked at with the next one.
        seen = end[-1:].strip(b"\n") + chunk
        if _BARE.search(seen[:-1] if seen.endswith(b"\r") else seen):
            raise ValueError("a mail's lines end in CRLF")
        whole = (end + chunk).replace(b"\r\n.", b"\r\n..")
        yield whole[len(end) :]
        end = (end + chunk)[-2:]
    if end[-1:] == b"\r":
        raise ValueError("a mail's lines end in CRLF")
    if end != b"\r\n":
        yield b"\r\n"


async def _connected(address: str, port: int, seconds: float) -> socket.socket:
    """A connected socket; names are for smarthosts only, which the admin has given."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        found = await loop.getaddrinfo(address, port, type=socket.SOCK_STREAM)
        error: OSError = OSError("no address")
        for family, kind, proto, _, where in found[:4]:
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, where)
            except OSError as found_error:
                sock.close()
                error = found_error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
    raise error


async def _protected(client: SMTP, hop: Hop, settings: Delivery) -> None:
    if not client.supports_extension("starttls"):
        if not hop.must:
            return
        raise SMTPResponseException(0, f"{hop.host} offers no TLS")
    try:
        await client.starttls(server_hostname=hop.host, tls_context=hop.context, timeout=settings.command_timeout)
        await client.ehlo()
    except _BROKEN as error:
        client.close()
        raise _TlsTroubleError(_tls_reply(hop)) from error


def _tls_reply(hop: Hop) -> Reply:
    return Reply(0, "4.7.5", f"no safe connection to {hop.host}: its certificate is not good, or TLS failed")


def _yes(answer: SMTPResponse) -> bool:
    return 200 <= answer.code < 300


def _reply(code: int, message: str) -> Reply:
    """An answer as it came; one that is none (a code of another kind) is one for now."""
    words = _words(message)
    found = _STATUS.match(words)
    known = 200 <= code < 600
    if found is not None and found[1][0] == str(code)[0]:
        return Reply(code, found[1], words[found.end() :])
    return Reply(code if known else 0, f"{str(code)[0] if known else 4}.0.0", words)


def _words(message: str) -> str:
    """What a server says is a stranger's word: one line, bounded. Each line's own status is left out."""
    lines = message.split("\n")
    rest = [_STATUS.sub("", line, count=1) if number else line for number, line in enumerate(lines)]
    return _CONTROL.sub(" ", " ".join(rest))[:1000].strip()
