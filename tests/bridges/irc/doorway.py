"""A door before an IRC server: it lets connections through, or says lines of refusal to them first."""

import asyncio
from contextlib import suppress


class Doorway:
    """Listens on `port` and passes on to a server, unless `refusal` has lines for whoever comes."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self.port = 0
        self.refusal: list[str] = []
        """What the next ones are told before they are closed, once they said who they are."""
        self.only: str | None = None
        """Whom `refusal` is for: who says so in one of their first lines; None for everybody."""
        self.came: list[str] = []
        """The nicks of those who came, whatever became of them."""
        self.refused = 0

    async def __aenter__(self) -> "Doorway":
        self._listener = await asyncio.start_server(self._come, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = b""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while b"\nUSER " not in b"\n" + first:
                first += await reader.readuntil(b"\n")
        text = first.decode()
        self.came.append(text.partition("NICK ")[2].partition("\r\n")[0].lstrip(":"))
        if self.refusal and (self.only is None or self.only in text):
            self.refused += 1
            writer.write("".join(f"{line}\r\n" for line in self.refusal).encode())
            with suppress(ConnectionError):
                await writer.drain()
                writer.close()
            return
        behind, beyond = await asyncio.open_connection("127.0.0.1", self._server)
        beyond.write(first)
        for source, sink in ((reader, beyond), (behind, writer)):
            pipe = asyncio.create_task(_pass(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Passes on what comes until it ends, and ends the other side then."""
    try:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()
