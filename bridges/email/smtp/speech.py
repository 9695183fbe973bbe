"""What the server says on one connection: gathered while more commands are waiting, sent when the client listens."""

import asyncio
from typing import Final

import structlog

from bridges.email.codec.smtp import encode_reply
from bridges.email.ports import Reply
from bridges.email.smtp.wire import Gone, Wire

_log = structlog.get_logger(__name__)
_FAREWELL: Final = 5.0
_MUCH: Final = 8192


class Speech:
    """All bytes that a door writes go through here."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._out = bytearray()

    def say(self, reply: Reply) -> None:
        """Put an answer behind the others. One that does not fit on a wire (a bug of who made it) becomes a 451."""
        try:
            self._out += encode_reply(reply.code, reply.status, reply.text)
        except ValueError:
            _log.warning("smtp_reply_unfit", code=reply.code)
            self._out += encode_reply(451, "4.3.0", "trouble here, try again later")

    @property
    def much(self) -> bool:
        """Whether more has been said than should wait for more commands."""
        return len(self._out) > _MUCH

    def flush(self) -> None:
        """Send what was said."""
        if self._out:
            self._wire.write(bytes(self._out))
            self._out.clear()

    async def part(self) -> None:
        """Send it so that it is heard: unread bytes at the close would throw our last answer away."""
        self.flush()
        self._wire.finish()
        try:
            async with asyncio.timeout(_FAREWELL):
                while True:
                    await self._wire.piece(_FAREWELL)
        except (Gone, TimeoutError):
            return
