"""The stub IRC server's generator of channel messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from benchmarks.tally import mark

#: A channel and a complete line for it.
Line = tuple[bytes, bytes]

#: Lines written between two looks at the clients' buffers.
CHUNK = 200


class Writable(Protocol):
    """A connection that says when it can take more."""

    ready: asyncio.Event

    def write(self, data: bytes) -> None:
        """Send bytes."""


W = TypeVar("W", bound=Writable)


async def write_all(out: Mapping[W, Sequence[bytes]]) -> None:
    """Write to every connection, then wait until each can take more."""
    for client, data in out.items():
        client.write(b"".join(data))
    for client in out:
        if not client.ready.is_set():
            await client.ready.wait()


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says ``count`` numbered lines round-robin over channels, as ``nicks`` nicks per channel.

    ``first`` is the number of the first nick; to speak as others than those before.
    With ``rate`` (lines per second) each leaves at its own time; without, as fast as the clients take them.
    """

    channels: list[bytes]
    nicks: int
    count: int
    rate: float = 0.0
    first: int = 0

    def line(self, sequence: int) -> Line:
        """Make one line; nick ``c3n5`` is the sixth speaker of the fourth channel."""
        turn, place = divmod(sequence, len(self.channels))
        channel = self.channels[place]
        nick = f"c{place}n{self.first + turn % self.nicks}"
        text = f"{mark(sequence, time.monotonic_ns())} hello there, a message of ordinary length"
        return channel, f":{nick}!user@host.example PRIVMSG {channel.decode()} :{text}\r\n".encode()

    async def run(self, deliver: Callable[[list[Line]], Awaitable[None]]) -> None:
        """Say everything."""
        if self.rate > 0:
            started = time.monotonic()
            for sequence in range(self.count):
                pause = started + sequence / self.rate - time.monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
                await deliver([self.line(sequence)])
            return
        for start in range(0, self.count, CHUNK):
            await deliver([self.line(n) for n in range(start, min(start + CHUNK, self.count))])
            await asyncio.sleep(0)
