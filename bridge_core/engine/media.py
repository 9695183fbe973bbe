"""Files on their way between Matrix and networks: streamed, bounded, uploaded once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

import structlog

from bridge_core.api.content import Attachment
from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Blobs
from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import MatrixSide, TooLargeError

log = structlog.get_logger(__name__)

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"PK\x03\x04", "application/zip"),
)


def sniff(head: bytes) -> str | None:
    """The media type that the first bytes show, None when they show none we know."""
    for signature, mime in _SIGNATURES:
        if head.startswith(signature):
            return mime
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


@dataclass(frozen=True, slots=True)
class MediaCarrier:
    """Carries attachments. `limit` is bytes of one file."""

    matrix: MatrixSide
    blobs: Blobs
    limit: int

    async def to_matrix(self, attachment: Attachment, user: UserId, key: str) -> Attachment:
        """The attachment as a file on Matrix, uploaded once per `key`. What claims to be an image must look like one.

        Raises TooLargeError, RejectedError for what is gone or refused, TransientError.
        """
        if attachment.source.startswith("mxc://"):
            return attachment
        if attachment.size is not None and attachment.size > self.limit:
            raise TooLargeError(f"the file is {attachment.size} bytes, and at most {self.limit} are carried")
        chunks, head = await _peek(self.blobs.open(attachment.source))
        mime = sniff(head) or attachment.mime or "application/octet-stream"
        if mime.startswith(("text/html", "application/xhtml", "image/svg")):
            mime = "application/octet-stream"  # nothing that a browser would run
        mxc = await self.matrix.upload(
            user, chunks, mime=mime, name=attachment.name, size=attachment.size, key=f"{attachment.source}:{key}"
        )
        return replace(attachment, source=mxc, mime=mime)

    async def done(self, attachment: Attachment) -> None:
        """The attachment is needed no more: erase it from the spool. What cannot be erased now is only logged."""
        if not attachment.source.startswith("blob:"):
            return
        try:
            await self.blobs.drop(attachment.source)
        except (BridgeError, OSError) as error:
            log.warning("blob_not_erased", error=type(error).__name__)


async def _peek(chunks: AsyncIterator[bytes]) -> tuple[AsyncIterator[bytes], bytes]:
    head = await anext(chunks, b"")

    async def all_of_it() -> AsyncIterator[bytes]:
        if head:
            yield head
        async for chunk in chunks:
            yield chunk

    return all_of_it(), head
