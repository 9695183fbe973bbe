"""What new users and users of new homeservers say is rejected, with how long they have to wait."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.store_ports import PortalRow
from tests.harness import Harness
from tests.invariants.scenes import notices
from tests.scripted import Script

PORTAL = PortalRow(1, NetworkId("net"), ChatId("lobby"), None, ())
ELSEWHERE = PortalRow(2, NetworkId("other"), ChatId("lobby"), None, ())


@pytest.fixture(name="waiting")
async def _waiting(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    newcomers = {"user_wait": "10m", "server_wait": "2h"}
    networks = {"net": {"type": "scripted", "portals": ["lobby"], "newcomers": newcomers}}
    async with Harness(tmp_path, networks, {"scripted": script}) as bridge:
        yield bridge


def _says(bridge: Harness, user: str, portal: PortalRow = PORTAL) -> None:
    bridge.running.whomay.newcomers.outgoing(portal, MatrixSender(UserId(user), "x"))


async def test_a_new_user_waits(waiting: Harness, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first message starts the time, which goes on over a restart; the sender is told how long it is."""
    room = await waiting.portal_room("net", "lobby")
    waiting.alice.send(room, "hello")
    await waiting.settled()
    assert script.sent == [] and any("crosses in 10 minutes" in text for text in notices(waiting, room))
    await waiting.stop_bridge()
    await waiting.start_bridge()
    clock = waiting.running.whomay.newcomers._clock
    now = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now + 11 * 60_000)
    waiting.alice.send(room, "hello again")
    await waiting.settled()
    assert script.texts() == ["hello again"]


async def test_a_new_homeserver_waits_longer(waiting: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody of it does, whoever was first; our own is never new, admins never wait, other networks do not ask."""
    clock = waiting.running.whomay.newcomers._clock
    now = clock.now_ms()
    for user in ("@a:new.test", "@b:new.test"):
        with pytest.raises(RejectedError):
            _says(waiting, user)
    monkeypatch.setattr(clock, "now_ms", lambda: now + 60 * 60_000)
    with pytest.raises(RejectedError, match=r"new.test is new .* in 60 minutes"):
        _says(waiting, "@a:new.test")
    monkeypatch.setattr(clock, "now_ms", lambda: now + 121 * 60_000)
    _says(waiting, "@a:new.test")
    _says(waiting, "@b:new.test")
    with pytest.raises(RejectedError, match=r"you are new .* 10 minutes"):
        _says(waiting, "@c:new.test")
    _says(waiting, "@admin:hs.test")
    _says(waiting, "@d:newer.test", ELSEWHERE)
