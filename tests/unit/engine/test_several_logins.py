"""Several logins of one user on one network: which of them speaks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, LoginId, NetworkId, UserId
from bridge_core.api.network import Client, Login, LoginStatus
from bridge_core.engine.clients import Clients, LoggedIn
from bridge_core.engine.networks import Network
from bridge_core.engine.store_ports import PortalRow
from tests.harness import Harness
from tests.scripted import Script, ScriptedClient

NET = NetworkId("net")


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


def _network(bridge: Harness) -> Network:
    network = bridge.running.networks.get(NET)
    assert network is not None
    return network


def _login(bridge: Harness, name: str, user: str | None = None) -> Login:
    return Login(LoginId(name), UserId(user or bridge.alice.id), name.title(), secrets={"token": f"{name}-token"})


async def _said(bridge: Harness, script: Script, room: str, text: str) -> str | None:
    """Which login said what alice says now; None for the relay."""
    bridge.alice.send(room, text)
    await bridge.until(lambda: text in script.texts())
    return script.sent[script.texts().index(text)][0]


async def test_the_preferred_login_speaks(bridge: Harness, script: Script) -> None:
    """Of several logins the first speaks until another is preferred, which holds over a restart too."""
    room = await bridge.portal_room("net", "lobby")
    network = _network(bridge)
    assert await _said(bridge, script, room, "by the relay") is None
    await network.add(_login(bridge, "work"))
    await network.add(_login(bridge, "home"))
    assert script.connected == ["", "work", "home"]
    assert await _said(bridge, script, room, "at work") == "work"
    await network.prefer(UserId(bridge.alice.id), LoginId("home"))
    assert await _said(bridge, script, room, "at home") == "home"
    assert [login.id for login in network.logins(UserId(bridge.alice.id))] == ["home", "work"]
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert await _said(bridge, script, room, "still at home") == "home"
    assert [login.secrets["token"] for login in _network(bridge).logins(UserId(bridge.alice.id))] == [
        "home-token",
        "work-token",
    ]


async def test_a_private_chat_decides_for_its_login(bridge: Harness, script: Script) -> None:
    """In a portal of one login that login speaks, whichever is preferred; for nobody else does anybody speak there."""
    network = _network(bridge)
    await network.add(_login(bridge, "work"))
    await network.add(_login(bridge, "home"))
    engine = bridge.running.engine
    portal = await engine.portals.ensure(NET, ChatId("dm-dora"), LoginId("home"))
    room = await engine.rooms.ensure(portal)
    bridge.alice.join(room)
    assert await _said(bridge, script, room, "privately") == "home"
    mallory = bridge.homeserver.user("mallory")
    bridge.alice.invite(room, mallory.id)
    mallory.join(room)
    mallory.send(room, "let me in")
    await bridge.homeserver.wait_event(room, lambda e: "belongs to another user" in str(e["content"].get("body")))
    assert "let me in" not in script.texts()


async def test_nobody_takes_over_another_users_login(bridge: Harness, script: Script) -> None:
    """An account that is one user's login cannot become another user's, and nobody prefers what is not theirs."""
    network = _network(bridge)
    await network.add(_login(bridge, "work"))
    mallory = bridge.homeserver.user("mallory")
    with pytest.raises(RejectedError, match="another user's login"):
        await network.add(_login(bridge, "work", mallory.id))
    with pytest.raises(RejectedError, match="you have no login work"):
        await network.prefer(UserId(mallory.id), LoginId("work"))
    assert [login.user for login in network.logins()] == [bridge.alice.id]


async def test_a_login_that_ended_does_not_hold_messages_up(bridge: Harness, script: Script) -> None:
    """A login whose credentials are bad is not used: the relay speaks, and a private chat says what to do."""
    network = _network(bridge)
    script.puppets = False
    await network.add(_login(bridge, "work"))
    portal = await bridge.running.engine.portals.ensure(NET, ChatId("dm-dora"), LoginId("work"))
    private = await bridge.running.engine.rooms.ensure(portal)
    bridge.alice.join(private)
    room = await bridge.portal_room("net", "lobby")
    assert await _said(bridge, script, room, "fine") == "work"
    script.login_status("work", LoginStatus.BAD_CREDENTIALS, "the password was changed")
    assert await _said(bridge, script, room, "still heard") is None
    bridge.alice.send(private, "anybody?")
    told = await bridge.homeserver.wait_event(private, lambda e: "does not work any more" in str(e["content"]))
    assert "your login Work does not work any more (the password was changed)" in told["content"]["body"]
    script.login_status("work", LoginStatus.CONNECTED)
    assert await _said(bridge, script, room, "back again") == "work"


async def test_the_relay_does_not_speak_for_whom_the_network_banned(bridge: Harness, script: Script) -> None:
    """A ban of a login that its user made is not got round by the relay; its words are told."""
    script.puppets = False
    await _network(bridge).add(_login(bridge, "work"))
    room = await bridge.portal_room("net", "lobby")
    script.login_status("work", LoginStatus.BANNED, "no bridging for you")
    bridge.alice.send(room, "am I heard?")
    await bridge.homeserver.wait_event(room, lambda e: "no bridging for you" in str(e["content"].get("body")))
    assert "am I heard?" not in script.texts()


async def test_a_removed_login_speaks_no_more(bridge: Harness, script: Script) -> None:
    """After its end a login is closed and forgotten, over a restart too, and the next one speaks."""
    network = _network(bridge)
    for name in ("work", "home"):
        await network.add(_login(bridge, name))
    assert await network.remove(LoginId("work")) is not None
    assert await network.remove(LoginId("work")) is None
    assert script.connected == ["", "home"]
    room = await bridge.portal_room("net", "lobby")
    assert await _said(bridge, script, room, "hello") == "home"
    await bridge.stop_bridge()
    await bridge.start_bridge()
    assert [login.id for login in _network(bridge).logins()] == ["home"]


def test_logins_made_by_users_come_first() -> None:
    """A login that a user made speaks before one that was provided; a login keeps its place when it is made anew."""
    script, clients, user = Script(), Clients(), UserId("@a:hs")

    def one(name: str, *, provided: bool = False) -> LoggedIn:
        login = Login(LoginId(name), user, name, provided)
        client: Client = ScriptedClient(script, login, None)  # type: ignore[arg-type]
        return LoggedIn(login, client)

    for login in (one("auto", provided=True), one("work"), one("home")):
        assert clients.add(login) is None
    assert [item.login.id for item in clients.of(user)] == ["work", "home", "auto"]
    assert clients.prefer(user, LoginId("home"))
    again = one("home")
    assert clients.add(again) is not None
    assert clients.first(user) is again
    assert clients.remove(LoginId("home")) is again
    assert [item.login.id for item in clients.of(user)] == ["work", "auto"]
    assert not clients.prefer(user, LoginId("home"))


async def test_of_two_users_one_gets_an_account(bridge: Harness) -> None:
    """Who logs in to an account at the same moment as somebody else is told so: what is stored is what holds."""
    network = _network(bridge)
    logins = [_login(bridge, "work"), _login(bridge, "work", "@other:hs.test")]
    results = await asyncio.gather(*(network.add(login) for login in logins), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [RejectedError]
    (kept,) = [login for login, result in zip(logins, results, strict=True) if result is None]
    assert network.login_of(LoginId("work")) == kept
    assert [login.user for login in await bridge.running.database.users.logins(NET)] == [kept.user]


async def test_signals_of_a_private_chat_go_over_its_own_login(bridge: Harness) -> None:
    """Whoever reads or types in a private chat of one account is not seen doing so by another of theirs."""
    network, user = _network(bridge), UserId(bridge.alice.id)
    await network.add(_login(bridge, "work"))
    await network.add(_login(bridge, "home"))
    portal = PortalRow(7, NET, ChatId("dm-bob"), LoginId("home"), ())
    engine = bridge.running.engine
    signals = engine.intake._signals
    assert signals._own(network, user, portal) is network.client_with(LoginId("home"))
    assert signals._own(network, user) is network.client_with(LoginId("work"))
