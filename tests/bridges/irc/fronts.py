"""What stands between the adapter and a server in tests: fronts that look at the first bytes, and a SOCKS5 proxy."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from pathlib import Path

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class Listener:
    """A listener on loopback, each connection with `handle`; nothing is left of it after `stop`."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def listen(self, *, tls: ssl.SSLContext | None = None, unix: Path | None = None, port: int = 0) -> None:
        """Starts. Raises OSError."""
        if unix is not None:
            self._server = await asyncio.start_unix_server(self._accept, unix)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def handle(self, reader: Reader, writer: Writer) -> None:
        """One connection."""
        raise NotImplementedError

    async def _accept(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self.handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._running.discard(task)
            writer.close()


class Front(Listener):
    """Hands connections on to a server. `meets` sees each first; `changes` may change what the server says."""

    def __init__(
        self,
        backend: int,
        *,
        meets: Callable[[Reader, Writer], Awaitable[None]] | None = None,
        changes: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        super().__init__()
        self.backend = backend
        self.connections = 0
        self._meets = meets
        self._changes = changes

    async def handle(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        if self._meets is not None:
            await self._meets(reader, writer)
        await splice(reader, writer, "127.0.0.1", self.backend, self._changes)


class Socks(Listener):
    """A SOCKS5 proxy that knows names nobody else does."""

    def __init__(self, names: Mapping[str, int], login: tuple[bytes, bytes] | None = None) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self._names = names
        self._login = login
        self.any_login = False

    async def handle(self, reader: Reader, writer: Writer) -> None:
        version, count = await reader.readexactly(2)
        assert version == 5
        methods = await reader.readexactly(count)
        if self._login is not None or self.any_login:
            if 2 not in methods:
                writer.write(b"\x05\xff")
                return
            writer.write(b"\x05\x02")
            _, length = await reader.readexactly(2)
            user = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            self.logins.append((user, password))
            if self._login is not None and self.logins[-1] != self._login:
                writer.write(b"\x01\x01")
                return
            writer.write(b"\x01\x00")
        else:
            writer.write(b"\x05\x00")
        version, command, _, kind = await reader.readexactly(4)
        assert (version, command) == (5, 1)
        if kind == 3:
            name = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            name = str(ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((name, port))
        if name not in self._names:
            writer.write(b"\x05\x04\x00\x01" + bytes(6))
            return
        # The answer names the proxy's end, here as a name: its length must be read to find the server's first byte.
        writer.write(b"\x05\x00\x00\x03\x05proxy\x00\x01")
        await splice(reader, writer, "127.0.0.1", self._names[name])


async def splice(
    reader: Reader, writer: Writer, host: str, port: int, changes: Callable[[bytes], bytes] = lambda data: data
) -> None:
    """Both ways between a connection and a server, until one of them ends."""
    there, back = await asyncio.open_connection(host, port)

    async def copy(source: Reader, sink: Writer, change: Callable[[bytes], bytes]) -> None:
        while data := await source.read(65536):
            sink.write(change(data))
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    ways = [
        asyncio.ensure_future(copy(reader, back, lambda data: data)),
        asyncio.ensure_future(copy(there, writer, changes)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        back.close()
