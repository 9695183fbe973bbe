"""The stub homeserver, asked by an ordinary HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from benchmarks.http_protocol import HttpProtocol
from benchmarks.stub_homeserver import StubHomeserver

C = "/_matrix/client/v3"


class Asker:
    """A client that gives status and JSON."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def __call__(self, method: str, path: str, data: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, path, json=data) as reply:
            return reply.status, await reply.json(content_type=None)


@pytest.fixture
async def ask() -> AsyncIterator[Asker]:
    """Run a stub in this loop and give a client for it."""
    stub = StubHomeserver("hs.test", "bot")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(stub.handle), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as session:
        yield Asker(session)
    server.close()


async def test_identity_and_registration(ask: Asker) -> None:
    """versions, whoami (with the device asked for), register and devices answer as a homeserver does."""
    assert "v1.11" in (await ask("GET", "/_matrix/client/versions"))[1]["versions"]
    status, who = await ask("GET", f"{C}/account/whoami?user_id=@a:hs.test&device_id=D")
    assert (status, who) == (200, {"user_id": "@a:hs.test", "device_id": "D"})
    body = {"type": "m.login.application_service", "username": "a", "inhibit_login": True}
    assert await ask("POST", f"{C}/register", body) == (200, {"user_id": "@a:hs.test"})
    assert (await ask("POST", f"{C}/register", body))[1]["errcode"] == "M_USER_IN_USE"
    assert (await ask("PUT", f"{C}/devices/D?user_id=@a:hs.test", {}))[0] == 201
    await ask("PUT", f"{C}/profile/@a:hs.test/displayname?user_id=@a:hs.test", {"displayname": "A"})
    assert (await ask("GET", f"{C}/profile/@a:hs.test"))[1] == {"displayname": "A"}


async def test_rooms_are_reserved_by_alias_and_keep_state(ask: Asker) -> None:
    """A taken alias is refused, found by lookup, and its room's state and members can be read."""
    made = {"room_alias_name": "x", "name": "X", "invite": ["@b:hs.test"]}
    room = (await ask("POST", f"{C}/createRoom", made))[1]["room_id"]
    status, refused = await ask("POST", f"{C}/createRoom", made)
    assert (status, refused["errcode"]) == (400, "M_ROOM_IN_USE")
    assert (await ask("GET", f"{C}/directory/room/%23x:hs.test"))[1]["room_id"] == room
    assert (await ask("GET", f"{C}/rooms/{room}/state/m.room.name/"))[1] == {"name": "X"}
    await ask("POST", f"{C}/join/%23x:hs.test?user_id=@a:hs.test", {})
    joined = (await ask("GET", f"{C}/rooms/{room}/joined_members"))[1]["joined"]
    assert set(joined) == {"@bot:hs.test", "@a:hs.test"}
    assert len((await ask("GET", f"{C}/rooms/{room}/members"))[1]["chunk"]) == 3
    assert (await ask("GET", f"{C}/rooms/{room}/state/m.room.topic"))[0] == 404


async def test_a_repeated_transaction_id_is_one_message(ask: Asker) -> None:
    """The same id of the same user gives the same event id and counts once; another user's is its own."""
    path = f"{C}/rooms/!r:hs.test/send/m.room.message/t1?user_id=@a:hs.test&device_id=D"
    first = await ask("PUT", path, {"body": "seq=1 ns=1"})
    assert await ask("PUT", path, {"body": "seq=1 ns=1"}) == first
    other = await ask("PUT", path.replace("@a:", "@b:"), {"body": "seq=2 ns=1"})
    assert other[1] != first[1]
    stats = (await ask("POST", "/_stub/stats", {}))[1]
    assert (stats["count"], stats["doubled"]) == (2, 0)


async def test_ordered_faults_hit_the_next_requests_only(ask: Asker) -> None:
    """429, 502 and acting without answering happen as often as ordered; the acted one is not done twice."""
    path = f"{C}/rooms/!r:hs.test/send/m.room.message/t1?user_id=@a:hs.test"
    body = {"body": "seq=1 ns=1"}
    await ask("POST", "/_stub/faults", {"remaining": 1, "status": 429, "retry_after_ms": 7})
    status, limited = await ask("PUT", path, body)
    assert (status, limited["retry_after_ms"]) == (429, 7)
    await ask("POST", "/_stub/faults", {"remaining": 1, "status": 502})
    assert (await ask("PUT", path, body))[0] == 502
    assert (await ask("POST", "/_stub/stats", {}))[1]["count"] == 0
    # Two, because the client repeats a PUT by itself when a kept connection was cut.
    await ask("POST", "/_stub/faults", {"remaining": 2, "act": True, "drop": True})
    with pytest.raises(aiohttp.ClientError):
        await ask("PUT", path, body)
    assert (await ask("POST", "/_stub/stats", {}))[1]["count"] == 1
    assert (await ask("PUT", path, body))[0] == 200
    assert (await ask("POST", "/_stub/stats", {}))[1]["count"] == 1


async def test_media_comes_back_in_both_ways_of_upload(ask: Asker) -> None:
    """Direct upload and create-then-PUT (chunked too) give the bytes back; a second PUT is a conflict."""
    session = ask.session
    async with session.post("/_matrix/media/v3/upload", data=b"abc") as reply:
        direct = (await reply.json())["content_uri"].rpartition("/")[2]
    created = (await ask("POST", "/_matrix/media/v1/create"))[1]["content_uri"].rpartition("/")[2]

    async def parts() -> AsyncIterator[bytes]:
        yield b"de"
        yield b"f" * 100_000

    async with session.put(f"/_matrix/media/v3/upload/hs.test/{created}", data=parts()) as reply:
        assert reply.status == 200
    async with session.put(f"/_matrix/media/v3/upload/hs.test/{created}", data=b"x") as reply:
        assert reply.status == 409
    for media, size in ((direct, 3), (created, 100_002)):
        async with session.get(f"/_matrix/client/v1/media/download/hs.test/{media}") as reply:
            assert len(await reply.read()) == size


async def test_transactions_and_ping_reach_the_appservice(ask: Asker) -> None:
    """Pushed events arrive in order, in transactions of the asked size, with the token; a ping is passed on."""
    sizes: list[int] = []
    bodies: list[str] = []
    pings: list[Any] = []

    async def transaction(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer hs"
        events = (await request.json())["events"]
        sizes.append(len(events))
        bodies.extend(event["content"]["body"].split(" ")[0] for event in events)
        return web.json_response({})

    async def ping(request: web.Request) -> web.Response:
        pings.append(await request.json())
        return web.json_response({})

    app = web.Application()
    app.router.add_put("/_matrix/app/v1/transactions/{txn}", transaction)
    app.router.add_post("/_matrix/app/v1/ping", ping)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        missing = await ask("POST", "/_matrix/client/v1/appservice/x/ping", {})
        assert missing[1]["errcode"] == "M_URL_NOT_SET"
        await ask("POST", "/_stub/appservice", {"url": f"http://127.0.0.1:{port}", "hs_token": "hs"})
        assert "duration_ms" in (await ask("POST", "/_matrix/client/v1/appservice/x/ping", {"transaction_id": "p"}))[1]
        routes = [["!a:hs.test", "@a:hs.test"], ["!b:hs.test", "@b:hs.test"]]
        status, _ = await ask("POST", "/_stub/push", {"routes": routes, "count": 25, "batch": 10})
    finally:
        await runner.cleanup()
    assert status == 200
    assert sizes == [10, 10, 5]
    assert bodies == [f"seq={number}" for number in range(25)]
    assert pings == [{"transaction_id": "p"}]
