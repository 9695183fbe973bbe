"""Fixtures of the IRC adapter: demo servers and adapters on them, all stopped at the end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridges.irc.demo.options import CAPABILITIES, ServerOptions
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.demo_rig import Connect
from tests.bridges.irc.rig import Bridged, Rig, StartRig, StartServer
from tests.harness import Harness


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
async def server(serve: StartServer) -> DemoIrcServer:
    """A demo server as it is."""
    return await serve()


@pytest.fixture
def bridged(tmp_path: Path, server: DemoIrcServer) -> Bridged:
    """A whole bridge on `server`, on a homeserver of its own; the same one again with each call."""

    def make(**config: Any) -> Harness:
        irc = {
            "type": "irc",
            "server": "127.0.0.1",
            "port": server.port,
            "tls": False,
            "nick": "relay",
            "rate": 0,
            "connect_rate": 0,
            "hybrid": {"puppet": "always"},
            "reconnect_min": 0.05,
            "reconnect_max": 0.2,
            **config,
        }
        return Harness(tmp_path, {"irc": irc})

    return make


@pytest_asyncio.fixture
async def start(serve: StartServer) -> StartServer:
    """Starts demo servers, in the words of the demo server's own tests."""
    return serve


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects witnesses to demo servers; they are closed after the test."""
    made: list[Witness] = []

    async def connected(server: DemoIrcServer, nick: str, *caps: str, **more: Any) -> Witness:
        port = server.tls_port if "tls" in more else server.port
        assert port is not None
        witness = await Witness.connect("127.0.0.1", port, nick, caps=caps, **more)
        made.append(witness)
        return witness

    yield connected
    for witness in made:
        await witness.close()


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
