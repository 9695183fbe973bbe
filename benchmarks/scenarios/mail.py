"""mail: what accepting mail costs, beside a bare aiosmtpd that discards it and Postfix to a discarding sink."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.cpu import cpu_seconds, family_cpu_seconds, memory, settled
from benchmarks.options import Options
from benchmarks.processes import BenchmarkError, Child
from benchmarks.trusted_mail import SignedMails, Zone, hand_over

Result = dict[str, Any]

#: Connections at once, one for each mail, and the bytes of a mail.
AT_ONCE = 20
SMALL = 2048
#: Large mails that come at the same time, and their bytes.
LARGE_AT_ONCE = 50
LARGE = 25 * 1024 * 1024


async def accept(options: Options) -> Result:
    """Mails accepted per second and CPU for each: ours are sealed, synced and committed before the 250.

    `trusted`: signed mails whose authors are checked by SPF, DKIM and DMARC as well.
    """
    count = min(options.count, 5000)
    result: Result = {}
    kinds = [] if options.bare_only else ["ours"]
    if importlib.util.find_spec("aiosmtpd") is not None:
        kinds.append("aiosmtpd")
    for kind in kinds:
        async with _server(kind) as (child, port):
            found = await _small(port, count, lambda pid=child.pid: cpu_seconds(pid))  # type: ignore[misc]
            result |= {(key if kind == "ours" else f"{kind}_{key}"): value for key, value in found.items()}
    if not options.bare_only:
        result |= {f"trusted_{key}": value for key, value in (await _trusted(count)).items()}
    if os.getuid() == 0 and shutil.which("postfix"):
        result |= {f"postfix_{key}": value for key, value in (await _postfix(count)).items()}
    return result


async def large(options: Options) -> Result:
    """Fifty mails of 25 MiB at once: how many are taken, in what time, and how much memory over idle that takes."""
    result: Result = {}
    kinds = [] if options.bare_only else ["ours"]
    if importlib.util.find_spec("aiosmtpd") is not None:
        kinds.append("aiosmtpd")
    for kind in kinds:
        async with _server(kind) as (child, port):
            await _load(port, AT_ONCE, AT_ONCE, SMALL)
            await settled(child.pid)
            idle, peak = memory(child.pid).rss, 0
            before = cpu_seconds(child.pid)
            started = time.monotonic()
            loading = asyncio.ensure_future(_large(port))
            while not loading.done():
                peak = max(peak, memory(child.pid).rss)
                await asyncio.wait([loading], timeout=0.1)
            prefix = "" if kind == "ours" else f"{kind}_"
            result |= {
                f"{prefix}accepted": loading.result(),
                f"{prefix}seconds": time.monotonic() - started,
                f"{prefix}mb_over_idle": (peak - idle) / 1024,
                f"{prefix}cpu_ms_per_mib": (cpu_seconds(child.pid) - before) * 1000 / (LARGE_AT_ONCE * LARGE / 2**20),
            }
    return result


async def _large(port: int) -> int:
    """All of them get as far as DATA, and then send at the same time (smtp-source sends one after the other)."""
    line = b"x" * 76 + b"\r\n"
    piece = line * 840
    gate = asyncio.Barrier(LARGE_AT_ONCE)

    async def one() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for words in (
                b"",
                b"HELO x\r\n",
                b"MAIL FROM:<x@far.test>\r\n",
                b"RCPT TO:<a@bench.test>\r\n",
                b"DATA\r\n",
            ):
                writer.write(words)
                await reader.readline()
            await gate.wait()
            writer.write(b"Subject: large\r\n\r\n")
            for _ in range(LARGE // len(piece)):
                writer.write(piece)
                await writer.drain()
            writer.write(b".\r\n")
            return (await reader.readline()).startswith(b"250")
        except ConnectionError:
            return False
        finally:
            writer.close()

    return sum(await asyncio.gather(*(one() for _ in range(LARGE_AT_ONCE))))


@asynccontextmanager
async def _server(kind: str, *more: str) -> AsyncIterator[tuple[Child, int]]:
    with tempfile.TemporaryDirectory(prefix="bench-mail-") as name:
        folder = Path(name)
        child = await Child.spawn(folder, kind, "benchmarks.mail_process", kind, name, *more, announce=True)
        try:
            yield child, (await child.announced())["port"]
        finally:
            await child.stop()


async def _trusted(count: int) -> Result:
    """Mails of 200 domains, by a generator of our own: Postfix's does not sign, and is faster than it."""
    mails = SignedMails(SMALL)
    zone = await Zone.start(mails.record)
    try:
        async with _server("trusted", str(zone.port)) as (child, port):
            first, others = mails.make(200), mails.make(count)
            if not await hand_over(port, first, AT_ONCE):
                raise BenchmarkError("the server refused a signed mail")
            before, started = cpu_seconds(child.pid), time.monotonic()
            if not await hand_over(port, others, AT_ONCE):
                raise BenchmarkError("the server refused a signed mail")
            seconds = time.monotonic() - started
            await asyncio.sleep(0.5)
            used = cpu_seconds(child.pid) - before
    finally:
        zone.close()
    return {"mails_per_s": count / seconds, "cpu_ms_per_mail": used * 1000 / count}


async def _small(port: int, count: int, used: Callable[[], float]) -> Result:
    if not await _load(port, AT_ONCE, 200, SMALL):
        raise BenchmarkError("the server refused a mail")
    before, started = used(), time.monotonic()
    if not await _load(port, AT_ONCE, count, SMALL):
        raise BenchmarkError("the server refused a mail")
    seconds = time.monotonic() - started
    await asyncio.sleep(0.5)
    return {"mails_per_s": count / seconds, "cpu_ms_per_mail": (used() - before) * 1000 / count}


async def _load(port: int, at_once: int, count: int, size: int) -> bool:
    """Postfix's own load generator: a connection for each mail. Whether the server took them all."""
    command = shutil.which("smtp-source", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if command is None:
        raise BenchmarkError("smtp-source is not installed: it comes with postfix")
    process = await asyncio.create_subprocess_exec(
        command,
        *("-s", str(at_once), "-m", str(count), "-l", str(size)),
        *("-f", "x@far.test", "-t", "a@bench.test", f"127.0.0.1:{port}"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0


async def _postfix(count: int) -> Result:
    # The tests know how to run one; benchmarks are no tests, so it is only loaded where it can be used.
    make = importlib.import_module("tests.servers.postfix").Postfix
    with tempfile.TemporaryDirectory(prefix="bench-postfix-") as name:
        server = make(Path(name), {"bench.test": "discard:"})
        try:
            await server.start()
            found = await _small(server.port, count, lambda: family_cpu_seconds(server.pid))
        finally:
            await server.close()
    return found
