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
