"""OpenID tokens: how the homeserver's answer is read."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge_core.api.errors import RejectedError
from bridge_core.matrix.openid import OpenIdServers


async def _asked(*pieces: bytes) -> str:
    async def userinfo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.02)
        return response

    app = web.Application()
    app.router.add_get("/_matrix/federation/v1/openid/userinfo", userinfo)
    async with TestServer(app) as server:
        servers = OpenIdServers({"hs.test": str(server.make_url("/"))})
        await servers.start()
        try:
            return await servers.user("hs.test", "token")
        finally:
            await servers.stop()


async def test_an_answer_may_come_in_pieces() -> None:
    """A slow homeserver vouches for its user as a fast one does."""
    assert await _asked(b'{"sub": "@ali', b'ce:hs.test"}') == "@alice:hs.test"


async def test_an_answer_has_an_end() -> None:
    """One that is longer than any answer is, is not read on."""
    with pytest.raises(RejectedError):
        await _asked(b'{"sub": "@alice:hs.test", "more": "', b"x" * 70_000, b'"}')
