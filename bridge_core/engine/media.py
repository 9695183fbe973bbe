"""Files on their way between Matrix and networks: streamed, bounded, uploaded once."""

import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from bridge_core.api.content import Attachment, MediaKind
from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Blobs
from bridge_core.api.ids import UserId
from bridge_core.engine import filetypes, imagesizes
from bridge_core.engine.encrypted_files import EncryptingStream
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.sources import Sources, beginning

log = structlog.get_logger(__name__)

_SEALED: Final = 256


@dataclass(frozen=True, slots=True)
class MediaCarrier:
    """Carries attachments."""

    matrix: MatrixSide
    blobs: Blobs
    sources: Sources
    faults: FaultPoints
    _sealed: OrderedDict[str, Attachment] = field(default_factory=OrderedDict)
    """The latest encrypted files by source and key: their keys are nowhere else until their message is stored."""

    async def to_matrix(
        self, attachment: Attachment, user: UserId, key: str, *, images_only: bool = False, sealed: bool = False
    ) -> Attachment:
        """The attachment as a file on Matrix, uploaded once per `key`. What claims to be an image must look like one.

        Type and kind are those of the bytes, and the sizes that an image does not say are filled in. What is on Matrix
        already stays where it is, with its keys when it is encrypted. `images_only` refuses what is no image. `sealed`:
        it is encrypted on its way; a process that ends before its message is stored leaves a file nobody can read.
        Raises TooLargeError, RejectedError for what is gone or refused, TransientError, RateLimitedError.
        """
        if attachment.source.startswith("mxc://"):
            return attachment
        if not sealed:
            return await self._carried(attachment, user, key, images_only)
        place = f"{attachment.source}:{key}"
        made = self._sealed.get(place)
        if made is None:
            made = self._sealed[place] = await self._carried(attachment, user, key, images_only, sealed=True)
            if len(self._sealed) > _SEALED:
                self._sealed.popitem(last=False)
        return made

    async def _carried(
        self, attachment: Attachment, user: UserId, key: str, images_only: bool, *, sealed: bool = False
    ) -> Attachment:
        if attachment.source.startswith("blob:") and attachment.keys is None:
            return await self._upload(attachment, attachment.source, user, key, images_only, sealed)
        # The homeserver wants to know the length first: what comes from elsewhere goes through the sealed spool.
        limit = self.sources.limit
        blob = await self.blobs.put(self.sources.open_attachment(attachment), limit)
        try:
            return await self._upload(replace(attachment, keys=None, size=None), blob, user, key, images_only, sealed)
        finally:
            await self._erase(blob)

    async def _upload(
        self, attachment: Attachment, blob: str, user: UserId, key: str, images_only: bool, sealed: bool
    ) -> Attachment:
        chunks = self.sources.open_attachment(replace(attachment, source=blob))
        image = attachment.kind in (MediaKind.IMAGE, MediaKind.STICKER)
        unsized = image and (attachment.width is None or attachment.height is None)
        head, chunks = await beginning(chunks, imagesizes.HEAD if unsized else filetypes.HEAD)
        mime = filetypes.true_type(head, attachment.mime)
        if images_only and not mime.startswith("image/"):
            raise RejectedError("it is no image")
        counted = _Counted(chunks)
        stream = EncryptingStream(counted.read(), attachment.size) if sealed else None
        self.faults.hit("media.before_upload")
        mxc = await self.matrix.upload(
            user,
            counted.read() if stream is None else aiter(stream),
            # Of an encrypted file nobody who sees it learns the name or the type.
            mime=mime if stream is None else "application/octet-stream",
            name=attachment.name if stream is None else "",
            size=attachment.size,
            # Other keys, other bytes: they must not be taken for those of an earlier try.
            key=f"{attachment.source}:{key}" if stream is None else f"sealed:{secrets.token_hex(16)}",
        )
        self.faults.hit("media.after_upload")
        size = imagesizes.image_size(head) if unsized else None
        return replace(
            attachment,
            source=mxc,
            keys=attachment.keys if stream is None else json.dumps(stream.keys()),
            mime=mime,
            kind=filetypes.true_kind(attachment.kind, mime),
            size=attachment.size if attachment.size is not None else counted.total,
            width=size[0] if size is not None else attachment.width,
            height=size[1] if size is not None else attachment.height,
        )

    async def withdraw(self, sources: Sequence[str], *, shared: bool) -> None:
        """Files of ours that are not to be shown in a room after all: have the homeserver delete them, if it lets us.

        `shared`: another room may show them, in the clear; then they stay, since files are uploaded once for all rooms.
        """
        for source in sources:
            try:
                if shared:
                    raise RejectedError("another room of its chat may show it")
                await self.matrix.delete_file(source)
            except BridgeError as error:
                log.warning("file_left_in_clear", file=source, error=str(error))

    async def done(self, attachment: Attachment) -> None:
        """The attachment is needed no more: erase it from the spool. What cannot be erased now is only logged."""
        if attachment.source.startswith("blob:"):
            await self._erase(attachment.source)

    async def _erase(self, blob: str) -> None:
        try:
            await self.blobs.drop(blob)
        except (BridgeError, OSError) as error:
            log.warning("blob_not_erased", error=type(error).__name__)


@dataclass(slots=True)
class _Counted:
    """Bytes, and how many they were once all have been read (None until then)."""

    chunks: AsyncIterator[bytes]
    total: int | None = field(default=None, init=False)

    async def read(self) -> AsyncIterator[bytes]:
        total = 0
        async for chunk in self.chunks:
            total += len(chunk)
            yield chunk
        self.total = total
