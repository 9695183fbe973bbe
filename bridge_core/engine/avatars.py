"""Pictures of people and chats on Matrix: uploaded once per source, never anything but an image."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from bridge_core.api.content import Attachment, MediaKind
from bridge_core.api.errors import RejectedError
from bridge_core.content.addresses import is_mxc
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.media import MediaCarrier

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of one picture."""
_KEY: Final = "avatar"


@dataclass(slots=True)
class _Turn:
    """Who wants one picture; the first one uploads it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: int = 0


@dataclass(frozen=True, slots=True)
class Avatars:
    """Brings pictures to Matrix. `carrier` carries files of at most `LARGEST` bytes."""

    matrix: MatrixSide
    carrier: MediaCarrier
    _turns: dict[str, _Turn] = field(default_factory=dict)

    async def mxc(self, source: str) -> str:
        """Where a picture (`blob:`, `https:` or `mxc:`) is on Matrix; empty for an empty source.

        The bot uploads it, once per source, whoever has it; so a new picture needs a new address. A blob is erased
        then. Raises RejectedError for what is gone, too large or no image; TransientError, RateLimitedError.
        """
        if not source:
            return ""
        if source.startswith("mxc:"):
            if not is_mxc(source):
                raise RejectedError("the picture's address is unusable")
            return source
        turn = self._turns.setdefault(source, _Turn())
        turn.count += 1
        try:
            async with turn.lock:
                return await self._uploaded(source)
        finally:
            turn.count -= 1
            if not turn.count:
                del self._turns[source]

    async def _uploaded(self, source: str) -> str:
        known = await self.matrix.uploaded(f"{source}:{_KEY}")
        if known is not None:
            return known
        picture = Attachment(MediaKind.IMAGE, _KEY, source)
        try:
            carried = await self.carrier.to_matrix(picture, self.matrix.bot, _KEY, images_only=True)
        except RejectedError:
            await self.carrier.done(picture)
            raise
        await self.carrier.done(picture)
        return carried.source
