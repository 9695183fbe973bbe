"""Files: uploaded once per key, with the address stored before the bytes go, and downloaded with a bound."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, Protocol

from yarl import URL

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, TooLargeError
from bridge_core.matrix.addresses import media_path
from bridge_core.matrix.homeserver import Homeserver

__all__ = ["Media", "MediaKeys", "StoredAddress"]

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", re.IGNORECASE)
_LEGACY = ("media", "v3", "upload")
_CHUNK = 64 * 1024
_SPOOL_LIMIT = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredAddress:
    """The address of a file of ours. `uploaded`: its bytes are known to be there."""

    mxc: str
    uploaded: bool = False


class MediaKeys(Protocol):
    """Which mxc address stands for which file of ours, durably."""

    async def get(self, key: str) -> StoredAddress | None:
        """What is stored for `key`."""

    async def put(self, key: str, address: StoredAddress) -> None:
        """Return when committed."""


class Media:
    """Uploads and downloads. Bytes are streamed, never held whole."""

    def __init__(self, homeserver: Homeserver, keys: MediaKeys) -> None:
        self._hs = homeserver
        self._keys = keys
        self._asynchronous = True
        self._limit: int | None = None

    async def upload(
        self, user: UserId, chunks: AsyncIterator[bytes], *, mime: str, name: str, size: int | None, key: str
    ) -> str:
        """Uploads once per `key` and returns the mxc address.

        Asynchronous uploads (spec v1.7): the address is created and stored before its bytes are put, and a conflict at
        the put means that an earlier try had succeeded. Homeservers without them get one plain upload. Raises
        TooLargeError for a file over the homeserver's limit.
        """
        if self._hs.puppets.of(user) is not None:
            user = self._hs.bot  # files are ours to put, whoever shows them
        limit = await self._upload_limit()
        if size is not None and size > limit:
            raise TooLargeError(f"the file is larger than the homeserver takes ({limit // 1024} KiB)")
        stored = await self._keys.get(key)
        if stored is not None and stored.uploaded:
            return stored.mxc
        mxc = stored.mxc if stored is not None else None
        if mxc is None and self._asynchronous:
            mxc = await self._reserve(user, key)
        async with _sized(chunks, size, limit) as (source, length):
            if mxc is None:
                mxc = await self._upload_plainly(user, source, length, mime, name)
            else:
                await self._put(mxc, user, source, length, mime, name, key)
        await self._keys.put(key, StoredAddress(mxc, uploaded=True))
        return mxc

    async def uploaded(self, key: str) -> str | None:
        """The address of a file that was uploaded whole under `key`; None when that is not known."""
        stored = await self._keys.get(key)
        return stored.mxc if stored is not None and stored.uploaded else None

    async def delete(self, mxc: str) -> None:
        """Deletes a file as the bot (Synapse's admin API). Raises MatrixRejectedError where it may not."""
        url = self._hs.addresses.rooted(f"_synapse/admin/v1/media/{media_path(mxc)}", user=self._hs.bot)
        await self._hs.requests.json("DELETE", url)

    async def download(self, mxc: str, limit: int) -> AsyncIterator[bytes]:
        """Streams a file by the authenticated endpoint (spec v1.11). Raises RejectedError over `limit` bytes."""
        url = self._hs.addresses.below(f"client/v1/media/download/{media_path(mxc)}", user=self._hs.bot)
        async with self._hs.requests.stream(url) as (length, chunks):
            if length is not None and length > limit:
                raise RejectedError(f"the file is larger than {limit // 1024} KiB")
            total = 0
            async for chunk in chunks:
                total += len(chunk)
                if total > limit:
                    raise RejectedError(f"the file is larger than {limit // 1024} KiB")
                yield chunk

    async def _reserve(self, user: UserId, key: str) -> str | None:
        url = self._hs.addresses.of("media", "v1", "create", user=user)
        try:
            answer = await self._hs.requests.json("POST", url)
        except MatrixRejectedError as error:
            if error.errcode == "M_UNRECOGNIZED":
                self._asynchronous = False
                return None
            raise
        mxc = _address(answer.get("content_uri"))
        await self._keys.put(key, StoredAddress(mxc))
        return mxc

    async def _put(self, mxc: str, user: UserId, source: "_Source", size: int, mime: str, name: str, key: str) -> None:
        url = self._hs.addresses.below(
            f"media/v3/upload/{media_path(mxc)}", user=user, query={"filename": name} if name else None
        )
        try:
            await source.send(self._hs, "PUT", url, size, _mime(mime))
        except MatrixRejectedError as error:
            if error.errcode == "M_CANNOT_OVERWRITE_MEDIA":
                return
            if error.errcode != "M_NOT_FOUND":
                raise
            # Reserved addresses expire (Synapse: after 24 h). The bytes are used up, so the lane tries again.
            await self._reserve(user, key)
            raise TransientError("the reserved media address had expired; a new one is stored") from error

    async def _upload_plainly(self, user: UserId, source: "_Source", size: int, mime: str, name: str) -> str:
        url = self._hs.addresses.of(*_LEGACY, user=user, query={"filename": name} if name else None)
        answer = await source.send(self._hs, "POST", url, size, _mime(mime))
        return _address(answer.get("content_uri"))

    async def _upload_limit(self) -> int:
        if self._limit is None:
            answer: dict[str, object] = {}
            for path in (("client", "v1", "media", "config"), ("media", "v3", "config")):
                try:
                    answer = await self._hs.requests.json("GET", self._hs.addresses.of(*path, user=self._hs.bot))
                    break
                except MatrixRejectedError:
                    continue
            limit = answer.get("m.upload.size")
            self._limit = limit if isinstance(limit, int) and limit > 0 else _SPOOL_LIMIT
        return self._limit


class _Source:
    """Bytes on their way out; keeps the error of whoever gives them, which the client would wrap."""

    def __init__(self, chunks: AsyncIterator[bytes], size: int) -> None:
        self._chunks = chunks
        self._size = size
        self._error: BridgeError | None = None

    async def send(self, homeserver: Homeserver, method: str, url: URL, size: int, mime: str) -> dict[str, Any]:
        """Sends them; raises the giver's own error where there was one."""
        try:
            return await homeserver.requests.put_bytes(method, url, self._read(), mime=mime, size=size)
        except BridgeError:
            if self._error is not None:
                raise self._error from None
            raise

    async def _read(self) -> AsyncIterator[bytes]:
        total = 0
        try:
            async for chunk in self._chunks:
                total += len(chunk)
                if total > self._size:
                    raise TransientError("the file is longer than was said")
                yield chunk
            if total < self._size:
                raise TransientError("the file ended early")
        except BridgeError as error:
            self._error = error
            raise


@asynccontextmanager
async def _sized(chunks: AsyncIterator[bytes], size: int | None, limit: int) -> AsyncIterator[tuple[_Source, int]]:
    """The bytes with their length; where it is not known they go through a temporary file, since Synapse wants it."""
    if size is not None:
        yield _Source(chunks, size), size
        return
    with tempfile.TemporaryFile() as file:
        total = 0
        async for chunk in chunks:
            total += len(chunk)
            if total > limit:
                raise TooLargeError(f"the file is larger than the homeserver takes ({limit // 1024} KiB)")
            await asyncio.to_thread(file.write, chunk)
        file.seek(0)
        yield _Source(_read_file(file), total), total


async def _read_file(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk


def _mime(mime: str) -> str:
    return mime if _MIME.fullmatch(mime) else "application/octet-stream"


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise TransientError("the homeserver stored a file without naming it")
    media_path(value)
    return value
