"""The spool: files on their way, in a folder, sealed at rest and bounded in all."""

import asyncio
import contextlib
import errno
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.host import Clock

_log = structlog.get_logger(__name__)
T = TypeVar("T")
_CHUNK: Final = 64 * 1024
_PIECE: Final = 4 * _CHUNK
_TAG: Final = 16
_SCHEME: Final = "blob:"
_SWEEP_EVERY: Final = 3600.0


class BlobSpool:
    """The `Blobs` of the contract. Each file has its own key, derived from the secret and its id.

    A file is a row of sealed chunks; the chunk's number, and whether it is the last, is part of what is sealed, so that
    chunks can be neither cut off nor swapped. `total` bounds the bytes of all files. Files whose message is not there
    any more (given up, a duplicate, not received before a crash) are found by their age: after `keep` seconds, which
    must be longer than any message is tried. `reserve` bytes of the disk are left free, for the database beside it.
    """

    def __init__(
        self,
        folder: Path,
        secret: bytes,
        total: int,
        executor: Executor | None = None,
        *,
        keep: float = 8 * 86400.0,
        reserve: int = 0,
    ) -> None:
        self._folder = folder
        self._secret = secret
        self._total = total
        self._executor = executor
        self._keep = keep
        self._reserve = reserve
        self._used = 0
        self._coming = 0

    async def start(self) -> None:
        """Make the folder, and count what is in it.

        Removes files that were being written when a crash came, and those that are too old. The time in which the spool
        was not in use is no part of a file's age: who keeps it could not renew it.
        """
        await self._off(self._scan)
        await self.sweep(time.time())

    async def sweep(self, now: float) -> int:
        """Remove files older than `keep`; `now` is in seconds since 1970. Returns how many those were."""
        sizes = await self._off(lambda: _remove_older(self._folder, now - self._keep))
        await self._off(lambda: os.utime(self._folder, (now, now)))
        self._used -= sum(sizes)
        if sizes:
            _log.info("blobs_expired", files=len(sizes), bytes=sum(sizes))
        return len(sizes)

    async def keep_swept(self, clock: Clock) -> None:
        """Sweep every hour, for ever: to be run in a task."""
        while True:
            await clock.sleep(_SWEEP_EVERY)
            try:
                await self.sweep(clock.now_ms() / 1000)
            except OSError as error:
                _log.warning("blobs_not_swept", error=error.strerror)

    def _scan(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._used = 0
        seen = self._folder.stat().st_mtime  # by the last sweep, or the last file that came or went
        times: dict[Path, float] = {}
        for path in self._folder.iterdir():
            if path.suffix == ".part":
                path.unlink()
            else:
                found = path.stat()
                times[path] = found.st_mtime
                self._used += found.st_size
        _shift(times, seen, time.time())

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> str:
        """As `Blobs.put`; durable when it returns.

        A small file is one trip to a thread, a large one a trip for each piece of it; that is what is held in memory.
        """
        name = secrets.token_hex(16)
        writing = _Writing(self._folder, name, self._cipher(name), self._reserve)
        size, pending = 0, bytearray()
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise RejectedError(f"the file is larger than {limit} bytes")
                if self._used + self._coming + len(chunk) > self._total:
                    raise TransientError("the spool is full")
                self._coming += len(chunk)
                writing.counted += len(chunk)
                pending += chunk
                if len(pending) > _PIECE:
                    await self._write(writing.add, bytes(pending[:_PIECE]))
                    del pending[:_PIECE]
            await self._write(writing.finish, bytes(pending))
        except BaseException:
            # Not in a thread: nothing can be awaited any more by who is cancelled.
            writing.undo()
            raise
        finally:
            self._coming -= writing.counted
        self._used += writing.written
        return _SCHEME + name

    async def _write(self, work: Callable[[bytes], None], piece: bytes) -> None:
        try:
            await self._off(lambda: work(piece))
        except OSError as error:
            raise TransientError(f"the spool cannot be written: {error.strerror}") from error

    async def renew(self, source: str) -> None:
        """As `Blobs.renew`."""
        path = self._folder / self._name(source)
        try:
            await self._off(lambda: os.utime(path))
        except FileNotFoundError as error:
            raise RejectedError("the file is not there any more") from error
        except OSError as error:
            raise TransientError(f"the spool cannot be written: {error.strerror}") from error

    async def open(self, source: str) -> AsyncIterator[bytes]:
        """As `Blobs.open`. A damaged file is a RejectedError, never wrong bytes.

        A small file is one trip to a thread, a large one a trip for each piece of it; that is what is held in memory.
        """
        name = self._name(source)
        reading = _Reading(self._folder / name, self._cipher(name))
        try:
            while not reading.ended:
                for block in await self._off(reading.piece):
                    yield block
        except FileNotFoundError as error:
            raise RejectedError("the file is not there any more") from error
        except InvalidTag as error:
            raise RejectedError("the file is damaged, or was sealed with another secret") from error
        finally:
            reading.close()

    async def drop(self, source: str) -> None:
        """As `Blobs.drop`."""
        path = self._folder / self._name(source)

        def remove() -> int:
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return 0
            return size

        self._used -= await self._off(remove)

    def _name(self, source: str) -> str:
        name = source.removeprefix(_SCHEME)
        if not source.startswith(_SCHEME) or len(name) != 32 or not set(name) <= set("0123456789abcdef"):
            raise RejectedError("this is no file of the spool")
        return name

    def _cipher(self, name: str) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, None, b"blob " + name.encode()).derive(self._secret))

    async def _off(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class _Reading:
    """A file that is being read: for one thread at a time."""

    def __init__(self, path: Path, cipher: AESGCM) -> None:
        self._path = path
        self._cipher = cipher
        self._file: BinaryIO | None = None
        self._next = b""
        self._index = 0
        self._closed = False
        self.ended = False

    def piece(self) -> list[bytes]:
        """The next chunks, opened; `ended` is set with the last."""
        if self._file is None:
            self._file = self._path.open("rb", buffering=0)
            self._next = self._chunk()
        found: list[bytes] = []
        while not self.ended and len(found) < _PIECE // _CHUNK:
            # Which is the last is part of what is sealed.
            block, self._next = self._next, self._chunk()
            self.ended = not self._next
            found.append(self._cipher.decrypt(_nonce(self._index, self.ended), block, None))
            self._index += 1
        if self.ended or self._closed:  # who reads was cancelled meanwhile
            self.close()
        return found

    def close(self) -> None:
        """Idempotent. Does not block: nothing was written."""
        self._closed = True
        if self._file is not None:
            self._file.close()

    def _chunk(self) -> bytes:
        assert self._file is not None
        found = self._file.read(_CHUNK + _TAG)
        while 0 < len(found) < _CHUNK + _TAG and (more := self._file.read(_CHUNK + _TAG - len(found))):
            found += more
        return found


class _Writing:
    """A file that is being written: for one thread at a time. `counted` are its bytes so far, sealed or not."""

    def __init__(self, folder: Path, name: str, cipher: AESGCM, reserve: int) -> None:
        self._folder = folder
        self._path = folder / name
        self._part = folder / f"{name}.part"
        self._cipher = cipher
        self._reserve = reserve
        self._file: BinaryIO | None = None
        self._index = 0
        self.counted = 0
        self.written = 0

    def add(self, piece: bytes) -> None:
        """Write whole chunks; more must follow."""
        sealed = [
            _seal(self._cipher, piece[at : at + _CHUNK], self._index + number, False)
            for number, at in enumerate(range(0, len(piece), _CHUNK))
        ]
        self._index += len(sealed)
        self._write(b"".join(sealed))

    def finish(self, rest: bytes) -> None:
        """Write what is left, and return when the file is durable under its name."""
        whole = max(0, (len(rest) - 1) // _CHUNK) * _CHUNK
        if whole:
            self.add(rest[:whole])
        self._write(_seal(self._cipher, rest[whole:], self._index, True))
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def undo(self) -> None:
        """Remove what there is of it, also where it is complete but was not said to be."""
        if self._file is not None:
            self._file.close()
        self._part.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def _write(self, sealed: bytes) -> None:
        if self._file is None:
            self._file = self._part.open("xb", buffering=0)
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail * disk.f_frsize < self._reserve + len(sealed):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = memoryview(sealed)
        while view:
            view = view[self._file.write(view) :]
        self.written += len(sealed)


def _remove_older(folder: Path, before: float) -> list[int]:
    """The sizes of the files removed. Those being written are not among them."""
    sizes = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if path.suffix != ".part" and found.st_mtime < before:
                path.unlink()
                sizes.append(found.st_size)
    return sizes


def _shift(times: dict[Path, float], seen: float, now: float) -> None:
    """Take the time since the spool was last in use off the age of its files."""
    if now - seen > 2 * _SWEEP_EVERY:
        for path, written in times.items():
            later = min(written + now - seen, now)
            os.utime(path, (later, later))


def _nonce(index: int, last: bool) -> bytes:
    # One key per file: a counter is a nonce that never comes twice.
    return index.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def _seal(cipher: AESGCM, block: bytes, index: int, last: bool) -> bytes:
    return cipher.encrypt(_nonce(index, last), block, None)
