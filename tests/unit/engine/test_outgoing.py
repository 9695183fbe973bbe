"""Matrix -> network: every message ends in a counted state, in order, and its sender learns what went wrong."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import NotConnectedError, RateLimitedError, RejectedError, UnknownOutcomeError
from bridge_core.api.network import LoginStatus, Sent
from bridge_core.engine.permissions import Permission
from tests.harness import Harness
from tests.scripted import Script


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby", "garden"]}}
    async with Harness(tmp_path, networks, {"scripted": script}) as harness:
        yield harness


def _notices(bridge: Harness, room: str) -> list[str]:
    return [body for sender, body in bridge.homeserver.messages(room) if sender == bridge.homeserver.bot]


async def _balance(bridge: Harness) -> Any:
    await bridge.settled()
    audit = await bridge.running.journal.audit()
    assert audit.holds, audit.balances
    return audit.balances["net", 0]


async def test_rejection_reaches_the_sender_with_its_reason(bridge: Harness, script: Script) -> None:
    """A message that the network refuses is counted as rejected, and the room says why, as a reply to it."""

    def refuse(message: Any, attempt: Any) -> Sent:
        raise RejectedError("the chat is moderated")

    script.answer = refuse
    room = await bridge.portal_room("net", "lobby")
    event = bridge.alice.send(room, "hello")
    told = await bridge.homeserver.wait_event(
        room, lambda e: e["sender"] == bridge.homeserver.bot and "msgtype" in e["content"]
    )
    assert "was not delivered to net: the chat is moderated" in told["content"]["body"]
    assert told["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == event
    balance = await _balance(bridge)
    assert (balance.delivered, balance.rejected) == (0, 1)


async def test_a_lane_waits_for_its_network_and_keeps_the_order(bridge: Harness, script: Script) -> None:
    """While the network is away nothing is dropped or overtaken; when it is back all arrives in order."""

    def away(message: Any, attempt: Any) -> Sent:
        raise NotConnectedError("away")

    script.answer = away
    room = await bridge.portal_room("net", "lobby")
    for number in range(30):
        bridge.alice.send(room, f"m{number}")
    await bridge.homeserver.wait_pushed()
    script.sent.clear()
    script.answer = lambda message, attempt: Sent()
    script.status(LoginStatus.DISCONNECTED)
    script.status(LoginStatus.CONNECTED)
    balance = await _balance(bridge)
    assert script.texts() == [f"m{number}" for number in range(30)]
    assert balance.delivered == 30


async def test_one_rooms_trouble_does_not_delay_another(bridge: Harness, script: Script) -> None:
    """A lane that waits holds up nobody else's."""

    def answer(message: Any, attempt: Any) -> Sent:
        if message.chat == "lobby":
            raise RateLimitedError("slow down", 3600)
        return Sent()

    script.answer = answer
    lobby, garden = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    bridge.alice.send(lobby, "waits")
    bridge.alice.send(garden, "goes")
    await bridge.until(lambda: "goes" in script.texts())
    assert script.texts() == ["goes"]


async def test_unknown_outcome_is_reported_and_not_resent(bridge: Harness, script: Script) -> None:
    """With `unknown: report` a message of unknown fate is said to be in doubt and is not sent again."""
    script.answer = script.later
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "in doubt")
    await bridge.until(lambda: script.waiting)
    script.waiting[0].set_exception(UnknownOutcomeError("the connection broke"))
    await bridge.until(lambda: any("may not have been delivered" in text for text in _notices(bridge, room)))
    assert script.texts() == ["in doubt"]
    assert (await _balance(bridge)).rejected == 1


async def test_what_did_not_arrive_is_sent_again_before_later_ones(bridge: Harness, script: Script) -> None:
    """A message that certainly did not arrive goes again, ahead of what is still to come."""
    script.answer = script.later
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "first")
    await bridge.until(lambda: script.waiting)
    script.answer = lambda message, attempt: Sent()
    script.waiting[0].set_exception(NotConnectedError("closed before it was written"))
    await bridge.until(lambda: len(script.sent) == 2)
    assert script.texts() == ["first", "first"]
    assert script.attempts[0][0] == script.attempts[1][0]
    assert script.attempts[1][1] == 2
    assert (await _balance(bridge)).delivered == 1


