"""Invariant 2: every delivery ends in a counted state, and who sent it hears of every end but the good one."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from bridge_core.api.errors import (
    NotConnectedError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
    UnsupportedError,
)
from bridge_core.api.events import RemoteGap
from bridge_core.api.ids import ChatId, MessageId, NetworkId
from bridge_core.api.network import LoginStatus, Sent
from bridge_core.cli.main import main
from tests.harness import Harness
from tests.invariants.scenes import CAROL, balances, locked, notices, receive, rows, said, say
from tests.scripted import Script


@pytest.fixture
def sections() -> dict[str, Any]:
    """Entries are tried for a moment only."""
    return {"journal": {"retry_window": 0.2}}


def _raises(error: Exception) -> Callable[[], Sent]:
    def answer() -> Sent:
        raise error

    return answer


def _later(error: Exception | None) -> Callable[[], Sent]:
    def answer() -> Sent:
        future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, future.set_exception, error) if error else loop.call_later(
            0.01, future.set_result, Sent((MessageId("late"),))
        )
        return Sent(confirmation=future)

    return answer


ENDS: dict[str, tuple[Callable[[], Sent], str]] = {
    "taken": (Sent, "delivered"),
    "proved later": (_later(None), "delivered"),
    "refused": (_raises(RejectedError("not wanted")), "rejected"),
    "not possible": (_raises(UnsupportedError("there is no such thing there")), "rejected"),
    "in doubt": (_raises(UnknownOutcomeError("the connection broke")), "rejected"),
    "refused later": (_later(RejectedError("moderated")), "rejected"),
    "in doubt later": (_later(UnknownOutcomeError("never proved")), "rejected"),
    "a bug later": (_later(ValueError("a bug")), "rejected"),
    "a bug": (_raises(ValueError("a bug")), "dead"),
}


async def test_every_end_towards_a_network_is_counted(bridge: Harness, script: Script) -> None:
    """Sixty messages that end in every way, in two rooms: the books balance, and they say what happened."""
    chance = random.Random(7)
    ends = [chance.choice(list(ENDS)) for _ in range(51)] + list(ENDS)
    script.answer = lambda message, attempt: ENDS[message.content.text[0].text.rpartition(" ")[0]][0]()  # type: ignore[union-attr]
    rooms = [await bridge.portal_room("net", chat) for chat in ("lobby", "garden")]
    for number, end in enumerate(ends):
        bridge.alice.send(rooms[number % 2], f"{end} {number}")
    await bridge.until(lambda: len(script.attempts) == len(ends))
    found = (await balances(bridge))["net", 0]
    expected = {name: sum(ENDS[end][1] == name for end in ends) for name in ("delivered", "rejected", "dead")}
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.targets == len(ends)
    told = [text for room in rooms for text in notices(bridge, room)]
    bad = [end for end in ends if ENDS[end][1] != "delivered" and end != "not possible"]
    assert len(told) == len(bad) + 2  # what is not possible is said once in each room


async def test_every_end_towards_matrix_is_counted(bridge: Harness, script: Script) -> None:
    """Delivered, refused by the homeserver, known already, without a portal: each is in the books."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("one", id=MessageId("1")), say("hers", CAROL))
    bridge.homeserver.faults.answer(413, match="/send/", errcode="M_TOO_LARGE")
    await receive(bridge, script, say("refused"))
    await receive(bridge, script, say("one", id=MessageId("1")), say("nowhere", chat="elsewhere"))
    found = (await balances(bridge))["net", 1]
    assert (found.accepted, found.duplicate, found.delivered, found.rejected, found.ignored) == (4, 1, 2, 1, 1)
    assert said(bridge, room, "bob") == ["one"]


async def test_a_lane_gives_up_after_the_retry_window(bridge: Harness, script: Script) -> None:
    """What cannot be delivered for that long is a dead letter and its sender is told; a replay delivers it."""
    room = await bridge.portal_room("net", "lobby")

    def away(message: Any, attempt: Any) -> Sent:
        raise TransientError("it is on fire")

    script.answer = away
    bridge.alice.send(room, "too late")
    await bridge.until(lambda: notices(bridge, room))
    assert "gave up after the retry window: it is on fire" in notices(bridge, room)[0]
    script.answer = lambda message, attempt: Sent()
    bridge.alice.send(room, "in time")
    found = (await balances(bridge))["net", 0]
    assert (found.dead, found.delivered) == (1, 1)
    assert rows(bridge, "SELECT payload IS NOT NULL FROM journal_entry WHERE state = 2") == [(1,)]
    await bridge.stop_bridge()
    assert await asyncio.to_thread(main, ["journal", "replay", "--all", "-c", str(bridge.folder / "config.yaml")]) == 0
    await bridge.start_bridge()
    await bridge.until(lambda: len(script.sent) == 2)
    found = (await balances(bridge))["net", 0]
    assert (script.texts(), found.dead, found.delivered) == (["in time", "too late"], 0, 2)


