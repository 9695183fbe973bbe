"""The HTTP API against strangers: nobody acts for somebody else, and no argument becomes more than a word."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bridge_core.matrix.listener import Listener
from tests.apicalls import SECRET, ApiClient
from tests.harness import Harness
from tests.scripted import Script

NETWORKS = {"net": {"type": "scripted", "portals": ["lobby"]}}
FOREIGN = "evil.example"


class Server:
    """A homeserver of somebody else's: it answers what it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Any = {}
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        app = web.Application()
        app.router.add_get("/{path:.*}", self._say)
        self._listener = Listener(app)

    async def __aenter__(self) -> "Server":
        await self._listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.stop()

    @property
    def url(self) -> str:
        """Its address."""
        return self._listener.url

    async def _say(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.json_response(self.answer, status=self.status, headers=self.headers)


@pytest.fixture(name="foreign")
async def _foreign() -> AsyncIterator[Server]:
    async with Server() as server:
        yield server


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script, foreign: Server) -> AsyncIterator[Harness]:
    api = {"enabled": True, "secret": SECRET, "openid_servers": {FOREIGN: foreign.url}}
    permissions = {FOREIGN: "user", "@admin:hs.test": "admin", "@blocked:hs.test": "blocked"}
    async with Harness(tmp_path, NETWORKS, {"scripted": script}, api=api, permissions=permissions) as harness:
        yield harness


@pytest.fixture(name="api")
def _api(bridge: Harness) -> ApiClient:
    return ApiClient(bridge.port)


async def _openid(bridge: Harness, user: Any) -> str:
    url = f"{bridge.homeserver.url}/_matrix/client/v3/user/{user.id}/openid/request_token"
    headers = {"Authorization": f"Bearer {user.token}"}
    async with aiohttp.ClientSession() as session, session.post(url, json={}, headers=headers) as response:
        return f"openid:{(await response.json())['access_token']}"


@pytest.mark.parametrize(
    "sub",
    [
        "@admin:hs.test",
        "@admin:hs.test:evil.example",
        "@a:evil.example@admin:hs.test",
        "admin:evil.example",
        "@:evil.example",
        "@a:evil.example\n",
        "@a:EVIL.example",
        ["@a:evil.example"],
        {"sub": "@a:evil.example"},
        None,
        "@" + "a" * 300 + ":evil.example",
    ],
)
async def test_a_server_vouches_for_its_own_users_only(api: ApiClient, foreign: Server, sub: Any) -> None:
    """CVE-2023-38691: a homeserver that names a user of another server, or nobody in good form, is not believed."""
    foreign.answer = {"sub": sub}
    status, answer = await api.call("GET", "/whoami", "openid:t", matrix_server_name=FOREIGN)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def test_a_server_vouches_for_its_users(api: ApiClient, foreign: Server) -> None:
    """A configured homeserver's user is taken at its word, and has the level of that user."""
    foreign.answer = {"sub": "@a:evil.example"}
    status, answer = await api.call("GET", "/whoami", "openid:t", matrix_server_name=FOREIGN)
    assert (status, answer) == (200, {"user_id": "@a:evil.example", "level": "user"})


async def test_a_token_is_of_one_server(api: ApiClient, foreign: Server) -> None:
    """A token that one server knows says nothing at another, also when it was looked at before."""
    foreign.answer = {"sub": "@a:evil.example"}
    assert (await api.call("GET", "/whoami", "openid:t", matrix_server_name=FOREIGN))[0] == 200
    assert (await api.call("GET", "/whoami", "openid:t"))[0] == 403


@pytest.mark.parametrize("name", ["other.example", "127.0.0.1:1", "evil.example/", "evil.example#", "", "hs.test@x"])
async def test_no_other_server_is_asked(api: ApiClient, foreign: Server, name: str) -> None:
    """Only configured homeservers are asked: a stranger makes the bridge fetch nothing else."""
    status, answer = await api.call("GET", "/whoami", "openid:t", matrix_server_name=name)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert foreign.asked == []


async def test_redirects_of_a_homeserver_are_not_followed(api: ApiClient, bridge: Harness, foreign: Server) -> None:
    """A homeserver cannot send the bridge somewhere else."""
    foreign.status, foreign.headers = 302, {"Location": f"{foreign.url}/elsewhere"}
    foreign.answer = {"sub": "@a:evil.example"}
    assert (await api.call("GET", "/whoami", "openid:t", matrix_server_name=FOREIGN))[0] == 403
    assert "/elsewhere" not in foreign.asked


async def test_a_token_speaks_for_its_own_user_only(api: ApiClient, bridge: Harness) -> None:
    """`user_id` beside an OpenID token must be the token's user."""
    token = await _openid(bridge, bridge.alice)
    assert (await api.call("GET", "/whoami", token))[1]["user_id"] == bridge.alice.id
    assert (await api.call("GET", "/whoami", token, user_id=bridge.alice.id))[0] == 200
    status, answer = await api.call("GET", "/whoami", token, user_id="@admin:hs.test")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 401), ("", 401), ("wrong", 403), (SECRET[:-1], 403), (SECRET + "x", 403), ("openid:", 403)],
)
async def test_without_the_secret_nobody_comes_in(api: ApiClient, token: str | None, status: int) -> None:
    """Every endpoint refuses who has no token, or a wrong one."""
    for method, path in (
        ("GET", "/whoami"),
        ("GET", "/commands"),
        ("POST", "/commands/status"),
        ("GET", "/logins"),
        ("POST", "/logins/net"),
        ("POST", "/logins/net/x/submit"),
        ("POST", "/logins/net/x/wait"),
        ("DELETE", "/logins/net/x"),
    ):
        assert (await api.call(method, path, token, user_id="@admin:hs.test"))[0] == status


