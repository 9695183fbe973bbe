"""The service that drives login flows: steps as data, bounded, one per user, and the end of a login."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.engine.intake import CURSORS, cursor_name
from bridge_core.engine.logins import Logins
from tests.harness import Harness
from tests.scripted import Script, ScriptedProcess

NET = NetworkId("net")
ALICE = UserId("@alice:hs.test")
RIGHT = {"name": "dora", "password": "secret"}


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}, "echo": {"type": "echo"}}
    async with Harness(tmp_path, networks, {"scripted": script}, permissions={"@mallory:hs.test": "relay"}) as harness:
        yield harness


@pytest.fixture(name="logins")
def _logins(bridge: Harness) -> Logins:
    return bridge.running.engine.logins


async def _logged_in(logins: Logins, user: UserId = ALICE) -> str:
    progress = await logins.begin(user, NET, "password")
    await logins.submit(user, progress.id, RIGHT)
    done = await logins.submit(user, progress.id, {"code": "1234"})
    return str(done.data()["login"])


async def test_steps_are_data(bridge: Harness, logins: Logins) -> None:
    """Each step tells a program what to ask, show or know; the account's secrets are in none of them."""
    first = await logins.begin(ALICE, NET, "password")
    assert first.data()["type"] == "ask"
    assert [(one["id"], one["kind"]) for one in first.data()["fields"]] == [("name", "text"), ("password", "secret")]
    second = await logins.submit(ALICE, first.id, {**RIGHT, "unasked": "x"})
    assert second.data()["fields"][0]["choices"] == ["1234", "5678"]
    done = await logins.submit(ALICE, first.id, {"code": "1234"})
    assert done.data() == {"id": first.id, "network": "net", "type": "complete", "login": "dora", "name": "Dora"}
    assert "t0ken" not in repr(done)
    assert logins.running(ALICE) is None
    network = bridge.running.networks.get(NET)
    assert network is not None
    (login,) = network.logins(ALICE)
    assert (login.settings, login.secrets) == ({"name": "dora"}, {"token": "t0ken"})


async def test_wrong_answers_may_be_given_again(logins: Logins) -> None:
    """A refused, missing, unprintable or unoffered answer is told in words, and the step stays open."""
    progress = await logins.begin(ALICE, NET, "password")
    with pytest.raises(RejectedError, match="the password is wrong"):
        await logins.submit(ALICE, progress.id, {**RIGHT, "password": "guess"})
    for bad in ("", "two\r\nlines", "nul\0", "x" * 5000):
        with pytest.raises(RejectedError, match="Password: write it in one line"):
            await logins.submit(ALICE, progress.id, {**RIGHT, "password": bad})
    await logins.submit(ALICE, progress.id, RIGHT)
    with pytest.raises(RejectedError, match="say one of 1234, 5678"):
        await logins.submit(ALICE, progress.id, {"code": "9999"})
    assert (await logins.submit(ALICE, progress.id, {"code": "5678"})).data()["type"] == "complete"


async def test_a_shown_step_ends_when_the_network_has_it(script: Script, logins: Logins) -> None:
    """What is shown is waited for; cancelling ends the wait."""
    shown = await logins.begin(ALICE, NET, "code")
    assert shown.data() == {
        "id": shown.id,
        "network": "net",
        "type": "show",
        "text": "Scan this with your phone.",
        "code": "code-1",
    }
    with pytest.raises(RejectedError, match="nothing was asked"):
        await logins.submit(ALICE, shown.id, {})
    waiting = asyncio.ensure_future(logins.wait(ALICE, shown.id))
    await asyncio.sleep(0)
    script.scanned.set()
    assert (await waiting).data()["login"] == "phone"
    script.scanned.clear()
    again = await logins.begin(ALICE, NET, "code")
    waiting = asyncio.ensure_future(logins.wait(ALICE, again.id))
    await asyncio.sleep(0)
    assert await logins.cancel(ALICE, again.id)
    with pytest.raises(RejectedError):
        await waiting
    assert not await logins.cancel(ALICE)


async def test_one_login_at_a_time_and_nobody_elses(script: Script, logins: Logins) -> None:
    """A second login gives up the first; ids of others, and those over, lead nowhere."""
    first = await logins.begin(ALICE, NET, "password")
    second = await logins.begin(ALICE, NET, "password")
    assert script.logged_out == ["cancelled password"]
    for user, login in ((ALICE, first.id), (UserId("@bob:hs.test"), second.id), (ALICE, "")):
        with pytest.raises(RejectedError, match="that login is over"):
            await logins.submit(user, login, RIGHT)
    assert not await logins.cancel(ALICE, first.id)


