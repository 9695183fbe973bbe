"""How connections are: told in the management room when they have settled, and pushed as they change."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.ids import LoginId, NetworkId
from bridge_core.api.network import LoginState, LoginStatus
from bridge_core.testing.homeserver import FakeUser
from tests.harness import Harness
from tests.scripted import Script
from tests.unit.engine.test_status import Receiver

NETWORKS = {"net": {"type": "scripted", "portals": ["lobby"]}}


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="receiver")
async def _receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def _bridge(tmp_path: Path, script: Script, **status: Any) -> Harness:
    return Harness(tmp_path, NETWORKS, {"scripted": script}, status={"notice_after": "300ms", **status})


async def _management(bridge: Harness, user: FakeUser) -> str:
    room = user.create_room(invite=[bridge.homeserver.bot], is_direct=True)
    await bridge.homeserver.wait_event(room, lambda e: "management room" in str(e["content"].get("body")))
    return room


def _said(bridge: Harness, room: str) -> list[str]:
    return [body for sender, body in bridge.homeserver.messages(room) if sender == bridge.homeserver.bot][1:]


async def _logged_in(bridge: Harness, script: Script) -> str:
    """Alice's management room, after she logged in; the login is `amy`."""
    room = await _management(bridge, bridge.alice)
    logins = bridge.running.engine.logins
    step = await logins.begin(bridge.alice.id, "net", "password")  # type: ignore[arg-type]
    step = await logins.submit(bridge.alice.id, step.id, {"name": "amy", "password": "secret"})  # type: ignore[arg-type]
    await logins.submit(bridge.alice.id, step.id, {"code": "1234"})  # type: ignore[arg-type]
    return room


async def test_an_outage_and_its_end_are_told_to_admins(tmp_path: Path, script: Script) -> None:
    """Admins learn that a network is away, and that it is back, once each; others are not told."""
    async with _bridge(tmp_path, script) as bridge:
        admin = bridge.homeserver.user("admin")
        room, other = await _management(bridge, admin), await _management(bridge, bridge.alice)
        script.status(LoginStatus.DISCONNECTED)
        await bridge.until(lambda: len(_said(bridge, room)) == 1)
        script.status(LoginStatus.CONNECTED)
        await bridge.until(lambda: len(_said(bridge, room)) == 2)
        assert "Scripted is not connected" in _said(bridge, room)[0]
        assert "Scripted is connected again" in _said(bridge, room)[1]
        assert _said(bridge, other) == []


async def test_what_a_network_remarks_is_told_to_whom_it_concerns(tmp_path: Path, script: Script) -> None:
    """To the login's user, or to the admins for the network as a whole; the same once, and no more than a few."""
    async with _bridge(tmp_path, script) as bridge:
        admin = await _management(bridge, bridge.homeserver.user("admin"))
        room = await _logged_in(bridge, script)
        before = len(_said(bridge, room))
        assert script.inbox is not None
        network = NetworkId("net")
        for _ in range(2):
            script.inbox.report(LoginState(network, None, LoginStatus.CONNECTED, remark="back at\nnoon"))
        for number in range(30):
            remark = f"slower, {number}"
            script.inbox.report(LoginState(network, LoginId("amy"), LoginStatus.DISCONNECTED, remark=remark))
        await bridge.until(lambda: len(_said(bridge, room)) == before + 10)
        await bridge.settled()
        assert _said(bridge, admin) == ["Scripted says: back at noon"]
        assert _said(bridge, room)[before:] == [f"Scripted says: slower, {number}" for number in range(10)]


async def test_a_short_outage_is_not_told(tmp_path: Path, script: Script) -> None:
    """A connection that is back before it counts as away is not spoken of."""
    async with _bridge(tmp_path, script) as bridge:
        room = await _management(bridge, bridge.homeserver.user("admin"))
        states = bridge.running.control.states
        script.status(LoginStatus.DISCONNECTED)
        script.status(LoginStatus.CONNECTED)
        await bridge.until(lambda: not states.unsettled())
        await bridge.settled()
        assert _said(bridge, room) == []


async def test_a_flapping_connection_is_told_once(tmp_path: Path, script: Script) -> None:
    """However often it comes and goes, there is one notice of that, and one when it holds."""
    async with _bridge(tmp_path, script) as bridge:
        room = await _management(bridge, bridge.homeserver.user("admin"))
        states = bridge.running.control.states
        told = False
        while not told:
            script.status(LoginStatus.DISCONNECTED)
            script.status(LoginStatus.CONNECTING)
            await bridge.settled()
            told = bool(_said(bridge, room))
        for _ in range(3):
            script.status(LoginStatus.CONNECTED)
            script.status(LoginStatus.DISCONNECTED)
        script.status(LoginStatus.CONNECTED)
        await bridge.until(lambda: not states.unsettled())
        await bridge.until(lambda: len(_said(bridge, room)) == 2)
        assert "keeps losing its connection" in _said(bridge, room)[0]
        assert "connected again" in _said(bridge, room)[1]


async def test_a_user_learns_what_they_can_do(tmp_path: Path, script: Script) -> None:
    """A login that is not accepted any more is told to its user, with the reason and a way out; after a restart not
    again, but its recovery is."""
    async with _bridge(tmp_path, script) as bridge:
        room = await _logged_in(bridge, script)
        script.login_status("amy", LoginStatus.BAD_CREDENTIALS, "password changed")
        await bridge.until(lambda: _said(bridge, room))
        assert "Amy on Scripted: it does not accept your login any more: password changed" in _said(bridge, room)[0]
        assert "log in again" in _said(bridge, room)[0]
        await bridge.settled()
        await bridge.stop_bridge()
        await bridge.start_bridge()
        await bridge.until(lambda: len(_said(bridge, room)) == 2)
        assert "Amy on Scripted is connected again" in _said(bridge, room)[1]


async def test_states_are_pushed(tmp_path: Path, script: Script, receiver: Receiver) -> None:
    """Each state of a connection is posted in the words of mautrix bridges; an outage of the receiver loses none."""
    receiver.answers = [503]
    async with _bridge(tmp_path, script, bridge_state_url=receiver.url) as bridge:
        await bridge.until(lambda: receiver.bodies)
        await _logged_in(bridge, script)
        await bridge.until(lambda: any(body.get("remote_id") == "amy" for body in receiver.bodies))
        script.login_status("amy", LoginStatus.LOGGED_OUT, "elsewhere")
        await bridge.until(lambda: receiver.bodies[-1]["state_event"] == "LOGGED_OUT")
        first, last = receiver.bodies[0], receiver.bodies[-1]
        assert (first["state_event"], first["network"], first["source"]) == ("CONNECTED", "net", "bridge")
        assert (last["user_id"], last["remote_id"], last["remote_name"]) == (bridge.alice.id, "amy", "Amy")
        assert (last["error"], last["message"]) == ("dev-matrix-bridge-logged-out", "elsewhere")


async def test_a_stop_waits_for_no_connection_to_settle(tmp_path: Path, script: Script) -> None:
    """The bridge stops although a connection has just changed; nothing is said of it."""
    async with _bridge(tmp_path, script, notice_after="1h") as bridge:
        room = await _management(bridge, bridge.homeserver.user("admin"))
        script.status(LoginStatus.DISCONNECTED)
        states = bridge.running.control.states
        task = states._watching
        assert states.unsettled() and task is not None
        states.stop()
        await asyncio.wait([task])
        assert task.cancelled()
        script.status(LoginStatus.CONNECTED)
        assert states._watching is None
        assert _said(bridge, room) == []
