"""Child processes of a benchmark: started, waited for, and stopped by their own id."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp


class BenchmarkError(RuntimeError):
    """A part of the benchmark did not do what it should; the message says which and why."""


def _python_path() -> list[str]:
    """This tree first; what the caller has named behind it (a server to compare with, say)."""
    return [str(Path(__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]


@dataclass(slots=True)
class Child:
    """A running ``python -m MODULE``; its standard error (and output, when not read) is in ``log``."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    started: float

    @classmethod
    async def spawn(cls, folder: Path, name: str, *args: str, announce: bool) -> Self:
        """Start ``python -m`` args; with ``announce`` its first line of output is left to be read."""
        log = folder / f"{name}.log"
        with log.open("ab") as out:
            started = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *args,
                stdout=asyncio.subprocess.PIPE if announce else out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_python_path())},
            )
        return cls(name, process, log, started)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    async def announced(self, seconds: float = 30.0) -> dict[str, Any]:
        """Read the JSON line the child prints when it is ready. Raises BenchmarkError."""
        assert self.process.stdout is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                line = await self.process.stdout.readline()
                if line:
                    found: dict[str, Any] = json.loads(line)
                    return found
        raise BenchmarkError(f"{self.name} did not start: {self.tail()}")

    async def ready(self, url: str, seconds: float) -> float:
        """Ask ``url`` until it answers 200; gives the seconds since the start. Raises BenchmarkError."""
        deadline = time.monotonic() + seconds
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                if self.process.returncode is not None:
                    raise BenchmarkError(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as reply:
                        if reply.status == 200:
                            return time.monotonic() - self.started
                await asyncio.sleep(0.02)
        raise BenchmarkError(f"{self.name} was not ready in {seconds} s: {self.tail()}")

    def tail(self) -> str:
        """Give the end of the child's log."""
        return self.log.read_text(errors="replace")[-2000:]

    async def stop(self, seconds: float = 20.0) -> None:
        """End the child: SIGTERM, and SIGKILL when that takes too long. Safe to call twice."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            try:
                async with asyncio.timeout(seconds):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


@dataclass(slots=True)
class StubMatrix:
    """The stub homeserver as the runner talks to it."""

    child: Child
    url: str
    session: aiohttp.ClientSession

    async def ask(self, name: str, **data: object) -> dict[str, Any]:
        """Send one control request. Raises BenchmarkError on any answer but 200."""
        async with self.session.post(f"{self.url}/_stub/{name}", json=data) as reply:
            found: dict[str, Any] = await reply.json()
            if reply.status != 200:
                raise BenchmarkError(f"stub homeserver, {name}: {found}")
            return found

    async def wait(self, count: int, seconds: float) -> None:
        """Wait until so many numbered messages arrived. Raises BenchmarkError."""
        if not (await self.ask("wait", count=count, seconds=seconds))["reached"]:
            raise BenchmarkError(f"homeserver: not {count} messages in {seconds} s: {await self.ask('stats')}")


@dataclass(slots=True)
class StubIrcLink:
    """The stub IRC server as the runner talks to it."""

    child: Child
    port: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, cmd: str, **data: object) -> dict[str, Any]:
        """Send one control request. Raises BenchmarkError."""
        self.writer.write(json.dumps({"cmd": cmd, **data}).encode() + b"\n")
        line = await self.reader.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": self.child.tail()}
        if "error" in found:
            raise BenchmarkError(f"stub IRC server, {cmd}: {found['error']}")
        return found

    async def wait(self, count: int, seconds: float) -> None:
        """Wait until so many numbered messages arrived. Raises BenchmarkError."""
        if not (await self.ask("wait", count=count, seconds=seconds))["reached"]:
            raise BenchmarkError(f"IRC server: not {count} messages in {seconds} s: {await self.ask('stats')}")

    async def wait_joins(self, joins: int, seconds: float) -> None:
        """Wait until so many (client, channel) memberships exist. Raises BenchmarkError."""
        if not (await self.ask("wait_joins", joins=joins, seconds=seconds))["reached"]:
            raise BenchmarkError(f"IRC server: not {joins} joins in {seconds} s: {await self.ask('stats')}")