async def test_an_attempt_of_a_dead_process_is_in_doubt(bridge: Harness, script: Script) -> None:
    """What was being sent when the process ended is reported at the next start, not sent again."""
    script.answer = script.later
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "was being sent")
    await bridge.until(lambda: script.waiting)
    await bridge.stop_bridge()
    script.answer = lambda message, attempt: Sent()
    await bridge.start_bridge()
    await bridge.until(lambda: any("may not have been delivered" in text for text in _notices(bridge, room)))
    assert script.texts() == ["was being sent"]
    assert (await _balance(bridge)).rejected == 1


async def test_an_idempotent_network_is_simply_sent_it_again(bridge: Harness, script: Script) -> None:
    """Where a second try cannot double, a restart tries again with the same key."""
    await bridge.stop_bridge()
    script.idempotent = True
    await bridge.start_bridge()
    script.answer = script.later
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "once more")
    await bridge.until(lambda: script.waiting)
    await bridge.stop_bridge()
    script.answer = lambda message, attempt: Sent()
    await bridge.start_bridge()
    await bridge.until(lambda: len(script.sent) == 2)
    assert len({key for key, _ in script.attempts}) == 1
    assert (await _balance(bridge)).delivered == 1


async def test_a_puppet_waits_for_what_the_relay_has_in_flight(bridge: Harness, script: Script) -> None:
    """Promotion from relay to own connection overtakes nothing."""
    script.provided, script.ready = True, False
    script.answer = script.later
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "by the relay")
    await bridge.until(lambda: script.waiting)
    script.ready = True
    bridge.alice.send(room, "by the puppet")
    await bridge.homeserver.wait_pushed()
    await asyncio.sleep(0.1)
    assert script.texts() == ["by the relay"]
    script.waiting[0].set_result(Sent())
    await bridge.until(lambda: len(script.waiting) == 2)
    script.waiting[1].set_result(Sent())
    assert [login for login, _ in script.sent] == [None, "@alice:hs.test"]
    relayed = [message.relayed for _, message in script.sent]
    assert relayed == [True, False]


async def test_blocked_users_are_told(bridge: Harness, script: Script) -> None:
    """Who may not use the bridge is not relayed, and hears so."""
    room = await bridge.portal_room("net", "lobby")
    mallory = bridge.homeserver.user("mallory")
    mallory.join(room)
    rules = bridge.running.whomay.permissions
    rules.configured = lambda user: Permission.BLOCKED if user == mallory.id else Permission.USER
    mallory.send(room, "let me in")
    await bridge.until(lambda: any("not allowed" in text for text in _notices(bridge, room)))
    assert script.sent == []


async def test_encrypted_events_are_refused_in_words(bridge: Harness, script: Script) -> None:
    """Without encryption an encrypted message is not dropped in silence."""
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send_event(room, "m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})
    await bridge.until(lambda: any("encrypted" in text for text in _notices(bridge, room)))
    assert (await _balance(bridge)).rejected == 1


async def test_a_repeated_transaction_is_one_message(bridge: Harness, script: Script) -> None:
    """The homeserver may send events again, also under other transaction ids: each is sent on once."""
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, "once")
    await bridge.homeserver.wait_pushed()
    await bridge.until(lambda: script.sent)
    bodies = [body for _, body in bridge.homeserver.transactions]

    class Again:
        """The same events in a transaction of another name."""

        id, digest, ephemeral = "another", b"another", ()
        events = tuple(event for body in bodies for event in body.get("events", []))

    await bridge.running.engine.intake.accept(Again())
    balance = await _balance(bridge)
    assert script.texts() == ["once"]
    assert balance.duplicate >= 1


async def test_a_redacted_file_is_no_longer_linked(bridge: Harness, script: Script) -> None:
    """Taking a message back ends the links to its files, also where the network cannot take anything back."""
    room = await bridge.portal_room("net", "lobby")
    mxc = bridge.alice.upload(b"secret plans", "text/plain", "plans.txt")
    event = bridge.alice.send(room, "plans.txt", "m.file", url=mxc, filename="plans.txt")
    await bridge.until(lambda: script.sent)
    await bridge.settled()
    media = bridge.running.database.media
    assert not await media.revoked(mxc)
    bridge.alice.redact(room, event)
    await bridge.settled()
    assert await media.revoked(mxc)


async def test_a_reaction_to_what_never_crossed_bothers_nobody(bridge: Harness, script: Script) -> None:
    """What refers to an event that is not bridged is counted and not complained about."""
    room = await bridge.portal_room("net", "lobby")
    state = bridge.alice.send_event(room, "com.example.custom", {"x": 1})
    bridge.alice.react(room, state, "👍")
    balance = await _balance(bridge)
    assert balance.rejected == 1
    assert _notices(bridge, room) == []
