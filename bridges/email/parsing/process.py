"""One process that reads mails, from outside: started, spoken to over pipes, watched, ended."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from asyncio.subprocess import Process as Child
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from bridges.email.config.parsing import Parsing
from bridges.email.mail import Mail
from bridges.email.parsing import form
from bridges.email.parsing.context import Context
from bridges.email.parsing.frames import BYTES, CONTEXT, FILE, HEAD, LARGEST, MAIL, RAW, READY, frame
from bridges.email.ports import OpenRaw

_LARGEST_MAIL: Final = 64 << 20
"""Bytes of JSON that a mail may have: some times what its limits let through."""
MEMORY: Final = 7
"""The status with which a process ends that may have no more memory."""
_WRITE: Final = 262_144
"""Bytes that are written at once, about."""
_SMALL: Final = 65_536
"""JSON of this size is read on the loop (some milliseconds), larger one in a thread."""
_END_SECONDS: Final = 5.0


class ProcessError(Exception):
    """The process ended, did not answer, or said what it may not say. `final`: another one would do the same."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Process:
    """Reads one mail after another. Not for use by two tasks at once."""

    def __init__(self, config: Parsing) -> None:
        self._config = config
        self._child: Child | None = None
        self._mails = 0
        self._between = False

    @property
    def usable(self) -> bool:
        """Whether it may read another mail: it is alive, between two answers, and not worn out."""
        child = self._child
        return (
            child is not None
            and child.returncode is None
            and self._between
            and self._mails < self._config.mails_per_worker
        )

    @property
    def pid(self) -> int:
        """Its number; 0 before it was started."""
        return self._child.pid if self._child is not None else 0

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises OSError or ProcessError."""
        config = self._config
        limits = (str(config.cpu_seconds), str(config.memory_mib), str(config.largest_mib))
        # Nothing of the bridge's environment, which may hold secrets.
        environment = {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path and not path.endswith(".zip")),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "bridges.email.parsing.worker",
            *limits,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=environment,
            limit=LARGEST,
        )
        kind, _ = await self._receive()
        if kind != READY:
            raise ProcessError("it began with something else")
        self._between = True

    async def read(self, open_raw: OpenRaw, context: Context) -> Mail:
        """The mail. Raises ProcessError, or what `open_raw` raises."""
        self._between = False
        self._mails += 1
        # A small mail is one write.
        pending = bytearray(frame(CONTEXT, form.dump(context)))
        size, largest = 0, self._config.largest_mib << 20
        chunks = open_raw()
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > largest:
                    raise ProcessError(f"it is larger than {self._config.largest_mib} MiB", final=True)
                for at in range(0, len(chunk), LARGEST):
                    pending += frame(RAW, chunk[at : at + LARGEST])
                    if len(pending) >= _WRITE:
                        await self._send(bytes(pending))
                        pending.clear()
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        await self._send(bytes(pending + frame(RAW)))
        found = bytearray()
        async for piece in self._pieces(MAIL):
            found += piece
            if len(found) > _LARGEST_MAIL:
                raise ProcessError("it says more than it may")
        data = bytes(found)
        try:
            mail = form.load(data) if len(data) <= _SMALL else await asyncio.to_thread(form.load, data)
        except ValueError as error:
            raise ProcessError(str(error)) from error
        if not isinstance(mail, Mail):
            raise ProcessError("what it says is no mail")
        self._between = True
        return mail

    async def file(self, number: int) -> AsyncIterator[bytes]:
        """The bytes of the file of that number of the mail that was read last. Raises ProcessError."""
        self._between = False
        await self._send(frame(FILE, str(number).encode()))
        async for piece in self._pieces(BYTES):
            yield piece
        self._between = True

    async def end(self) -> None:
        """End it, and wait until it is gone, some seconds at most. Idempotent."""
        child, self._between = self._child, False
        if child is None:
            return
        if child.returncode is None:
            try:
                child.kill()
            except ProcessLookupError:
                pass
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await child.wait()
        except TimeoutError:
            pass

    async def _pieces(self, expected: bytes) -> AsyncIterator[bytes]:
        while True:
            kind, body = await self._receive()
            if kind != expected:
                raise ProcessError("it answers something else")
            if not body:
                return
            yield body

    async def _send(self, data: bytes) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(data)
            async with asyncio.timeout(self._config.wait_seconds):
                await self._child.stdin.drain()
        except TimeoutError as error:
            raise ProcessError("it takes nothing") from error
        except (OSError, RuntimeError) as error:
            raise ProcessError(await self._why()) from error

    async def _receive(self) -> tuple[bytes, bytes]:
        assert self._child is not None
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(self._config.wait_seconds):
                kind, size = HEAD.unpack(await self._child.stdout.readexactly(HEAD.size))
                if size > LARGEST:
                    raise ProcessError("it says more than it may")
                return kind, await self._child.stdout.readexactly(size)
        except TimeoutError as error:
            raise ProcessError("reading it takes too long") from error
        except (OSError, EOFError) as error:
            raise ProcessError(await self._why()) from error

    async def _why(self) -> str:
        """Why it ended, in words."""
        assert self._child is not None
        try:
            async with asyncio.timeout(_END_SECONDS):
                status = await self._child.wait()
        except TimeoutError:
            return "the process that read it closed its pipes"
        if status in (-signal.SIGPROF, -signal.SIGXCPU):
            return f"reading it takes more than {self._config.cpu_seconds} seconds of processor time"
        if status == MEMORY:
            return f"reading it takes more than {self._config.memory_mib} MiB of memory"
        if status < 0:
            return f"the process that read it was ended by signal {-status}"
        return f"the process that read it ended with status {status}"
