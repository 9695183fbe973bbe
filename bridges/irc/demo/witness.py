"""A raw IRC client that writes down all it sees: the independent witness of the IRC side.

It shares no code with the adapter: what it saw is evidence for what the adapter did.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Received:
    """One received line: its parts as text, the raw bytes, and when it came (wall clock, seconds)."""

    raw: bytes
    tags: dict[str, str]
    prefix: str
    command: str
    params: tuple[str, ...]
    at: float

    @property
    def nick(self) -> str:
        """The nick of the prefix."""
        return self.prefix.partition("!")[0]

    @property
    def text(self) -> str:
        """The last parameter."""
        return self.params[-1] if self.params else ""


class WitnessTimeoutError(AssertionError):
    """Nothing matched in time; the message holds the last lines seen."""


class WitnessClosedError(ConnectionError):
    """The server ended the connection; the message holds the last line seen."""


_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_PLAIN = {":": ";", "s": " ", "r": "\r", "n": "\n"}

Predicate = Callable[[Received], bool]


def decode(raw: bytes) -> str:
    """Read bytes as UTF-8, else as cp1252, never failing."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def read_line(raw: bytes, at: float) -> Received:
    """Take one line (without its end) apart."""
    rest = raw
    tags: dict[str, str] = {}
    if rest[:1] == b"@":
        blob, _, rest = rest[1:].partition(b" ")
        for item in decode(blob).split(";"):
            key, _, value = item.partition("=")
            value = _ESCAPED.sub(lambda m: _PLAIN.get(m[1], m[1]), value)
            tags[key] = value
        rest = rest.lstrip(b" ")
    prefix = b""
    if rest[:1] == b":":
        prefix, _, rest = rest[1:].partition(b" ")
    head, colon, trailing = rest.partition(b" :")
    words = [decode(word) for word in head.split()]
    params = [*words[1:], decode(trailing)] if colon else words[1:]
    return Received(raw, tags, decode(prefix), words[0].upper() if words else "", tuple(params), at)