@pytest.mark.parametrize(
    ("user", "network", "flow", "words"),
    [
        ("@mallory:hs.test", "net", "password", "you may not log in"),
        ("@x:elsewhere", "net", "password", "you may not log in"),
        ("@alice:hs.test", "echo", "", "no logins on echo"),
        ("@alice:hs.test", "nowhere", "", "no logins on nowhere"),
        ("@alice:hs.test", "net", "", r"say how: password \(Name and password\), code"),
        ("@alice:hs.test", "net", "magic", "no way to log in called magic"),
    ],
)
async def test_what_cannot_be_begun(logins: Logins, user: str, network: str, flow: str, words: str) -> None:
    """Who may not, and what there is not, is refused in words."""
    with pytest.raises(RejectedError, match=words):
        await logins.begin(UserId(user), NetworkId(network), flow)


async def test_limits_are_asked_again_at_the_end(logins: Logins) -> None:
    """Whatever limits logins is asked at the beginning and at each step: it may have changed meanwhile."""
    full = False

    def check(user: UserId, network: NetworkId) -> None:
        if full:
            raise RejectedError("you have enough logins")

    logins.check(check)
    progress = await logins.begin(ALICE, NET, "password")
    full = True
    with pytest.raises(RejectedError, match="enough logins"):
        await logins.submit(ALICE, progress.id, RIGHT)
    with pytest.raises(RejectedError, match="enough logins"):
        await logins.begin(ALICE, NET, "password")


async def test_an_adapters_mistake_is_the_users_no_riddle(
    script: Script, logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error and an unreachable network are told as such; the step may be done again."""
    progress = await logins.begin(ALICE, NET, "password")
    errors: list[Exception] = [KeyError("oops"), TransientError("no route")]

    async def fails(self: ScriptedProcess, answers: object) -> None:
        raise errors.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedProcess, "submit", fails)
        with pytest.raises(RejectedError, match="internal error"):
            await logins.submit(ALICE, progress.id, RIGHT)
        with pytest.raises(RejectedError, match="cannot be asked now: no route"):
            await logins.submit(ALICE, progress.id, RIGHT)
    assert (await logins.submit(ALICE, progress.id, RIGHT)).data()["type"] == "ask"


async def test_an_abandoned_login_ends(
    script: Script, logins: Logins, monkeypatch: pytest.MonkeyPatch, bridge: Harness
) -> None:
    """A login that nobody goes on with is cancelled after a while."""
    monkeypatch.setattr("bridge_core.engine.logins.PATIENCE", 0.0)
    progress = await logins.begin(ALICE, NET, "password")
    await bridge.until(lambda: logins.running(ALICE) is None)
    assert script.logged_out == ["cancelled password"]
    with pytest.raises(RejectedError, match="that login is over"):
        await logins.submit(ALICE, progress.id, RIGHT)


async def test_logging_in_again_keeps_the_login(bridge: Harness, script: Script, logins: Logins) -> None:
    """The same account again is the same login, connected once, at the cursor where it was."""
    assert await _logged_in(logins) == "dora"
    await bridge.running.database.kv.put(CURSORS, cursor_name(NET, LoginId("dora")), b"7")
    assert await _logged_in(logins) == "dora"
    assert script.connected == ["", "dora"]
    network = bridge.running.networks.get(NET)
    assert network is not None and [one.id for one in network.logins(ALICE)] == ["dora"]
    assert await bridge.running.database.kv.get(CURSORS, cursor_name(NET, LoginId("dora"))) == b"7"


async def test_logging_out_leaves_nothing(bridge: Harness, script: Script, logins: Logins) -> None:
    """The session ends there; login, cursor and private chats are forgotten, and late messages make no room."""
    await _logged_in(logins)
    dora = LoginId("dora")
    kv = bridge.running.database.kv
    await kv.put(CURSORS, cursor_name(NET, dora), b"7")
    said = RemoteMessage(
        ChatId("dm-eve"), RemoteSender(RemoteUserId("eve"), "Eve"), Content((Plain("psst"),)), receiver=dora
    )
    assert script.inbox is not None
    await script.inbox.receive([said])
    portals = bridge.running.engine.portals
    await bridge.until(lambda: any(row.rooms for row in portals.of_network(NET) if row.receiver))
    (room,) = next(row.rooms for row in portals.of_network(NET) if row.receiver)
    await bridge.settled()
    assert await logins.log_out(NET, dora)
    assert script.logged_out == ["dora"] and script.connected == [""]
    assert await kv.get(CURSORS, cursor_name(NET, dora)) is None
    await bridge.homeserver.wait_event(room, lambda e: "was logged out of net" in str(e["content"].get("body")))
    await script.inbox.receive([said])
    await bridge.settled()
    assert not [row for row in portals.of_network(NET) if row.receiver]
    assert portals.in_room(RoomId(room)) == ()
    audit = await bridge.running.journal.audit()
    assert audit.holds and audit.balances["net", 1].rejected == 1
    assert not await logins.log_out(NET, dora)
