"""Addresses from strangers: what the bridge fetches for them can reach nobody who is not public."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.engine.matrix_ports import TooLargeError
from bridge_core.matrix.guarded import ForbiddenAddressError, GuardedFetch, PublicResolver, public
from bridge_core.matrix.listener import Listener

PRIVATE = [
    *("127.0.0.1", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.1.2.3", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:1::1", "not an address"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_of_a_private_network_is_public(address: str) -> None:
    """Also when it is wrapped in an IPv6 address."""
    assert not public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are(address: str) -> None:
    """The guard lets the rest through."""
    assert public(address)


class Names(AbstractResolver):
    """A name server in a stranger's hands."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=int(family), proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


async def test_a_name_for_a_private_address_is_not_connected_to() -> None:
    """The check is on the address connected to: a name cannot be public once and private the next time."""
    with pytest.raises(ForbiddenAddressError):
        await PublicResolver(Names("10.0.0.1", "127.0.0.1")).resolve("evil.example")
    both = await PublicResolver(Names("127.0.0.1", "1.1.1.1")).resolve("evil.example")
    assert [entry["host"] for entry in both] == ["1.1.1.1"]


@pytest.fixture
async def guarded() -> AsyncIterator[GuardedFetch]:
    """The guard as it is in a running bridge."""
    fetch = GuardedFetch()
    await fetch.start()
    yield fetch
    await fetch.stop()


@pytest.fixture
async def lenient() -> AsyncIterator[GuardedFetch]:
    """One that may reach loopback."""
    fetch = GuardedFetch(allow_private=True)
    await fetch.start()
    yield fetch
    await fetch.stop()


@pytest.fixture
async def stranger() -> AsyncIterator[str]:
    """A stranger's web server. `/asked` says how often it was reached."""
    asked = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        kind = request.match_info["kind"]
        if kind == "endless":
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(bytes(10_000))
        if kind == "loop":
            raise web.HTTPFound("/loop")
        if kind == "bomb":
            return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        if kind == "missing":
            raise web.HTTPNotFound
        if kind == "down":
            raise web.HTTPBadGateway
        if kind == "told":
            return web.Response(body=bytes(5000))
        if kind == "asked":
            return web.Response(text=str(asked))
        return web.Response(body=b"the file")

    app = web.Application()
    app.router.add_get("/{kind}", answer)
    listener = Listener(app)
    await listener.start()
    yield listener.url
    await listener.stop()


async def _all(chunks: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(60):
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "2130706433", "0x7f.1"])
async def test_nothing_of_this_machine_is_fetched(guarded: GuardedFetch, stranger: str, host: str) -> None:
    """However its address is written; the server there is not even connected to."""
    port = stranger.rpartition(":")[2]
    for url in (f"https://{host}:{port}/file", f"http://{host}:{port}/file"):
        with pytest.raises((RejectedError, TransientError)):
            await _all(guarded.stream(url, 1000))
        with pytest.raises((RejectedError, TransientError)):
            await guarded.request("GET", url, limit=1000)
    async with _plain() as session, session.get(f"{stranger}/asked") as response:
        assert await response.text() == "1"


async def test_files_come_by_https_only(guarded: GuardedFetch) -> None:
    """Anybody on the way could read and change what comes otherwise."""
    with pytest.raises(RejectedError, match="https"):
        await _all(guarded.stream("http://example.org/cat.png", 1000))


async def test_a_file_has_an_end(lenient: GuardedFetch, stranger: str) -> None:
    """Too many bytes are refused, said or not, and so are redirects without end and bombs."""
    assert await _all(lenient.stream(f"{stranger}/file", 1000)) == b"the file"
    for kind, error in (
        ("endless", TooLargeError),
        ("told", TooLargeError),
        ("loop", RejectedError),
        ("bomb", RejectedError),
        ("missing", RejectedError),
        ("down", TransientError),
    ):
        with pytest.raises(error):
            await _all(lenient.stream(f"{stranger}/{kind}", 1000))


def _plain() -> Any:
    import aiohttp

    return aiohttp.ClientSession()
