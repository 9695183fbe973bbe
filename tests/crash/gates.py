"""What stands between the bridge and its servers: a TCP gate that can be shut, and a proxy that makes faults."""

import asyncio
import contextlib
import re
from collections.abc import Callable

import aiohttp
from aiohttp import web
from yarl import URL

from bridge_core.demo.ports import free_port

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"})


class Gate:
    """Forwards TCP connections while it is open; shut, it ends them and takes no new ones. Same port for ever."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Takes connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def shut(self) -> None:
        """Ends all connections and refuses new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            _, pending = await asyncio.wait(
                [asyncio.ensure_future(_copy(reader, back)), asyncio.ensure_future(_copy(there, writer))],
                return_when=asyncio.ALL_COMPLETED,
            )
            assert not pending
        except asyncio.CancelledError:
            pass
        finally:
            for end in (writer, back):
                self._open.discard(end)
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


Fault = Callable[[str, str], str | None]
"""(method, path) -> "429", "500", "before" (cut without acting), "after" (act, then cut), or None."""


class FaultyProxy:
    """A reverse proxy in front of the homeserver. `fault` decides about each request; `made` counts what it made."""

    def __init__(self, target: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.fault: Fault = lambda method, path: None
        self.made: dict[str, int] = {}
        self.delay_ms = 300
        self._target = target
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Begins to forward."""
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60))
        app = web.Application(client_max_size=100 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Ends all requests."""
        if self._runner is not None and self._session is not None:
            await self._runner.cleanup()
            await self._session.close()
            self._runner = self._session = None

    def clear(self) -> dict[str, int]:
        """No more faults; how many of each kind were made since the last time."""
        made, self.made = self.made, {}
        self.fault = lambda method, path: None
        return made

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self.fault(request.method, request.path)
        if fault is not None:
            self.made[fault] = self.made.get(fault, 0) + 1
        if fault == "429":
            slow = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": self.delay_ms}
            return web.json_response(slow, status=429)
        if fault == "500":
            return web.json_response({"errcode": "M_UNKNOWN", "error": "internal"}, status=500)
        if fault == "before":
            return self._cut(request)
        status, headers, body = await self._forward(request)
        if fault == "after":
            return self._cut(request)
        return web.Response(status=status, headers=headers, body=body)

    async def _forward(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self._target + request.raw_path
        try:
            async with self._session.request(
                request.method, URL(url, encoded=True), headers=headers, data=await request.read()
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
                return answer.status, kept, await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return 502, {}, b"the homeserver is away"

    def _cut(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=500)


def every(count: int, pattern: str, *kinds: str) -> Fault:
    """A fault for each `count`-th request whose "METHOD path" matches, of the kinds in turn."""
    wanted = re.compile(pattern)
    seen = 0

    def fault(method: str, path: str) -> str | None:
        nonlocal seen
        if not wanted.search(f"{method} {path}"):
            return None
        seen += 1
        return kinds[seen // count % len(kinds)] if seen % count == 0 else None

    return fault
