"""Who speaks on both sides, numbering what they say, and what independent raw clients saw of it."""

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field

import aiohttp

from bridge_core.demo.matrix_client import MatrixClient, MatrixError
from bridges.irc.demo.witness import Received, Witness, WitnessClosedError, WitnessTimeoutError

_AGAIN = 0.1
_LEAD = 60
"""Lines that IRC may be ahead of Matrix, where each message waits for the homeserver: on a loaded machine it would
else say more than can ever cross."""


@dataclass(frozen=True, slots=True)
class Said:
    """Something said: its number, when, and the event it is on Matrix."""

    number: int
    at: float
    event: str = ""


@dataclass(slots=True)
class MatrixSpeaker:
    """Says `m-TAG-NNNN` in a room. What it said was accepted by the homeserver: it asks again until it was."""

    client: MatrixClient
    room: str
    tag: str
    said: list[Said] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whoever holds it keeps this speaker silent."""

    async def say(self) -> Said:
        """Says the next one, however long the homeserver is away."""
        async with self.turn:
            return await self._say()

    async def _say(self) -> Said:
        number = len(self.said) + 1
        body = {"msgtype": "m.text", "body": f"m-{self.tag}-{number:04}"}
        at = time.time()
        event = ""
        while not event:
            try:
                event = await self.client.send(self.room, body, txn_id=f"{self.tag}-{number}")
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_AGAIN)
            except MatrixError as error:
                if error.status < 500:
                    raise
                await asyncio.sleep(_AGAIN)
        said = Said(number, at, event)
        self.said.append(said)
        return said


@dataclass(slots=True)
class IrcSpeaker:
    """Says `i-TAG-NNNN` in a channel, writes down all it sees there, and comes back when the server does."""

    host: str
    port: int
    nick: str
    channel: str
    tag: str = ""
    said: list[Said] = field(default_factory=list)
    past: list[Received] = field(default_factory=list)
    witness: Witness | None = None

    async def connect(self, timeout: float = 60) -> None:
        """Connects and joins; tries again until the server is there."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    self.witness = await Witness.connect(self.host, self.port, self.nick)
                    await self.witness.join(self.channel)
                    return
                except (OSError, WitnessClosedError, WitnessTimeoutError):
                    await self.close()
                    await asyncio.sleep(_AGAIN)

    async def close(self) -> None:
        """Keeps what was seen and leaves."""
        witness, self.witness = self.witness, None
        if witness is not None:
            self.past += witness.lines
            await witness.close()

    async def read_to_the_end(self) -> None:
        """Reads what a server that was killed had sent: on a loaded machine much of it may not be read yet."""
        if self.witness is not None:
            with contextlib.suppress(TimeoutError, WitnessTimeoutError):
                await self.witness.wait_closed()

    @property
    def there(self) -> bool:
        """Whether it is in the channel and can speak."""
        return self.witness is not None and not self.witness.closed

    def lines(self) -> list[Received]:
        """All it saw."""
        return self.past + (self.witness.lines if self.witness is not None else [])

    def say(self) -> Said | None:
        """Says the next one; None when the server is away."""
        if not self.there:
            return None
        assert self.witness is not None
        number = len(self.said) + 1
        self.said.append(Said(number, time.time()))
        self.witness.privmsg(self.channel, f"i-{self.tag}-{number:04}")
        return self.said[-1]

    def joined_since(self, nick: str, at: float) -> bool:
        """Whether somebody joined the channel after a time."""
        return any(
            line.at >= at
            and line.command == "JOIN"
            and line.nick.lower() == nick.lower()
            and line.params[0].lower() == self.channel.lower()
            for line in self.lines()
        )

    def heard(self, tag: str) -> list[tuple[int, float]]:
        """The numbers of `m-TAG-NNNN` in the order they came, each with its time."""
        wanted = re.compile(rf"\bm-{re.escape(tag)}-(\d{{4}})\b")
        found = []
        for line in self.lines():
            if line.command in ("PRIVMSG", "NOTICE") and line.params[0].lower() == self.channel.lower():
                match = wanted.search(line.text)
                if match is not None:
                    found.append((int(match[1]), line.at))
        return found


@dataclass(slots=True)
class Load:
    """Both speakers at work until stopped: bursts with pauses, so that entries wait in batches."""

    matrix: MatrixSpeaker
    irc: IrcSpeaker | None
    burst: int = 4
    pause: float = 0.12
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begins."""
        self._tasks = [asyncio.create_task(self._on_matrix(), name="matrix speaker")]
        if self.irc is not None:
            self._tasks.append(asyncio.create_task(self._on_irc(self.irc), name="irc speaker"))

    async def stop(self) -> None:
        """Ends when what is being said is said. Raises what a speaker raised."""
        self._stop.set()
        async with asyncio.timeout(90):
            await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        """Ends at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_matrix(self) -> None:
        while not self._stop.is_set():
            for _ in range(self.burst):
                await self.matrix.say()
            await self._rest()

    async def _on_irc(self, irc: IrcSpeaker) -> None:
        while not self._stop.is_set():
            if len(irc.said) < len(self.matrix.said) + _LEAD:
                for _ in range(self.burst):
                    irc.say()
            await self._rest()

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.pause):
                await self._stop.wait()
