"""Where the homeserver's requests arrive."""

import asyncio
import socket

import pytest
from aiohttp import web

from bridge_core.matrix.listener import Listener


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_just_made_does_not_keep_it_from_ending(turns: int) -> None:
    """A client that has connected and asks for nothing is let go at once, however new its connection is."""
    listener = Listener(web.Application())
    listener._runner._shutdown_timeout = 3600
    await listener.start()
    host, _, port = listener.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))):
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await listener.stop()


async def test_a_request_in_flight_is_answered() -> None:
    """What is being handled when it is stopped is finished first."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/", handle)
    listener = Listener(app)
    await listener.start()
    host, _, port = listener.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    stopping = asyncio.ensure_future(listener.stop())
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    assert (await reader.read()).endswith(b"done")
    await stopping
    writer.close()