async def test_a_lane_towards_matrix_gives_up_too(bridge: Harness, script: Script) -> None:
    """So it is on the way to Matrix: counted as dead, kept with what was to be sent, and the lane goes on."""
    room = await bridge.portal_room("net", "lobby")
    bridge.homeserver.faults.answer(502, times=3, match="/send/")
    await receive(bridge, script, say("too late"))
    bridge.homeserver.faults.clear()
    await receive(bridge, script, say("in time"))
    found = (await balances(bridge))["net", 1]
    assert (found.dead, found.delivered, found.dead_rows) == (1, 1, 1)
    assert said(bridge, room, "bob") == ["in time"]


async def test_giving_up_waits_until_it_can_be_stored(bridge: Harness, script: Script) -> None:
    """While the database is locked nothing can be given up: the entry is kept, not sent again, and the lane goes on."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    tried: list[str] = []
    reached, go_on = asyncio.Event(), asyncio.Event()
    client = bridge.running.networks.get(NetworkId("net")).main  # type: ignore[union-attr]
    send = client.send  # type: ignore[union-attr]

    async def sends(message: Any, attempt: Any) -> Sent:
        tried.append(message.content.text[0].text)
        if tried == ["a bug"]:
            reached.set()
            await go_on.wait()
            raise ValueError("a bug")
        return await send(message, attempt)

    client.send = sends  # type: ignore[union-attr,method-assign]
    bridge.alice.send(room, "a bug")
    await reached.wait()
    async with locked(bridge):
        go_on.set()
        await bridge.until(lambda: not bridge.running.database.available)
    bridge.alice.send(room, "after it")
    found = (await balances(bridge))["net", 0]
    assert (tried, found.dead, found.delivered) == (["a bug", "after it"], 1, 1)
    assert len(notices(bridge, room)) == 1


async def test_what_waits_when_a_room_is_unbridged_is_refused(bridge: Harness, script: Script) -> None:
    """A message on its way to a chat that is bridged no more is not dropped: it is rejected, and the room is told."""
    room = await bridge.portal_room("net", "lobby")

    def away(message: Any, attempt: Any) -> Sent:
        raise NotConnectedError("away")

    script.answer = away
    bridge.alice.send(room, "waits")
    await bridge.until(lambda: script.attempts)
    portals = bridge.running.engine.portals
    (row,) = portals.in_room(room)  # type: ignore[arg-type]
    await portals.delete(row)
    script.status(LoginStatus.DISCONNECTED)
    script.status(LoginStatus.CONNECTED)
    await bridge.until(lambda: any("not bridged any more" in text for text in notices(bridge, room)))
    assert (await balances(bridge))["net", 0].rejected == 1


async def test_a_delay_that_is_asked_for_is_no_failure(bridge: Harness, script: Script) -> None:
    """A network that asks to wait gets the message once it has; nobody is told of any trouble."""
    room = await bridge.portal_room("net", "lobby")

    def busy(message: Any, attempt: Any) -> Sent:
        if len(script.attempts) < 2:
            raise RateLimitedError("slow down", 0.05)
        return Sent()

    script.answer = busy
    bridge.alice.send(room, "patient")
    await bridge.until(lambda: len(script.attempts) == 2)
    assert (await balances(bridge))["net", 0].delivered == 1
    assert notices(bridge, room) == []


async def test_a_gap_is_a_delivery(bridge: Harness, script: Script) -> None:
    """Time without history is shown in each room of the chat, and counted like a message."""
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, RemoteGap(ChatId("lobby"), 0, 60_000, "the server was away"))
    assert "may be missing here: the server was away" in notices(bridge, room)[0]
    assert (await balances(bridge))["net", 1].delivered == 1
