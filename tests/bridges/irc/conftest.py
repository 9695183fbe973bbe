"""Fixtures of the IRC adapter: demo servers and adapters on them, all stopped at the end."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bridges.irc.demo.options import CAPABILITIES, ServerOptions
from bridges.irc.demo.server import DemoIrcServer
from tests.bridges.irc.rig import Rig, StartRig, StartServer


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[StartServer]:
    """Starts demo servers."""
    servers: list[DemoIrcServer] = []

    async def start(**options: Any) -> DemoIrcServer:
        server = DemoIrcServer(ServerOptions(**options))
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[StartRig]:
    """Starts adapters."""
    rigs: list[Rig] = []

    async def start(port: int | None, *chats: str, **config: Any) -> Rig:
        assert port is not None
        made = Rig(port, chats or ("#a",), **config)
        rigs.append(made)
        return await made.start()

    yield start
    for made in rigs:
        await made.stop()


@pytest_asyncio.fixture(params=["tags", "bare"])
async def port(request: pytest.FixtureRequest, serve: StartServer) -> int:
    """A demo server with every capability, and one with none."""
    bare = request.param == "bare"
    server = await serve(capabilities=frozenset() if bare else CAPABILITIES, msgid=not bare)
    assert server.port is not None
    return server.port