@pytest.mark.parametrize("user", ["", "alice", "@alice", "@alice:hs.test\n", "@a b:hs.test", "@:hs.test", "!r:hs.test"])
async def test_the_secret_needs_a_user(api: ApiClient, user: str) -> None:
    """With the secret a request says for whom it is, in good form."""
    assert (await api.call("GET", "/whoami", SECRET, user_id=user))[0] == 400


@pytest.mark.parametrize("user", ["@bridgebot:hs.test", "@_net_bob:hs.test"])
async def test_nobody_speaks_for_the_bridges_own_users(api: ApiClient, user: str) -> None:
    """Bot and ghosts command nothing."""
    assert (await api.call("GET", "/whoami", SECRET, user_id=user))[0] == 403


async def test_levels_hold(api: ApiClient, bridge: Harness) -> None:
    """What a user may not do in a room they may not do here: blocked users nothing, users nothing of admins."""
    for path in ("/whoami", "/commands"):
        assert (await api.call("GET", path, SECRET, user_id="@blocked:hs.test"))[0] == 403
    portal = {"arguments": {"network": "net", "chat": "garden"}}
    status, answer = await api.call("POST", "/commands/portal", SECRET, portal, user_id=bridge.alice.id)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert (await api.call("POST", "/commands/portal", SECRET, portal, user_id="@admin:hs.test"))[0] == 200


async def test_a_room_is_named_by_its_members_only(api: ApiClient, bridge: Harness) -> None:
    """A command about a room needs a member of it; what a member may change there is asked as in the room itself."""
    room = bridge.alice.create_room(invite=[bridge.homeserver.bot])
    await bridge.until(lambda: bridge.homeserver.room(room).membership(bridge.homeserver.bot) == "join")
    mallory = bridge.homeserver.user("mallory")
    body = {"arguments": {"network": "net", "chat": "lobby"}, "room": room}
    status, _ = await api.call("POST", "/commands/bridge", SECRET, body, user_id=mallory.id)
    assert status == 403
    bridge.alice.invite(room, mallory.id)
    mallory.join(room)
    await bridge.settled()
    status, answer = await api.call("POST", "/commands/bridge", SECRET, body, user_id=mallory.id)
    assert (status, answer["errcode"]) == (409, "M_BAD_STATE")
    assert (await api.call("POST", "/commands/bridge", SECRET, body, user_id=bridge.alice.id))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b'{"arguments": []}',
        b'{"arguments": {"network": 1}}',
        b'{"arguments": {"network": null}}',
        b'{"room": "!x:hs.test\\nfoo"}',
        b'{"room": "#alias:hs.test"}',
        b'{"sender": "@admin:hs.test"}',
        b'{"arguments": {"network": "' + b"x" * 5000 + b'"}}',
        b"[" * 30_000,
    ],
)
async def test_bodies_that_do_not_fit_are_refused(api: ApiClient, bridge: Harness, body: bytes) -> None:
    """Whatever is no call of a command is 400, and changes nothing."""
    status, answer = await api.call("POST", "/commands/list", SECRET, raw=body, user_id=bridge.alice.id)
    assert status == 400
    assert answer["errcode"] in {"M_NOT_JSON", "M_BAD_JSON"}


async def test_bodies_are_bounded(api: ApiClient, bridge: Harness) -> None:
    """More than 64 KiB are not read."""
    status, _ = await api.call("POST", "/commands/list", SECRET, raw=b" " * 70_000, user_id=bridge.alice.id)
    assert status == 413


@pytest.mark.parametrize("smuggled", ["a\r\nQUIT", "a\nb", "a\x00b", "a\u2028b", "a b", "\x1b[31m"])
async def test_arguments_are_words(api: ApiClient, bridge: Harness, script: Script, smuggled: str) -> None:
    """CVE-2024-52505: no line break, NUL or escape in an argument reaches an adapter."""
    body = {"arguments": {"network": "net", "person": smuggled}}
    script.provided = True
    await api.call("POST", "/commands/chat", SECRET, body, user_id=bridge.alice.id)
    chats = [row.chat for row in bridge.running.engine.portals.of_network("net")]  # type: ignore[arg-type]
    assert [chat for chat in chats if not chat.isprintable()] == []


async def test_calls_are_bounded(api: ApiClient, bridge: Harness, foreign: Server) -> None:
    """One user makes so many calls a minute, and one address has so many tokens looked at."""
    token = await _openid(bridge, bridge.alice)
    statuses = [(await api.call("GET", "/whoami", token))[0] for _ in range(70)]
    assert statuses[:60] == [200] * 60
    assert statuses[-1] == 429
    foreign.status = 401
    looked = [(await api.call("GET", "/whoami", f"openid:{n}", matrix_server_name=FOREIGN))[0] for n in range(40)]
    assert looked[0] == 403
    assert looked[-1] == 429
    assert len(foreign.asked) < 40


async def test_without_the_secret_configured_there_is_none(tmp_path: Path) -> None:
    """An API without a secret takes none, and without OpenID no token."""
    section = {"enabled": True, "openid": False}
    async with Harness(tmp_path, NETWORKS, {"scripted": Script()}, api=section) as bridge:
        api = ApiClient(bridge.port)
        for token in ("None", "null", "openid:x", "x"):
            assert (await api.call("GET", "/whoami", token, user_id=bridge.alice.id))[0] == 403


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    """Unless it is configured there is no such endpoint."""
    async with Harness(tmp_path, NETWORKS, {"scripted": Script()}) as bridge:
        assert (await ApiClient(bridge.port).call("GET", "/whoami", SECRET, user_id=bridge.alice.id))[0] == 404
