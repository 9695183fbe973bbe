"""mail-rooms: mails from the door into rooms, on a stub homeserver: how many each second, and CPU for each."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.bridge_process import AS_TOKEN, BOT, DOMAIN, HS_TOKEN, JOURNAL_KEY, free_port
from benchmarks.cpu import family_cpu_seconds
from benchmarks.options import Options
from benchmarks.processes import BenchmarkError, Child, StubMatrix
from benchmarks.tally import mark

Result = dict[str, Any]

#: Connections at once, each with a person of its own; mailboxes that they write to.
AT_ONCE: Final = 20
BOXES: Final = 10
#: Characters of text of a mail, bytes of a file.
TEXT: Final = 4096
FILE: Final = 1 << 20
FILES: Final = 100
_VERIFIER: Final = "verifier.test"


async def mailrooms(options: Options) -> Result:
    """Mails of 4 KiB of text, then mails with a file of 1 MiB; the processes that parse are counted in."""
    async with _bridge() as (matrix, bridge, port):
        numbers = iter(range(10**9))
        await _sent(matrix, port, numbers, BOXES * AT_ONCE, b"")
        count = min(options.count, 3000)
        text = await _measured(matrix, bridge.pid, port, numbers, count, b"")
        body = base64.encodebytes(bytes(range(256)) * (FILE // 256)).replace(b"\n", b"\r\n")
        files = await _measured(matrix, bridge.pid, port, numbers, FILES, body)
    return text | {f"file_{key}": value for key, value in files.items()}


async def _measured(matrix: StubMatrix, pid: int, port: int, numbers: Any, count: int, file: bytes) -> Result:
    await _idle(pid)
    await matrix.ask("reset")
    before, started = family_cpu_seconds(pid), time.monotonic()
    await _sent(matrix, port, numbers, count, file)
    seconds = time.monotonic() - started
    used = await _idle(pid) - before
    stats = await matrix.ask("stats")
    return {
        "mails_per_s": count / seconds,
        "cpu_ms_per_mail": used * 1000 / count,
        "count": stats["count"],
        "doubled": stats["doubled"],
        "p50_ms": stats["p50_ms"],
    }


async def _idle(pid: int) -> float:
    """Wait until the bridge and what parses for it have nothing to do; its CPU seconds."""
    before = family_cpu_seconds(pid)
    for _ in range(20):
        await asyncio.sleep(0.5)
        now = family_cpu_seconds(pid)
        if now - before <= 0.01:
            return now
        before = now
    return before


async def _sent(matrix: StubMatrix, port: int, numbers: Any, count: int, file: bytes) -> None:
    """Hand over so many mails, on connections that are kept, and wait until all are in their rooms."""
    left = iter(range(count))
    before = (await matrix.ask("stats"))["count"]
    await asyncio.gather(*(_talk(port, person, left, numbers, file) for person in range(AT_ONCE)))
    await matrix.wait(before + count, 600)


async def _talk(port: int, person: int, left: Any, numbers: Any, file: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def say(words: bytes, wanted: bytes) -> None:
        writer.write(words)
        line = await reader.readline()
        while line[3:4] == b"-":
            line = await reader.readline()
        if not line.startswith(wanted):
            raise BenchmarkError(f"the bridge answered {line.decode(errors='replace').strip()}")

    try:
        await say(b"", b"220")
        await say(b"EHLO x.far.test\r\n", b"250")
        for one in left:
            await say(b"MAIL FROM:<p%d@far.test>\r\n" % person, b"250")
            await say(b"RCPT TO:<b%d@bench.test>\r\n" % (one % BOXES), b"250")
            await say(b"DATA\r\n", b"354")
            await say(_mail(person, one % BOXES, next(numbers), file), b"250")
    finally:
        writer.close()


def _mail(person: int, box: int, number: int, file: bytes) -> bytes:
    head = (
        f"Authentication-Results: {_VERIFIER}; dmarc=pass header.from=far.test\r\n"
        f"From: Person {person} <p{person}@far.test>\r\nTo: b{box}@bench.test\r\n"
        f"Subject: Number {number}\r\nMessage-ID: <{number}@far.test>\r\nMIME-Version: 1.0\r\n"
    )
    text = f"{mark(number, time.monotonic_ns())}\r\n"
    plain = "Content-Type: text/plain; charset=utf-8\r\n\r\n"
    if not file:
        lines = (f"Line {line} of a letter that has many words in it, as letters have them.\r\n" for line in range(99))
        return (head + plain + (text + "".join(lines))[:TEXT] + "\r\n.\r\n").encode()
    return b"".join(
        (
            f'{head}Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n{plain}{text}\r\n--b\r\n'.encode(),
            b'Content-Type: application/octet-stream; name="a.bin"\r\nContent-Disposition: attachment; '
            b'filename="a.bin"\r\nContent-Transfer-Encoding: base64\r\n\r\n',
            file,
            b"\r\n--b--\r\n.\r\n",
        )
    )


@asynccontextmanager
async def _bridge() -> AsyncIterator[tuple[StubMatrix, Child, int]]:
    """A stub homeserver and a bridge with ten mailboxes; the port of its door."""
    with tempfile.TemporaryDirectory(prefix="bench-mailrooms-") as name:
        folder = Path(name)
        stub = await Child.spawn(folder, "stub_homeserver", "benchmarks.stub_homeserver", "--bot", BOT, announce=True)
        try:
            url = f"http://127.0.0.1:{(await stub.announced())['port']}"
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=900)) as session:
                matrix = StubMatrix(stub, url, session)
                listen, health, port = free_port(), free_port(), free_port()
                await matrix.ask("appservice", url=f"http://127.0.0.1:{listen}", hs_token=HS_TOKEN)
                _write(folder, url, listen, health, port)
                bridge = await Child.spawn(
                    folder, "bridge", "bridge_core.cli.main", "run", "-c", str(folder / "config.yaml"), announce=False
                )
                try:
                    await bridge.ready(f"http://127.0.0.1:{health}/health/ready", 60)
                    yield matrix, bridge, port
                finally:
                    await bridge.stop()
        finally:
            await stub.stop()


def _write(folder: Path, homeserver: str, listen: int, health: int, port: int) -> None:
    config = {
        "homeserver": {"address": homeserver, "domain": DOMAIN},
        "appservice": {
            "id": "bench",
            "listen": f"127.0.0.1:{listen}",
            "bot": BOT,
            "registration": "registration.yaml",
        },
        "database": {"url": "sqlite:///bridge.db"},
        "journal": {"secret": JOURNAL_KEY},
        "permissions": {"local": "user"},
        "media": {"enabled": False},
        "limits": {"membership_rate": 1000},
        "health": {"listen": f"127.0.0.1:{health}"},
        "logging": {"level": "warning", "format": "json"},
        "networks": {
            "mail": {
                "type": "email",
                "hostname": "mail.bench.test",
                "domains": [DOMAIN],
                "mailboxes": {f"b{number}@{DOMAIN}": {"members": [f"@u0:{DOMAIN}"]} for number in range(BOXES)},
                "receiving": {"doors": [{"kind": "smtp", "listen": f"127.0.0.1:{port}"}]},
                "trust": {"authserv_id": _VERIFIER, "believed": ["127.0.0.0/8"]},
                "delivery": {"smarthosts": [{"host": "127.0.0.1", "port": 9, "tls": "none"}]},
            }
        },
    }
    domain = re.escape(DOMAIN)
    registration = {
        "id": "bench",
        "url": f"http://127.0.0.1:{listen}",
        "as_token": AS_TOKEN,
        "hs_token": HS_TOKEN,
        "sender_localpart": BOT,
        "rate_limited": False,
        "namespaces": {
            "users": [{"exclusive": True, "regex": f"@_mail_.*:{domain}"}],
            "aliases": [{"exclusive": True, "regex": f"#_mail_.*:{domain}"}],
            "rooms": [],
        },
        "receive_ephemeral": True,
    }
    for file, content in (("config.yaml", config), ("registration.yaml", registration)):
        (folder / file).write_text(json.dumps(content, indent=1))
        (folder / file).chmod(0o600)
