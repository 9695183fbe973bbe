"""What was redacted before it was sent is not sent any more, wherever it waited, and is counted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import NotConnectedError, UnknownOutcomeError
from bridge_core.api.ids import MessageId
from bridge_core.api.network import LoginStatus, Sent
from tests.able import AbleScript
from tests.harness import Harness


@pytest.fixture(name="script")
def _script() -> AbleScript:
    return AbleScript()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: AbleScript) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


def _away(message: Any, attempt: Any) -> Sent:
    raise NotConnectedError("gone")


async def _balance(bridge: Harness) -> Any:
    await bridge.settled()
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    return audit.balances["net", 0]


async def _waiting(bridge: Harness, script: AbleScript) -> str:
    """A message waits for the network, and then its redaction behind it, and another message."""
    room = await bridge.portal_room("net", "lobby")
    script.answer = _away
    slip = bridge.alice.send(room, "a slip of the tongue")
    await bridge.until(lambda: script.attempts)  # it was tried once, and waits now
    bridge.alice.redact(room, slip)
    bridge.alice.send(room, "behind it")
    await bridge.homeserver.wait_pushed()
    return room


async def test_a_message_that_waits_is_not_sent_once_it_is_redacted(bridge: Harness, script: AbleScript) -> None:
    """When the network is back what was taken back meanwhile stays away; what is behind it is sent; nobody is told."""
    room = await _waiting(bridge, script)
    script.answer = lambda message, attempt: Sent()
    script.status(LoginStatus.CONNECTED)
    await bridge.until(lambda: script.texts() == ["behind it"])
    balance = await _balance(bridge)
    assert (balance.delivered, balance.rejected) == (1, 2)
    bot = bridge.homeserver.bot
    assert [body for sender, body in bridge.homeserver.messages(room) if sender == bot] == []


async def test_that_outlives_a_restart(bridge: Harness, script: AbleScript) -> None:
    """What was taken back is known after a restart too, and forgotten once its redaction has ended."""
    await _waiting(bridge, script)
    await bridge.stop_bridge()
    script.sent.clear()
    script.answer = lambda message, attempt: Sent()
    await bridge.start_bridge()
    await bridge.until(lambda: script.texts() == ["behind it"])
    await _balance(bridge)
    assert await bridge.running.database.kv.items("plain.withdrawn", "") == {}


async def test_a_dead_letter_ends_when_it_is_redacted(bridge: Harness, script: AbleScript) -> None:
    """Nobody can send it later: it is rejected, its contents are erased, and the counters agree."""

    def broken(message: Any, attempt: Any) -> Sent:
        raise KeyError("a bug")

    room = await bridge.portal_room("net", "lobby")
    script.answer = broken
    slip = bridge.alice.send(room, "a slip of the tongue")
    await bridge.until(lambda: bridge.running.journal.counters().get(("net", 0, "dead")) == 1)
    script.answer = lambda message, attempt: Sent()
    bridge.alice.redact(room, slip)
    await bridge.until(lambda: bridge.running.journal.counters().get(("net", 0, "dead")) == 0)
    balance = await _balance(bridge)
    assert (balance.dead, balance.rejected) == (0, 2)
    assert script.sent == []


async def test_an_edit_of_a_redacted_message_is_not_sent(bridge: Harness, script: AbleScript) -> None:
    """An edit that waits goes with its message; the redaction itself reaches the network."""
    room = await bridge.portal_room("net", "lobby")
    script.answer = lambda message, attempt: Sent((MessageId("m1"),))
    said = bridge.alice.send(room, "first")
    await bridge.until(lambda: script.texts() == ["first"])
    script.answer = _away
    script.status(LoginStatus.DISCONNECTED)
    bridge.alice.send_event(
        room,
        "m.room.message",
        {
            "msgtype": "m.text",
            "body": "* worse",
            "m.new_content": {"msgtype": "m.text", "body": "worse"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": said},
        },
    )
    bridge.alice.redact(room, said)
    await bridge.homeserver.wait_pushed()
    script.answer = lambda message, attempt: Sent((MessageId("m2"),))
    script.status(LoginStatus.CONNECTED)
    await bridge.until(lambda: script.texts() == ["first", "MatrixRedaction"])
    await _balance(bridge)


async def test_what_may_have_arrived_is_not_hidden(bridge: Harness, script: AbleScript) -> None:
    """A message whose fate is unknown is reported as such, redacted or not: the other side may have it."""

    def lost(message: Any, attempt: Any) -> Sent:
        raise UnknownOutcomeError("the connection broke")

    room = await bridge.portal_room("net", "lobby")
    script.answer = lost
    slip = bridge.alice.send(room, "a slip")
    await bridge.settled()
    bridge.alice.redact(room, slip)
    await bridge.settled()
    told = [body for sender, body in bridge.homeserver.messages(room) if sender == bridge.homeserver.bot]
    assert len(told) == 1 and "may not have been delivered" in told[0]


async def test_what_comes_redacted_is_nothing(bridge: Harness, script: AbleScript) -> None:
    """A message that was redacted before the homeserver could hand it over is counted, and its sender is not told."""
    room = await bridge.portal_room("net", "lobby")
    slip = bridge.alice.send(room, "a slip")
    bridge.alice.redact(room, slip)  # the event that is pushed is empty by now
    bridge.alice.send(room, "behind it")
    await bridge.until(lambda: script.texts() == ["behind it"])
    balance = await _balance(bridge)
    assert (balance.delivered, balance.rejected) == (1, 2)
    assert all(sender != bridge.homeserver.bot for sender, _ in bridge.homeserver.messages(room))
