"""Where the bytes of a file come from: Matrix, the spool, or a stranger's web server under guard."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from bridge_core.api.content import Attachment
from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Blobs
from bridge_core.engine.encrypted_files import decrypted
from bridge_core.engine.matrix_ports import MatrixSide, TooLargeError

_LONGEST: Final = 4096
"""Characters of an address."""


class Fetch(Protocol):
    """Fetches for strangers: `matrix.guarded.GuardedFetch`."""

    def stream(self, url: str, limit: int) -> AsyncIterator[bytes]:
        """The file at an `https:` address, in chunks, as `GuardedHttp` guards: no private address, bounded in time.

        Raises TooLargeError over `limit` bytes, RejectedError, RateLimitedError, TransientError.
        """


@dataclass(frozen=True, slots=True)
class Sources:
    """Opens files. `limit` is bytes of one file."""

    matrix: MatrixSide
    blobs: Blobs
    fetch: Fetch
    limit: int

    def open(self, source: str, keys: str | None = None) -> AsyncIterator[bytes]:
        """The bytes of a source, in the clear: `keys` are those of an encrypted file. Nothing happens before reading.

        Raises RejectedError for what is no source, is gone, too large or damaged; TransientError, RateLimitedError.
        """
        chunks = self._raw(source)
        return chunks if keys is None else decrypted(chunks, keys)

    def open_attachment(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """As `open`. A file that says itself that it is too large is not begun."""
        if attachment.size is not None and attachment.size > self.limit:
            raise TooLargeError(f"the file is {attachment.size} bytes, and at most {self.limit} are carried")
        return self.open(attachment.source, attachment.keys)

    def _raw(self, source: str) -> AsyncIterator[bytes]:
        scheme, _, _ = source[:_LONGEST].partition(":")
        if len(source) > _LONGEST:
            raise RejectedError("the file's address is too long")
        if scheme == "mxc":
            return self.matrix.download(source, self.limit)
        if scheme == "blob":
            return self.blobs.open(source)
        if scheme == "https":
            return self.fetch.stream(source, self.limit)
        raise RejectedError("the file is at no address that can be opened")


async def beginning(chunks: AsyncIterator[bytes], wanted: int) -> tuple[bytes, AsyncIterator[bytes]]:
    """At least the first `wanted` bytes (or all there are), and everything, these bytes among it."""
    head = bytearray()
    async for chunk in chunks:
        head += chunk
        if len(head) >= wanted:
            break
    first = bytes(head)

    async def all_of_it() -> AsyncIterator[bytes]:
        if first:
            yield first
        async for chunk in chunks:
            yield chunk

    return first, all_of_it()
