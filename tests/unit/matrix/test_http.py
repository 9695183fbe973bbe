"""The endpoints the homeserver calls."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge_core.api.errors import BackpressureError, RateLimitedError, TransientError
from bridge_core.api.host import HttpRequest, HttpResponse
from bridge_core.api.ids import NetworkId
from bridge_core.matrix.adapter_routes import AdapterRoutes
from bridge_core.matrix.http import AppserviceHttp
from bridge_core.matrix.listener import Listener
from bridge_core.matrix.queries import NoQueries
from tests.unit.matrix.doubles import Sink

TOKEN = "hs-token-for-these-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TXN = "/_matrix/app/v1/transactions/1"
LIMIT = 200_000


class Known(NoQueries):
    """Knows one of each."""

    async def user(self, user_id: str) -> bool:
        return user_id == "@_irc_a/b:hs.test"

    async def room(self, alias: str) -> bool:
        return alias == "#_irc_#chan:hs.test"

    async def protocol(self, protocol: str) -> Mapping[str, Any] | None:
        return {"user_fields": ["nick"]} if protocol == "irc" else None

    async def users(self, protocol: str, fields: Mapping[str, str]) -> Sequence[Mapping[str, Any]] | None:
        return [{"userid": "@x:y", "fields": dict(fields)}] if protocol == "irc" else None

    async def user_of(self, user_id: str) -> Sequence[Mapping[str, Any]]:
        return [{"userid": user_id}]


class Bridge:
    """A running set of endpoints."""

    def __init__(self, base: str, sink: Sink, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.sink = sink
        self.session = session

    async def call(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = BEARER
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers."""
        async with self.session.request(method, self.base + path, data=data, headers=headers) as response:
            return response.status, await response.json(), response.headers


async def _run(legacy: bool) -> AsyncIterator[Bridge]:
    sink = Sink()
    app = AppserviceHttp(TOKEN, sink, Known(), legacy=legacy, limit=LIMIT).application()
    listener = Listener(app)
    await listener.start()
    async with aiohttp.ClientSession() as session:
        yield Bridge(listener.url, sink, session)
    await listener.stop()


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """With legacy routes."""
    async for made in _run(legacy=True):
        yield made


@pytest.fixture
async def strict() -> AsyncIterator[Bridge]:
    """Without legacy routes."""
    async for made in _run(legacy=False):
        yield made


def event(**more: Any) -> dict[str, Any]:
    """A whole event."""
    return {
        "type": "m.room.message",
        "room_id": "!r",
        "sender": "@a:hs.test",
        "event_id": "$e",
        "content": {"body": "x"},
        **more,
    }


async def test_a_transaction_is_answered_after_it_was_accepted(bridge: Bridge) -> None:
    """200 and {} once accept() returned."""
    body = json.dumps({"events": [event()]}).encode()
    assert (await bridge.call("PUT", TXN, body))[:2] == (200, {})
    (txn,) = bridge.sink.accepted
    assert (txn.id, txn.events[0]["event_id"]) == ("1", "$e")


@pytest.mark.parametrize(
    "error", [TransientError("x"), BackpressureError("x"), RateLimitedError("x", 1.5)], ids=lambda e: type(e).__name__
)
async def test_what_cannot_be_stored_now_is_sent_again(bridge: Bridge, error: Exception) -> None:
    """503 with Retry-After, so that the homeserver keeps the transaction."""
    bridge.sink.error = error
    status, answer, headers = await bridge.call("PUT", TXN, b'{"events":[]}')
    assert (status, answer["errcode"]) == (503, "M_UNKNOWN")
    assert int(headers["Retry-After"]) >= 1


async def test_a_failure_inside_tells_nothing(bridge: Bridge) -> None:
    """500 without the error's text, so that the homeserver keeps the transaction and nothing leaks."""
    bridge.sink.error = RuntimeError("secret path")
    status, answer, _ = await bridge.call("PUT", TXN, b'{"events":[]}')
    assert status == 500
    assert "secret" not in json.dumps(answer)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"Authorization": f"Basic {TOKEN}"}])
async def test_a_missing_token_is_401(bridge: Bridge, headers: dict[str, str]) -> None:
    """Nobody is let in without the token, and nothing is read."""
    status, answer, _ = await bridge.call("PUT", TXN, b'{"events":[]}', headers)
    assert (status, answer["errcode"]) == (401, "M_MISSING_TOKEN")
    assert bridge.sink.accepted == []


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ä" * 20])
async def test_a_wrong_token_is_403(bridge: Bridge, token: str) -> None:
    """M_FORBIDDEN, for every endpoint."""
    headers = {"Authorization": f"Bearer {token}"}
    for method, path in (("PUT", TXN), ("GET", "/_matrix/app/v1/users/@a:b"), ("POST", "/_matrix/app/v1/ping")):
        status, answer, _ = await bridge.call(method, path, b"{}", headers)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert bridge.sink.accepted == []


