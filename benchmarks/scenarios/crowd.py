"""crowd: a thousand TLS connections of users through the scheduler, at rest, in a busy channel, after a restart."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trustme

from benchmarks.bridge_process import free_port
from benchmarks.cpu import cpu_seconds, memory, settled
from benchmarks.options import Options
from benchmarks.processes import BenchmarkError, Child
from benchmarks.rig import certificate

Result = dict[str, Any]
_RATE = 50.0
_SECONDS = 10.0
_CERTIFIED = 200


class _Crowd:
    """The adapter's process as the runner talks to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, folder: Path, settings: Result) -> _Crowd:
        """Start it and wait until its observer is connected."""
        log = (folder / "crowd.log").open("ab")
        made = cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "benchmarks.crowd_process",
                json.dumps(settings),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=1 << 22,
            )
        )
        await made.answer("ready", 60)
        return made

    async def ask(self, cmd: str, key: str, seconds: float = 300, **data: Any) -> Any:
        """Send one request and give the answer. Raises BenchmarkError."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"cmd": cmd, **data}).encode() + b"\n")
        return await self.answer(key, seconds)

    async def answer(self, key: str, seconds: float) -> Any:
        """The value of `key` in the next answer; log lines are passed over. Raises BenchmarkError."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line := await self.process.stdout.readline():
                if line.startswith(b'{"' + key.encode()):
                    return json.loads(line)[key]
        raise BenchmarkError("the adapter's process ended")

    async def stop(self) -> None:
        """End it."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()


async def _server(folder: Path, port: int, cert: Path, key: Path) -> Child:
    args = ["--port", "0", "--tls-port", str(port), "--tls", str(cert), str(key)]
    server = await Child.spawn(folder, "ircd", "bridges.irc.demo.server", *args, announce=True)
    await server.announced()
    return server


async def _speak(port: int, ca: Path, messages: int) -> float:
    """Says so many messages in the channel at the rate and returns the seconds it took, until the server read all."""
    context = ssl.create_default_context(cafile=str(ca))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"NICK speaker\r\nUSER s 0 * :s\r\n")
    while b" 422 " not in (line := await reader.readline()) and b" 376 " not in line:
        pass
    writer.write(b"JOIN #crowd\r\nPING joined\r\n")
    while b"PONG" not in await reader.readline():
        pass
    started = time.monotonic()
    for number in range(messages):
        writer.write(b"PRIVMSG #crowd :message %d, about as long as people write on a channel\r\n" % number)
        await asyncio.sleep(max(0.0, started + (number + 1) / _RATE - time.monotonic()))
    writer.write(b"PING said\r\n")
    while b"said" not in await reader.readline():
        pass
    spent = time.monotonic() - started
    writer.close()
    return spent


async def crowd(options: Options) -> Result:
    """Memory, CPU and order of reconnecting of `--crowd` puppets, on the demo server with TLS."""
    count = options.crowd
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-crowd-")))
        ca, cert, key = certificate(folder)
        port = free_port()
        server = await _server(folder, port, cert, key)
        config = {
            "server": "127.0.0.1",
            "port": port,
            "tls_ca": str(ca),
            "connect_rate": 0,
            "hybrid": {"puppet": "always"},
            "lines": {"network_rate": 0},
            "max_puppets": count,
            "reconnect_max": 2,
            "connects": {"again": "all", "opening": 20},
        }
        run = await _Crowd.start(folder, {"puppets": count, "config": config})
        stack.push_async_callback(run.stop)
        await settled(run.pid)
        before, cpu, started = memory(run.pid), cpu_seconds(run.pid), time.monotonic()
        await run.ask("connect", "connected", 600)
        result: Result = {"connect_s": time.monotonic() - started}
        await settled(run.pid)
        result["connect_cpu_ms_each"] = (cpu_seconds(run.pid) - cpu) * 1000 / count
        after = memory(run.pid)
        result["kib_per_puppet"] = (after.rss - before.rss) / count
        cpu = cpu_seconds(run.pid)
        messages = int(_RATE * _SECONDS)
        took = await _speak(port, ca, messages)
        await settled(run.pid)
        used = cpu_seconds(run.pid) - cpu
        result["said_per_s"] = messages / took
        result["idle_core_percent"] = used / messages * _RATE * 100
        result["idle_cpu_us_per_line"] = used / messages / count * 1e6
        result["kib_per_puppet_after"] = (memory(run.pid).rss - before.rss) / count
        # A restart of the server: half of them were idle.
        idle = count // 2
        await run.ask("age", "aged", idle=idle)
        await server.stop()
        await asyncio.sleep(3.0)  # as long as a restart takes; nobody's own back-off is left then
        server = await _server(folder, port, cert, key)
        stack.push_async_callback(server.stop)
        started, cpu = time.monotonic(), cpu_seconds(run.pid)
        order = await run.ask("order", "order", 600, count=count)
        result["reconnect_s"] = time.monotonic() - started
        result["reconnect_cpu_ms_each"] = (cpu_seconds(run.pid) - cpu) * 1000 / count
        numbers = [int(login[2:].partition(":")[0]) for login in order]
        result["active_among_first_half"] = sum(number >= idle for number in numbers[: count - idle]) / (count - idle)
        result["connections_per_user"] = len(order) / len(set(order))
    result["kib_per_puppet_with_certificate"] = await _certified(min(count, _CERTIFIED))
    return result


async def _certified(count: int) -> float:
    """KiB of each of so many puppets that show a certificate of their own: each has a TLS context."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-crowd-")))
        ca, cert, key = certificate(folder)
        authority = trustme.CA()
        pems = [
            authority.issue_cert(f"u{number}.bench.test").private_key_and_cert_chain_pem.bytes().decode()
            for number in range(count)
        ]
        path = folder / "certificates.json"
        path.write_text(json.dumps(pems))
        port = free_port()
        server = await _server(folder, port, cert, key)
        stack.push_async_callback(server.stop)
        config = {"server": "127.0.0.1", "port": port, "tls_ca": str(ca), "connect_rate": 0}
        config |= {"hybrid": {"puppet": "always"}, "lines": {"network_rate": 0}}
        run = await _Crowd.start(folder, {"puppets": count, "config": config, "certificates": str(path)})
        stack.push_async_callback(run.stop)
        await settled(run.pid)
        before = memory(run.pid)
        await run.ask("connect", "connected", 600)
        await settled(run.pid)
        return (memory(run.pid).rss - before.rss) / count
