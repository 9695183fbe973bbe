"""Invariant 4: towards networks as their own idempotency allows; an attempt is recorded before it is made."""

from typing import Any

import pytest

from bridge_core.api.errors import NotConnectedError, UnknownOutcomeError
from bridge_core.api.network import LoginStatus, Sent
from bridge_core.engine.ports import DeliveryState
from tests.harness import Harness
from tests.invariants.scenes import balances, notices, rows
from tests.scripted import Script

STATES = "SELECT state, attempts FROM journal_delivery ORDER BY id"


@pytest.fixture
def sections(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a test asks for with `policy`."""
    marked = request.node.get_closest_marker("parametrize")
    policy = request.node.callspec.params.get("policy") if marked is not None else None
    return {"journal": {"unknown": policy}} if policy else {}


async def test_an_attempt_is_recorded_before_it_is_made(bridge: Harness, script: Script) -> None:
    """When the adapter is asked to send, the journal on the disk says already that this is being tried."""
    room = await bridge.portal_room("net", "lobby")
    found: list[Any] = []

    def looks(message: Any, attempt: Any) -> Sent:
        found.append(rows(bridge, STATES))
        return Sent()

    script.answer = looks
    bridge.alice.send(room, "hello")
    await bridge.until(lambda: found)
    assert found == [[(int(DeliveryState.ATTEMPTED), 1)]]


async def test_what_was_not_written_is_not_in_doubt(bridge: Harness, script: Script) -> None:
    """An attempt that certainly wrote nothing is taken back on the disk: after a crash it is simply made again."""
    room = await bridge.portal_room("net", "lobby")

    def away(message: Any, attempt: Any) -> Sent:
        raise NotConnectedError("away")

    script.answer = away
    bridge.alice.send(room, "hello")
    await bridge.until(lambda: rows(bridge, "SELECT attempts FROM journal_entry WHERE attempts > 0"))
    assert [state for state, _ in rows(bridge, STATES)] == [int(DeliveryState.READY)]
    await bridge.stop_bridge()
    script.answer = lambda message, attempt: Sent()
    await bridge.start_bridge()
    await bridge.until(lambda: script.sent)
    assert notices(bridge, room) == []
    assert (await balances(bridge))["net", 0].delivered == 1


async def test_nothing_is_tried_while_a_network_is_away(bridge: Harness, script: Script) -> None:
    """No attempt is recorded for a network that is known to be away, so none is in doubt after a crash then."""
    room = await bridge.portal_room("net", "lobby")
    script.status(LoginStatus.DISCONNECTED)
    bridge.alice.send(room, "hello")
    await bridge.until(lambda: rows(bridge, STATES))
    assert rows(bridge, STATES) == [(int(DeliveryState.READY), 0)]
    script.status(LoginStatus.CONNECTED)
    await bridge.until(lambda: script.texts() == ["hello"])


@pytest.mark.parametrize("policy", ["report", "resend"])
async def test_an_unknown_fate_follows_the_policy(bridge: Harness, script: Script, policy: str) -> None:
    """`report`: the sender is told and nothing is sent again. `resend`: it is sent again, under the same key."""
    room = await bridge.portal_room("net", "lobby")

    def breaks(message: Any, attempt: Any) -> Sent:
        script.answer = lambda message, attempt: Sent()
        raise UnknownOutcomeError("the connection broke")

    script.answer = breaks
    bridge.alice.send(room, "in doubt")
    await bridge.until(lambda: len(script.attempts) == 2 or notices(bridge, room))
    found = (await balances(bridge))["net", 0]
    if policy == "report":
        assert (len(script.attempts), found.rejected) == (1, 1)
        assert "may not have been delivered" in notices(bridge, room)[0]
    else:
        assert (len({key for key, _ in script.attempts}), found.delivered) == (1, 1)
        assert notices(bridge, room) == []


@pytest.mark.parametrize("policy", ["report", "resend"])
async def test_an_attempt_of_a_dead_process_follows_the_policy(bridge: Harness, script: Script, policy: str) -> None:
    """The same holds for what was being sent when the process ended."""
    script.answer = script.later
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "was being sent")
    await bridge.until(lambda: script.waiting)
    await bridge.stop_bridge()
    script.answer = lambda message, attempt: Sent()
    await bridge.start_bridge()
    await bridge.until(lambda: len(script.sent) == 2 or notices(bridge, room))
    await balances(bridge)
    assert len(script.sent) == {"report": 1, "resend": 2}[policy]
    assert len(notices(bridge, room)) == {"report": 1, "resend": 0}[policy]
