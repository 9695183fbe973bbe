"""Texts that are too long for a network: put where media links lead, and taken back with their message."""

from collections.abc import AsyncIterator, Callable
from hashlib import blake2b
from typing import Final

from bridge_core.api.content import Attachment, MediaKind
from bridge_core.api.ids import NetworkId, RoomId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage
from bridge_core.engine.links import LinkLedger
from bridge_core.engine.matrix_ports import MatrixSide

_NAME: Final = "message.txt"
_MIME: Final = "text/plain"


class LongTexts:
    """Makes links to texts. `link` gives the link to a file on Matrix, None where links are off.

    What was said in a room that is `secret` is put nowhere: it would lie on the homeserver in the clear.
    """

    def __init__(
        self,
        network: NetworkId,
        matrix: MatrixSide,
        ledger: LinkLedger,
        link: Callable[[Attachment], str | None],
        secret: Callable[[RoomId], bool] = lambda room: False,
    ) -> None:
        self._network = network
        self._matrix = matrix
        self._ledger = ledger
        self._link = link
        self._secret = secret

    async def url(self, message: MatrixMessage | MatrixEdit, text: str) -> str | None:
        """As `Host.text_url`. The same text of the same event is uploaded once, however often it is tried."""
        probe = Attachment(MediaKind.FILE, _NAME, "mxc://probe/probe", _MIME)
        if self._link(probe) is None or self._secret(message.room):
            return None
        data = text.encode("utf-8", "replace")
        key = f"text:{blake2b(f'{message.room}{message.event_id}'.encode() + data, digest_size=16).hexdigest()}"
        source = await self._matrix.upload(
            self._matrix.bot, _chunks(data), mime=_MIME, name=_NAME, size=len(data), key=key
        )
        await self._ledger.add(self._network, message, source)
        return self._link(Attachment(MediaKind.FILE, _NAME, source, _MIME, len(data)))


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data
