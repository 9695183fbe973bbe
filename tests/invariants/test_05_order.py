"""Invariant 5: order is kept per portal and direction; portals never wait for each other."""

import asyncio
import random
from typing import Any

from bridge_core.api.errors import NotConnectedError, RateLimitedError
from bridge_core.api.network import LoginStatus, Sent
from tests.harness import Harness
from tests.invariants.scenes import BOB, CAROL, Recorder, balances, receive, said, say
from tests.scripted import Script


async def test_order_towards_a_network_outlives_failures(bridge: Harness, script: Script) -> None:
    """Failures before, after and in the middle of a burst: each room's messages are taken in their order."""
    rooms = {chat: await bridge.portal_room("net", chat) for chat in ("lobby", "garden")}
    chance = random.Random(3)
    taken: dict[str, list[str]] = {chat: [] for chat in rooms}

    def answer(message: Any, attempt: Any) -> Sent:
        if chance.random() < 0.2:
            raise RateLimitedError("wait", 0.001)
        taken[message.chat].append(message.content.text[0].text)
        return Sent()

    script.answer = answer
    for number in range(40):
        bridge.alice.send(rooms["lobby"], f"l{number}")
        bridge.alice.send(rooms["garden"], f"g{number}")
    await bridge.until(lambda: sum(map(len, taken.values())) == 80)
    assert taken == {chat: [f"{chat[0]}{number}" for number in range(40)] for chat in rooms}


async def test_what_comes_back_unproved_goes_first(bridge: Harness, script: Script) -> None:
    """Several in flight that did not arrive are sent again in their order, ahead of what came later."""
    room = await bridge.portal_room("net", "lobby")
    script.answer = script.later
    for number in range(4):
        bridge.alice.send(room, f"m{number}")
    await bridge.until(lambda: len(script.waiting) == 4)
    script.sent.clear()
    script.status(LoginStatus.DISCONNECTED)
    bridge.alice.send(room, "m4")
    await bridge.homeserver.wait_pushed()
    script.answer = lambda message, attempt: Sent()
    for future in reversed(script.waiting):  # the last to have been written is the first to fail
        future.set_exception(NotConnectedError("closed before it was written"))
    await bridge.until(lambda: not bridge.running.engine.confirmations)
    await asyncio.sleep(0.05)
    script.status(LoginStatus.CONNECTED)
    await balances(bridge)
    assert script.texts() == [f"m{number}" for number in range(5)]


async def test_order_towards_matrix_outlives_failures(bridge: Harness, script: Script) -> None:
    """Limits, errors and lost answers: what two people say in a chat is in the room in the order it was said."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("first"), say("second", CAROL))
    faults = bridge.homeserver.faults
    for _ in range(6):
        faults.limit(5, match="/send/")
        faults.lose_answer(match="/send/")
    assert script.inbox is not None
    for number in range(30):
        await script.inbox.receive([say(f"m{number}", (BOB, CAROL)[number % 2])])
    await bridge.homeserver.wait_message(room, "m29")
    bodies = [body for _, body in bridge.homeserver.messages(room)]
    assert bodies == ["first", "second", *[f"m{number}" for number in range(30)]]
    assert bridge.homeserver.faults.hits == 12


async def test_no_portal_waits_for_another_towards_matrix(bridge: Harness, script: Script) -> None:
    """One room's requests hang: another room's messages arrive meanwhile."""
    lobby, garden = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    await receive(bridge, script, say("here"), say("there", chat="garden"))
    gate = bridge.homeserver.faults.hold(times=1, match=f"rooms/{lobby}/send")
    recorder = Recorder(bridge)
    assert script.inbox is not None
    await script.inbox.receive([say("hangs"), say("after it"), *[say(f"g{n}", chat="garden") for n in range(5)]])
    await bridge.homeserver.wait_message(garden, "g4")
    assert said(bridge, lobby, "bob") == ["here"]
    gate.set()
    await bridge.settled()
    assert said(bridge, lobby, "bob") == ["here", "hangs", "after it"]
    assert len(recorder.of("/send/")) == 7


async def test_no_portal_waits_for_another_towards_a_network(bridge: Harness, script: Script) -> None:
    """One chat is held up for an hour: messages of another room are sent meanwhile."""

    def answer(message: Any, attempt: Any) -> Sent:
        if message.chat == "lobby":
            raise RateLimitedError("slow down", 3600)
        return Sent()

    script.answer = answer
    lobby, garden = await bridge.portal_room("net", "lobby"), await bridge.portal_room("net", "garden")
    bridge.alice.send(lobby, "waits")
    for number in range(10):
        bridge.alice.send(garden, f"g{number}")
    await bridge.until(lambda: len(script.texts()) == 10)
    assert script.texts() == [f"g{number}" for number in range(10)]


async def test_order_is_kept_over_more_than_a_window(bridge: Harness, script: Script) -> None:
    """More messages than a lane holds in memory, taken up by another process: all of them, once, in order."""
    room = await bridge.portal_room("net", "lobby")
    script.status(LoginStatus.DISCONNECTED)
    for number in range(600):
        bridge.alice.send(room, f"m{number}")
    await bridge.homeserver.wait_pushed()
    await bridge.stop_bridge()
    await bridge.start_bridge()
    await bridge.until(lambda: len(script.sent) >= 600)
    assert (await balances(bridge))["net", 0].delivered == 600
    assert script.texts() == [f"m{number}" for number in range(600)]