async def test_the_query_token_is_legacy(bridge: Bridge) -> None:
    """Accepted alone, refused when it differs from the header or comes twice with a wrong one."""
    body = b'{"events":[]}'
    assert (await bridge.call("PUT", f"{TXN}?access_token={TOKEN}", body, {}))[0] == 200
    assert (await bridge.call("PUT", f"{TXN}?access_token={TOKEN}", body))[0] == 200
    assert (await bridge.call("PUT", f"{TXN}?access_token=wrong", body))[0] == 403
    assert (await bridge.call("PUT", f"{TXN}?access_token={TOKEN}&access_token=wrong", body, {}))[0] == 403


async def test_without_legacy_the_query_token_is_none(strict: Bridge) -> None:
    """Only the header counts."""
    assert (await strict.call("PUT", f"{TXN}?access_token={TOKEN}", b"{}", {}))[0] == 401


async def test_legacy_routes_can_be_switched(bridge: Bridge, strict: Bridge) -> None:
    """Unprefixed and unstable paths answer only with `legacy`."""
    for method, path in (
        ("PUT", "/transactions/7"),
        ("GET", "/users/@_irc_a%2Fb:hs.test"),
        ("GET", "/rooms/%23_irc_%23chan:hs.test"),
        ("GET", "/_matrix/app/unstable/thirdparty/protocol/irc"),
    ):
        data = b'{"events":[]}' if method == "PUT" else None
        assert (await bridge.call(method, path, data))[0] == 200, path
        status, answer, _ = await strict.call(method, path, data)
        assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED"), path


async def test_an_empty_token_is_refused_at_start() -> None:
    """A registration without hs_token would let everybody in."""
    with pytest.raises(ValueError, match="hs_token"):
        AppserviceHttp("", Sink())


@pytest.mark.parametrize("path", ["/", "/_matrix/app/v1", "/_matrix/app/v2/transactions/1", "/_matrix/client/versions"])
async def test_unknown_routes_are_404(bridge: Bridge, path: str) -> None:
    """M_UNRECOGNIZED, with or without a token."""
    for headers in (BEARER, {}):
        status, answer, _ = await bridge.call("GET", path, None, headers)
        assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", TXN), ("POST", TXN), ("PUT", "/_matrix/app/v1/ping"), ("POST", "/_matrix/app/v1/users/@a:b")],
)
async def test_wrong_methods_are_405(bridge: Bridge, method: str, path: str) -> None:
    """M_UNRECOGNIZED, naming the right ones."""
    status, answer, headers = await bridge.call(method, path)
    assert (status, answer["errcode"]) == (405, "M_UNRECOGNIZED")
    assert headers["Allow"]


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (b"", "M_NOT_JSON"),
        (b"{", "M_NOT_JSON"),
        (b"\xff\xfe", "M_NOT_JSON"),
        (b"nonsense" * 100, "M_NOT_JSON"),
        (b"[" * 5000 + b"]" * 5000, "M_NOT_JSON"),
        (b'{"events":' * 3000, "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b"null", "M_BAD_JSON"),
        (b'{"events":{}}', "M_BAD_JSON"),
        (b'{"events":"x"}', "M_BAD_JSON"),
        (b'{"events":[],"ephemeral":7}', "M_BAD_JSON"),
    ],
)
async def test_malformed_transactions_are_400(bridge: Bridge, body: bytes, errcode: str) -> None:
    """With a text that says what is wrong."""
    status, answer, _ = await bridge.call("PUT", TXN, body)
    assert (status, answer["errcode"]) == (400, errcode)
    assert len(answer["error"]) > 10
    assert bridge.sink.accepted == []


async def test_a_body_over_the_limit_is_refused_unread(bridge: Bridge) -> None:
    """413 from the length alone, before any of the body was sent."""
    host, port = bridge.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"PUT {TXN} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99999999999\r\n\r\n"
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 60)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"M_TOO_LARGE" in answer
    writer.close()
    await writer.wait_closed()


