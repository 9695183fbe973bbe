"""A mail that comes in chunks (BDAT, RFC 3030), and the time that a mail has."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from bridges.email.codec.data import ChunkDecoder, LineCheck
from bridges.email.codec.smtp import Chunk
from bridges.email.ports import Reply
from bridges.email.smtp.parts import Job, Shared
from bridges.email.smtp.reception import Reception
from bridges.email.smtp.wire import Silence, Wire

_PIECE = 64 * 1024


async def in_time(pieces: AsyncIterator[bytes], seconds: float) -> AsyncGenerator[bytes, None]:
    """The pieces, all of which have to come in so many seconds. Raises Silence."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(until):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Silence("the mail took too long") from error
        yield piece


class Chunked:
    """Hands the bytes of one chunk after the other to the reception of their mail, which runs beside the commands."""

    def __init__(self, shared: Shared, wire: Wire, reception: Reception, there: Callable[[], bool]) -> None:
        self.reception = reception
        self._wire = wire
        self._settings = shared.parts.settings
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._receiving = Job(shared.parts.tasks, self._receive(there), "email chunks")
        self._receiving.task.add_done_callback(self._done)

    async def take(self, chunk: Chunk) -> Reply | None:
        """The chunk's bytes. Returns the answer to the mail when it is over, which may be before the last chunk."""
        left = chunk.size
        while left:
            piece = await self._wire.piece(self._settings.times.data, min(left, _PIECE))
            left -= len(piece)
            await self._give(piece)
        if chunk.last:
            await self._give(None)
        if chunk.last or self._receiving.done:
            return await self._receiving.outcome()
        return None

    async def abandon(self) -> None:
        """Forget the mail. Idempotent."""
        await self._receiving.cancel()

    async def _receive(self, there: Callable[[], bool]) -> Reply:
        async with aclosing(in_time(self._decoded(), self._settings.times.mail)) as pieces:
            return await self.reception.receive(pieces, there)

    async def _decoded(self) -> AsyncGenerator[bytes, None]:
        decoder = ChunkDecoder(LineCheck(self._settings.longest_line))
        while (piece := await self._pieces.get()) is not None:
            yield decoder.feed(piece)
        decoder.finish()

    async def _give(self, piece: bytes | None) -> None:
        # Nobody takes any more of a mail that was given up: what is left of its chunk is skipped.
        if not self._receiving.done:
            await self._pieces.put(piece)

    def _done(self, task: asyncio.Task[None]) -> None:
        while not self._pieces.empty():
            self._pieces.get_nowait()
