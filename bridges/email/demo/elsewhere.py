"""A mail server of somebody else, for the demo and for tests: takes all mail and keeps it. No code of the bridge's."""

import asyncio
import contextlib
import smtplib
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final

_PATIENCE: Final = 20.0
_LARGEST: Final = 1 << 26
"""Bytes of a mail."""


@dataclass(frozen=True, slots=True)
class Received:
    """One mail as it came."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes = field(repr=False)

    @property
    def mail(self) -> EmailMessage:
        """It, read."""
        found = message_from_bytes(self.data, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def text(self) -> str:
        """Its plain text."""
        part = self.mail.get_body(("plain",))
        return str(part.get_content()).strip() if part is not None else ""


class Elsewhere:
    """Listens on loopback. Addresses whose local part begins with `nobody` are refused for good, `later` for now."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: list[Received] = []
        self._server: asyncio.Server | None = None
        self._came = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Take mail."""
        self._server = await asyncio.start_server(self._come, "127.0.0.1", self.port, limit=_LARGEST)

    async def stop(self) -> None:
        """Take no more. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in self._open:
                writer.close()  # a sender may keep its connection for the next mail
            await server.wait_closed()

    async def wait_for(self, fits: Callable[[Received], bool], what: str, timeout: float = _PATIENCE) -> Received:
        """The first mail that fits, of all that came and will come. Raises TimeoutError naming `what`."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._came.clear()
                    found = next((one for one in self.received if fits(one)), None)
                    if found is not None:
                        return found
                    await self._came.wait()
        except TimeoutError:
            subjects = [str(one.mail["Subject"]) for one in self.received]
            raise TimeoutError(f"{what} did not come in {timeout:g} s; there came: {subjects}") from None

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._talk(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, recipients = "", list[str]()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(120):
                await _say(writer, "220 mail.elsewhere.test ready")
                while line := (await reader.readline()).decode("utf-8", "replace").strip():
                    verb = line.upper()
                    if verb.startswith("EHLO"):
                        await _say(writer, "250-mail.elsewhere.test", "250-8BITMIME", "250-SMTPUTF8", "250 SIZE")
                    elif verb.startswith("MAIL FROM:"):
                        sender, recipients = _path(line), []
                        await _say(writer, "250 2.1.0 ok")
                    elif verb.startswith("RCPT TO:"):
                        answer = _refusal(_path(line))
                        if answer is None:
                            recipients.append(_path(line))
                        await _say(writer, answer or "250 2.1.5 ok")
                    elif verb == "DATA":
                        await _say(writer, "354 go on")
                        data = await reader.readuntil(b"\r\n.\r\n")
                        whole = data[:-3].replace(b"\r\n..", b"\r\n.")
                        self.received.append(Received(sender, tuple(recipients), whole))
                        self._came.set()
                        await _say(writer, "250 2.0.0 kept")
                    elif verb == "QUIT":
                        await _say(writer, "221 2.0.0 bye")
                        break
                    else:
                        await _say(writer, "250 2.0.0 ok")


VERIFIER: Final = "verifier.test"
"""Under which name the server before the bridge's writes what it has verified."""
BELIEVING: Final = {"authserv_id": VERIFIER, "believed": ["127.0.0.0/8"]}
"""The settings that believe it: there is no DNS of made-up domains."""


async def hand_over(port: int, mail: EmailMessage, sender: str, recipient: str) -> None:
    """Give a mail to the bridge's server, as the server before it would: one that has verified who wrote it.

    Raises OSError and smtplib's errors in its words.
    """
    domain = str(mail["From"]).rpartition("@")[2].rstrip("> ")
    del mail["Authentication-Results"]
    mail["Authentication-Results"] = f"{VERIFIER}; dmarc=pass header.from={domain}"

    def give() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=_PATIENCE) as server:
            server.send_message(mail, sender, [recipient])

    await asyncio.to_thread(give)


async def _say(writer: asyncio.StreamWriter, *lines: str) -> None:
    writer.write("".join(f"{line}\r\n" for line in lines).encode())
    await writer.drain()


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


def _refusal(address: str) -> str | None:
    if address.startswith("nobody"):
        return "550 5.1.1 nobody of that name here"
    return "451 4.3.0 come back later" if address.startswith("later") else None