async def test_a_body_of_unknown_length_is_bounded(bridge: Bridge) -> None:
    """Chunks are counted; so is what a compressed body grows to."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 50_000

    assert (await bridge.call("PUT", TXN, endless()))[0] == 413
    bomb = gzip.compress(b" " * 5_000_000)
    assert (await bridge.call("PUT", TXN, bomb, {**BEARER, "Content-Encoding": "gzip"}))[0] == 413
    small = gzip.compress(b'{"events":[]}')
    assert (await bridge.call("PUT", TXN, small, {**BEARER, "Content-Encoding": "gzip"}))[0] == 200
    assert (await bridge.call("PUT", TXN, b"\x1f\x8bnonsense", {**BEARER, "Content-Encoding": "gzip"}))[0] == 400


async def test_a_connection_that_breaks_off_changes_nothing(bridge: Bridge) -> None:
    """Half a body is never accepted, and the next request works."""
    host, port = bridge.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"PUT {TXN} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 13\r\n\r\n".encode()
    )
    writer.write(b'{"events"')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await bridge.call("PUT", TXN, b'{"events":[]}'))[0] == 200
    assert len(bridge.sink.accepted) == 1


async def test_users_and_rooms_are_looked_up(bridge: Bridge) -> None:
    """200 or 404, with slashes and hashes in ids, encoded or (as Synapse) not."""
    v1 = "/_matrix/app/v1"
    assert (await bridge.call("GET", f"{v1}/users/%40_irc_a/b%3Ahs.test"))[0] == 200
    assert (await bridge.call("GET", f"{v1}/users/%40_irc_a%2Fb%3Ahs.test"))[0] == 200
    status, answer, _ = await bridge.call("GET", f"{v1}/users/@other:hs.test")
    assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
    assert (await bridge.call("GET", f"{v1}/rooms/%23_irc_%23chan:hs.test"))[0] == 200
    assert (await bridge.call("GET", f"{v1}/rooms/%23other:hs.test"))[0] == 404


async def test_third_party_lookups(bridge: Bridge) -> None:
    """Protocols, people and places by fields, and the reverse; tokens are no field."""
    v1 = "/_matrix/app/v1/thirdparty"
    assert (await bridge.call("GET", f"{v1}/protocol/irc"))[:2] == (200, {"user_fields": ["nick"]})
    assert (await bridge.call("GET", f"{v1}/protocol/xmpp"))[0] == 404
    found = await bridge.call("GET", f"{v1}/user/irc?nick=ann&access_token={TOKEN}")
    assert found[:2] == (200, [{"userid": "@x:y", "fields": {"nick": "ann"}}])
    assert (await bridge.call("GET", f"{v1}/location/irc"))[0] == 404
    assert (await bridge.call("GET", f"{v1}/user?userid=@a:b"))[:2] == (200, [{"userid": "@a:b"}])
    assert (await bridge.call("GET", f"{v1}/location?alias=%23a:b"))[:2] == (200, [])
    assert (await bridge.call("GET", f"{v1}/user"))[1]["errcode"] == "M_MISSING_PARAM"


async def test_ping_is_answered(bridge: Bridge) -> None:
    """200 and {}."""
    assert (await bridge.call("POST", "/_matrix/app/v1/ping", b'{"transaction_id":"x"}'))[:2] == (200, {})


async def test_a_unix_socket_serves_the_same(tmp_path: Path) -> None:
    """Listening on a socket file, which others cannot enter and which is gone afterwards."""
    path = tmp_path / "s"
    sink = Sink()
    listener = Listener(AppserviceHttp(TOKEN, sink).application(), path=str(path))
    await listener.start()
    assert path.stat().st_mode & 0o007 == 0
    assert listener.url == f"unix:{path}"
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.put(f"http://bridge{TXN}", data=b'{"events":[]}', headers=BEARER) as response,
    ):
        assert response.status == 200
    await listener.stop()
    assert not path.exists()
    assert len(sink.accepted) == 1


async def test_a_socket_left_behind_is_taken_over(tmp_path: Path) -> None:
    """A bridge that was killed leaves its socket file; the next start works."""
    path = tmp_path / "s"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    listener = Listener(AppserviceHttp(TOKEN, Sink()).application(), path=str(path))
    await listener.start()
    await listener.stop()


async def test_a_taken_port_is_told() -> None:
    """OSError, and nothing is left open."""
    first = Listener(AppserviceHttp(TOKEN, Sink()).application())
    await first.start()
    port = int(first.url.rpartition(":")[2])
    second = Listener(AppserviceHttp(TOKEN, Sink()).application(), port=port)
    with pytest.raises(OSError):
        await second.start()
    await first.stop()


async def test_adapters_have_routes_of_their_own() -> None:
    """Under /_bridge/NETWORK/, with the body bounded and methods checked; gone when the network stops."""
    routes = AdapterRoutes(limit=100)
    app = AppserviceHttp(TOKEN, Sink()).application()
    routes.add_to(app)

    async def hook(request: HttpRequest) -> HttpResponse:
        return HttpResponse(201, request.body + request.query["q"].encode(), {"X-Path": request.path})

    mail = routes.of(NetworkId("mail"))
    mail.add("post", "/hook", hook)
    with pytest.raises(ValueError, match="already"):
        mail.add("POST", "hook", hook)
    listener = Listener(app)
    await listener.start()
    async with aiohttp.ClientSession(listener.url) as session:
        async with session.post("/_bridge/mail/hook?q=1", data=b"body") as response:
            assert (response.status, await response.read(), response.headers["X-Path"]) == (201, b"body1", "/hook")
        async with session.post("/_bridge/mail/hook?q=1", data=b"b" * 101) as response:
            assert response.status == 413
        async with session.get("/_bridge/mail/hook") as response:
            assert response.status == 405
        async with session.post("/_bridge/irc/hook") as response:
            assert response.status == 404
        routes.remove(NetworkId("mail"))
        async with session.post("/_bridge/mail/hook") as response:
            assert response.status == 404
    await listener.stop()
