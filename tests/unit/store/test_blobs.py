"""The spool gets rid of what nobody waits for."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.store.blobs import BlobSpool

SECRET = b"s" * 32
DAY = 86400.0


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """A file in pieces."""
    for part in parts:
        yield part


async def read(spool: BlobSpool, source: str) -> bytes:
    """All of a file."""
    return b"".join([part async for part in spool.open(source)])


def age(folder: Path, source: str, seconds: float) -> None:
    """Makes a file that much older."""
    then = time.time() - seconds
    os.utime(folder / source.removeprefix("blob:"), (then, then))


async def test_files_nobody_waits_for_are_removed_at_start(tmp_path: Path) -> None:
    """What a crash left before its message was received goes once no message can be tried any more, no sooner."""
    first = BlobSpool(tmp_path, SECRET, 10_000)
    await first.start()
    old, young = await first.put(chunks(b"old"), 100), await first.put(chunks(b"young"), 100)
    age(tmp_path, old, 8 * DAY + 60)
    age(tmp_path, young, 8 * DAY - 60)
    second = BlobSpool(tmp_path, SECRET, 10_000)
    await second.start()
    assert await read(second, young) == b"young"
    with pytest.raises(RejectedError):
        await read(second, old)


async def test_files_grow_no_older_while_the_spool_is_not_in_use(tmp_path: Path) -> None:
    """After days of a bridge that stood still each file is there for as long as it had left, and no longer."""
    first = BlobSpool(tmp_path, SECRET, 10_000)
    await first.start()
    old, young = await first.put(chunks(b"old"), 100), await first.put(chunks(b"young"), 100)
    age(tmp_path, old, 20 * DAY + 60)
    age(tmp_path, young, 19 * DAY)
    stood = time.time() - 12 * DAY
    os.utime(tmp_path, (stood, stood))
    second = BlobSpool(tmp_path, SECRET, 10_000)
    await second.start()
    assert await read(second, young) == b"young"
    with pytest.raises(RejectedError):
        await read(second, old)
    assert await second.sweep(time.time() + DAY / 2) == 0
    third = BlobSpool(tmp_path, SECRET, 10_000)
    await third.start()
    assert await third.sweep(time.time() + DAY + 60) == 1


async def test_a_full_spool_is_free_again_after_a_sweep(tmp_path: Path) -> None:
    """Bytes of expired files count no more; a file that is being written is left alone."""
    spool = BlobSpool(tmp_path, SECRET, 1000, keep=DAY)
    await spool.start()
    await spool.put(chunks(b"x" * 900), 1000)
    with pytest.raises(TransientError, match="full"):
        await spool.put(chunks(b"y" * 900), 1000)
    half, written = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        half.set()
        await written.wait()
        yield b"z"

    writing = asyncio.create_task(spool.put(slowly(), 10))
    await half.wait()
    assert await spool.sweep(time.time() + DAY / 2) == 0
    assert await spool.sweep(time.time() + DAY + 60) == 1
    written.set()
    assert await read(spool, await writing) == b"z"
    await spool.put(chunks(b"y" * 900), 1000)


class Hours:
    """A clock on which hours pass at once, until `left` of them have."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.now = time.time()
        self.over = asyncio.Event()

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if not self.left:
            self.over.set()
            await asyncio.Event().wait()
        self.left -= 1
        self.now += seconds


async def test_the_spool_is_swept_while_the_bridge_runs(tmp_path: Path) -> None:
    """Every hour, also after one when the folder could not be read."""
    spool = BlobSpool(tmp_path / "spool", SECRET, 1000, keep=DAY)
    await spool.start()
    await spool.put(chunks(b"x"), 10)
    (tmp_path / "spool").rename(tmp_path / "away")
    clock = Hours(1)
    task = asyncio.create_task(spool.keep_swept(clock))
    await clock.over.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (tmp_path / "away").rename(tmp_path / "spool")
    clock = Hours(25)
    task = asyncio.create_task(spool.keep_swept(clock))
    await clock.over.wait()
    assert list((tmp_path / "spool").iterdir()) == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 262_144, 262_145, 327_680, 1_000_000])
@pytest.mark.parametrize("piece", [1000, 65_536, 300_000])
async def test_files_of_all_sizes_come_back(tmp_path: Path, size: int, piece: int) -> None:
    """Around the borders of what is sealed and written at once, in pieces of whatever size."""
    spool = BlobSpool(tmp_path, SECRET, 10_000_000)
    await spool.start()
    content = bytes(number % 251 for number in range(size))
    source = await spool.put(chunks(*(content[at : at + piece] for at in range(0, size, piece))), size)
    assert await read(spool, source) == content
    assert [path.suffix for path in tmp_path.iterdir()] == [""]


async def test_a_renewed_file_is_kept(tmp_path: Path) -> None:
    """Its age begins again; of one that is gone that is told."""
    spool = BlobSpool(tmp_path, SECRET, 10_000, keep=DAY)
    await spool.start()
    kept, left = await spool.put(chunks(b"kept"), 10), await spool.put(chunks(b"left"), 10)
    for source in (kept, left):
        age(tmp_path, source, DAY + 60)
    await spool.renew(kept)
    assert await spool.sweep(time.time()) == 1
    assert await read(spool, kept) == b"kept"
    with pytest.raises(RejectedError):
        await spool.renew(left)


async def test_files_being_written_count(tmp_path: Path) -> None:
    """Many at once cannot overfill the spool; one that is given up leaves its room, and nothing of itself."""
    spool = BlobSpool(tmp_path, SECRET, 1000)
    await spool.start()
    begun, broken = asyncio.Event(), asyncio.Event()

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * 600
        begun.set()
        await broken.wait()
        raise ConnectionError

    writing = asyncio.create_task(spool.put(breaking(), 1000))
    await begun.wait()
    with pytest.raises(TransientError, match="full"):
        await spool.put(chunks(b"y" * 600), 1000)
    broken.set()
    with pytest.raises(ConnectionError):
        await writing
    await spool.put(chunks(b"y" * 600), 1000)
    assert len(list(tmp_path.iterdir())) == 1


async def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    """Where less than the reserve would be left nothing is written: the database beside the spool needs it."""
    spool = BlobSpool(tmp_path, SECRET, 1000, reserve=1 << 60)
    await spool.start()
    with pytest.raises(TransientError, match="No space left"):
        await spool.put(chunks(b"x"), 10)
    assert list(tmp_path.iterdir()) == []