class Witness:
    """One connection that answers PING, records every line, and says what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.nick = ""
        self.lines: list[Received] = []
        self.caps: frozenset[str] = frozenset()
        self.closed = False
        self._reader = reader
        self._writer = writer
        self._arrived = asyncio.Condition()
        self._task = asyncio.create_task(self._read(), name="irc witness")
        self._tokens = 0

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        nick: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        caps: Sequence[str] = (),
        sasl: tuple[str, str] | None = None,
        password: str | None = None,
        user: str | None = None,
        real: str = "witness",
        timeout: float = 60,
    ) -> Self:
        """Connect and register. Requests those of ``caps`` that are offered; ``sasl`` is (account, password).

        Raises OSError, WitnessClosedError (refused), WitnessTimeoutError.
        """
        async with asyncio.timeout(timeout):
            name = (server_hostname or host) if tls else None
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name, limit=1 << 20)
        witness = cls(reader, writer)
        try:
            await witness._register(nick, user or nick, real, password, caps, sasl, timeout)
        except BaseException:
            await witness.close()
            raise
        return witness

    async def _register(
        self,
        nick: str,
        user: str,
        real: str,
        password: str | None,
        caps: Sequence[str],
        sasl: tuple[str, str] | None,
        timeout: float,
    ) -> None:
        wanted = {*caps, *(("sasl",) if sasl else ())}
        if wanted:
            self.raw("CAP LS 302")
        if password is not None:
            self.raw(f"PASS {password}")
        self.raw(f"NICK {nick}")
        self.raw(f"USER {user} 0 * :{real}")
        if wanted:
            await self.wait_for(lambda r: r.command == "CAP" and r.params[1] == "LS" and r.params[2] != "*", timeout)
            offered = {
                word.partition("=")[0]
                for line in self.lines
                if line.command == "CAP" and line.params[1] == "LS"
                for word in line.text.split()
            }
            granted = sorted(wanted & offered)
            if granted:
                self.raw(f"CAP REQ :{' '.join(granted)}")
                await self.wait_for(lambda r: r.command == "CAP" and r.params[1] == "ACK", timeout)
                self.caps = frozenset(granted)
            if sasl:
                self.raw("AUTHENTICATE PLAIN")
                await self.wait_for(lambda r: r.command == "AUTHENTICATE", timeout)
                blob = base64.b64encode("\0".join((sasl[0], *sasl)).encode()).decode()
                self.raw(f"AUTHENTICATE {blob}")
                await self.wait_for(lambda r: r.command == "903", timeout)
            self.raw("CAP END")
        welcome = await self.wait_for(lambda r: r.command == "001", timeout)
        self.nick = welcome.params[0]
        await self.wait_for(lambda r: r.command in ("376", "422"), timeout)

    # --- reading

    async def _read(self) -> None:
        with contextlib.suppress(OSError):
            while raw := await self._reader.readline():
                line = read_line(raw.rstrip(b"\r\n"), time.time())
                if line.command == "PING":
                    self.raw(f"PONG :{line.text}")
                elif line.command == "NICK" and line.nick == self.nick:
                    self.nick = line.text
                async with self._arrived:
                    self.lines.append(line)
                    self._arrived.notify_all()
        async with self._arrived:
            self.closed = True
            self._arrived.notify_all()

    def mark(self) -> int:
        """Give the position after the last line seen, for ``since``."""
        return len(self.lines)

    async def wait_for(self, predicate: Predicate, timeout: float = 60, *, since: int = 0) -> Received:
        """Give the first line from position ``since`` on that matches, waiting for it.

        Raises WitnessTimeoutError, WitnessClosedError.
        """
        position = since
        try:
            async with asyncio.timeout(timeout), self._arrived:
                while True:
                    while position < len(self.lines):
                        if predicate(self.lines[position]):
                            return self.lines[position]
                        position += 1
                    if self.closed:
                        raise WitnessClosedError(f"closed after {self._tail(1)}")
                    await self._arrived.wait()
        except TimeoutError:
            raise WitnessTimeoutError(f"nothing matched in {timeout} s; last lines: {self._tail(8)}") from None

    async def wait_text(self, text: str, target: str | None = None, timeout: float = 60, *, since: int = 0) -> Received:
        """Wait for a PRIVMSG or NOTICE whose text contains ``text`` (to ``target`` when given)."""

        def matches(line: Received) -> bool:
            return (
                line.command in ("PRIVMSG", "NOTICE")
                and text in line.text
                and (target is None or line.params[0].lower() == target.lower())
            )

        return await self.wait_for(matches, timeout, since=since)

    async def wait_closed(self, timeout: float = 60) -> None:
        """Wait until the server has ended the connection. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: self.closed)

    def messages(self, target: str, since: int = 0) -> list[Received]:
        """Give all PRIVMSG and NOTICE lines to a channel or nick, in the order they came."""
        return [
            line
            for line in self.lines[since:]
            if line.command in ("PRIVMSG", "NOTICE") and line.params[0].lower() == target.lower()
        ]

    def _tail(self, count: int) -> list[bytes]:
        return [line.raw for line in self.lines[-count:]]

    # --- speaking

    def raw(self, line: str | bytes) -> None:
        """Send one line as it is; the line end is added. Sends nothing once the connection is closing."""
        data = line.encode() if isinstance(line, str) else line
        if not self._writer.is_closing():
            self._writer.write(data + b"\r\n")

    async def join(self, channel: str, key: str = "", timeout: float = 60) -> None:
        """Join a channel and wait for the server's word. Raises WitnessTimeoutError when it is refused."""
        mark = self.mark()
        self.raw(f"JOIN {channel} {key}".rstrip())

        def joined(line: Received) -> bool:
            named = bool(line.params) and line.params[0].lower() == channel.lower()
            return line.command == "JOIN" and line.nick == self.nick and named

        await self.wait_for(joined, timeout, since=mark)

    def part(self, channel: str, reason: str = "") -> None:
        """Leave a channel."""
        self.raw(f"PART {channel} :{reason}")

    def privmsg(self, target: str, text: str) -> None:
        """Send a message."""
        self.raw(f"PRIVMSG {target} :{text}")

    def notice(self, target: str, text: str) -> None:
        """Send a notice."""
        self.raw(f"NOTICE {target} :{text}")

    def action(self, target: str, text: str) -> None:
        """Send a CTCP ACTION (an emote)."""
        self.raw(f"PRIVMSG {target} :\x01ACTION {text}\x01")

    async def sync(self, timeout: float = 60) -> None:
        """Wait until the server has worked through everything sent so far (PING and its PONG)."""
        self._tokens += 1
        token = f"witness-{self._tokens}"
        mark = self.mark()
        self.raw(f"PING :{token}")
        await self.wait_for(lambda r: r.command == "PONG" and r.text == token, timeout, since=mark)

    async def quit(self, reason: str = "bye", timeout: float = 5.0) -> None:
        """Say QUIT, wait for the server to close, and close."""
        self.raw(f"QUIT :{reason}")
        with contextlib.suppress(TimeoutError):
            await self.wait_closed(timeout)
        await self.close()

    async def close(self) -> None:
        """Close the connection and end the reader. Safe to call twice."""
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                await self._writer.wait_closed()
