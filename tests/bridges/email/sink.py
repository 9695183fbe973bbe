"""A mail server that takes everything, but for what it is told to do at a step: refuse, hang up, be silent."""

import asyncio
import contextlib
import re
import ssl
from collections import defaultdict, deque
from dataclasses import dataclass, field

DROP = "drop"
"""Instead of an answer: the connection is closed."""
SILENCE = "silence"


@dataclass
class Taken:
    """A mail that was taken, as it came over the wire."""

    sender: str
    recipients: list[str]
    data: bytes
    options: str = ""
    tls: bool = False
    connection: int = 0


@dataclass
class Sink:
    """`script[step]` are the next answers of a step (connect, ehlo, starttls, auth, mail, rcpt, rset, data, dot)."""

    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN")
    context: ssl.SSLContext | None = None
    implicit: bool = False
    mails: list[Taken] = field(default_factory=list)
    script: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is cleared the answer to the last dot is kept back."""
    port: int = 0

    async def __aenter__(self) -> "Sink":
        self.gate.set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        secure = self.context if self.implicit else None
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, ssl=secure, limit=2**22)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, count: int) -> None:
        """Wait until so many mails were taken."""
        async with asyncio.timeout(60):
            while len(self.mails) < count:
                self._changed.clear()
                await self._changed.wait()

    def say(self, step: str, *answers: str) -> None:
        """The next answers of a step."""
        self.script[step].extend(answers)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
                await self._talk(reader, writer, self.connections)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        tls = self.implicit
        if not await self._answer(writer, "connect", "220 sink.test ESMTP"):
            return
        sender, options, recipients = "", "", list[str]()
        while line := await reader.readline():
            text = line.decode().rstrip("\r\n")
            self.commands.append(text)
            verb = text.partition(" ")[0].upper()
            if verb in {"EHLO", "HELO"}:
                offered = ["sink.test", *self.extensions]
                if self.context is not None and not tls:
                    offered.append("STARTTLS")
                said = "".join(f"250{'-' if one is not offered[-1] else ' '}{one}\r\n" for one in offered)
                if not await self._answer(writer, "ehlo" if verb == "EHLO" else "helo", said.rstrip()):
                    return
            elif verb == "STARTTLS" and self.context is not None:
                if not await self._answer(writer, "starttls", "220 go"):
                    return
                await writer.start_tls(self.context)
                tls = True
            elif verb == "AUTH":
                if not await self._answer(writer, "auth", "235 2.7.0 yes"):
                    return
            elif verb == "MAIL":
                found = re.match(r"MAIL FROM:<([^>]*)>(.*)", text)
                assert found is not None, text
                sender, options, recipients = found[1], found[2].strip(), []
                if not await self._answer(writer, "mail", "250 2.1.0 ok"):
                    return
            elif verb == "RCPT":
                found = re.match(r"RCPT TO:<([^>]*)>(.*)", text)
                assert found is not None, text
                answer = self._next("rcpt", f"rcpt {found[1]}") or "250 2.1.5 ok"
                if answer.startswith("2"):
                    recipients.append(found[1])
                if not await self._say(writer, answer):
                    return
            elif verb == "DATA":
                if not recipients or (self.script["data"] or self.always.get("data")):
                    if not await self._answer(writer, "data", "554 5.5.1 nobody"):
                        return
                    continue
                writer.write(b"354 go\r\n")
                cut = self._next("body")
                if cut == DROP:
                    await reader.readline()
                    return
                data = await reader.readuntil(b"\r\n.\r\n")
                answer = self._next("dot") or "250 2.0.0 queued"
                kept = answer.startswith(("2", "kept"))
                if kept:
                    body = data[:-3].replace(b"\r\n..", b"\r\n.")
                    self.mails.append(Taken(sender, list(recipients), body, options, tls, number))
                    self._changed.set()
                await self.gate.wait()
                if not await self._say(writer, answer.removeprefix("kept ")):
                    return
            elif verb == "RSET":
                if not await self._answer(writer, "rset", "250 2.0.0 ok"):
                    return
            elif verb == "QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                return
            else:
                writer.write(b"502 5.5.1 what\r\n")

    def _next(self, *steps: str) -> str:
        for step in reversed(steps):
            if self.script[step]:
                return self.script[step].popleft()
            if step in self.always:
                return self.always[step]
        return ""

    async def _answer(self, writer: asyncio.StreamWriter, step: str, usual: str) -> bool:
        return await self._say(writer, self._next(step) or usual)

    async def _say(self, writer: asyncio.StreamWriter, answer: str) -> bool:
        if answer == DROP:
            return False
        if answer == SILENCE:
            await asyncio.Event().wait()
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        return not answer.startswith("421")
