"""A mail server that is killed while mails come in: what it acknowledged it has, what is given again is there once."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from bridge_core.store.blobs import BlobSpool
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from bridges.email.envelopes import decode
from tests.bridges.email.smtp.rig import Caller

pytestmark = pytest.mark.crash
KILLS = 4
SENDERS = 8


class Killed:
    """`benchmarks.mail_process`, which is our doors on disk, started again after each kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.mail_process", "ours", str(self._folder)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            self.port = json.loads(await self._process.stdout.readline())["port"]

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()


async def give(port: int, mail: str) -> bool:
    """Whether the mail was taken, as far as its sender knows."""
    try:
        async with await Caller.call(port) as client:
            await client.hear()
            await client.say("EHLO x", "MAIL FROM:<x@far.test>", "RCPT TO:<a@b.test>", "DATA")
            client.send(f"Message-ID: <{mail}@far.test>\r\n\r\n{'text ' * 400}{mail}\r\n.\r\n".encode())
            return (await client.hear()).startswith("250")
    except (OSError, TimeoutError):
        return False


async def test_a_killed_server_keeps_what_it_took(tmp_path: Path) -> None:
    """Each sender gives its mails one after the other, and one that was not acknowledged until it is."""
    server = Killed(tmp_path)
    taken: list[str] = []
    tries = 0
    up = asyncio.Event()
    done = asyncio.Event()

    async def send(number: int) -> None:
        nonlocal tries
        count = 0
        while not done.is_set():
            mail = f"{number}-{count}"
            await up.wait()
            tries += 1
            if await give(server.port, mail):
                taken.append(mail)
                count += 1

    async def mishaps() -> None:
        for _ in range(KILLS):
            await server.start()
            up.set()
            wanted = len(taken) + 60
            async with asyncio.timeout(120):
                while len(taken) < wanted:
                    await asyncio.sleep(0.005)
            up.clear()
            await server.kill()
        await server.start()
        up.set()
        done.set()

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(SENDERS):
                group.create_task(send(number))
            group.create_task(mishaps())
    finally:
        await server.kill()

    database = Database(DatabaseSettings(f"sqlite:///{tmp_path / 'bridge.db'}"), Seal("a secret of the benchmark"))
    await database.start()
    blobs = BlobSpool(tmp_path / "spool", b"s" * 32, 1 << 34)
    await blobs.start()
    found = []
    for item in await database.queue("email incoming").page("", 100_000):
        raw = b"".join([chunk async for chunk in blobs.open(decode(item.body)[2])])
        found.append(raw.split(b"Message-ID: <")[1].split(b"@")[0].decode())
        assert raw.endswith(b"text " + found[-1].encode() + b"\r\n")
    await database.stop()
    assert len(found) == len(set(found)), "a mail that was given again is there twice"
    assert set(taken) <= set(found), "what was acknowledged is lost"
    assert tries > len(taken), "no kill came in between: the test shows nothing"
