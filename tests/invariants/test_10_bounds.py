"""Invariant 10: everything is bounded, and reaching a bound loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge_core.api.errors import BackpressureError, RejectedError, TransientError
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.api.network import LoginStatus, Sent
from bridge_core.app import bridge as composition
from bridge_core.engine import members
from bridge_core.engine.confirmations import Confirmations
from bridge_core.journal.journal import JournalSettings
from bridge_core.store.blobs import BlobSpool
from bridge_core.store.lru import Lru
from tests.harness import Harness
from tests.invariants.scenes import BOB, CAROL, Recorder, balances, event, notices, put_transaction, receive, said, say
from tests.scripted import Script


@pytest.fixture
def sections() -> dict[str, Any]:
    """The smallest bounds that the configuration allows."""
    return {"appservice": {"max_body": 1024 * 1024}}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is full with ten entries, and refuses soon."""

    def settings(**more: Any) -> JournalSettings:
        return JournalSettings(**{**more, "max_pending": 10, "full_timeout": 0.1})

    monkeypatch.setattr(composition, "JournalSettings", settings)


def _roomy(bridge: Harness) -> None:
    """Take the journal's bound away."""
    journal = bridge.running.journal
    journal._settings = replace(journal._settings, max_pending=100_000)


async def test_a_full_journal_refuses_transactions_and_loses_none(bridge: Harness, script: Script) -> None:
    """Full: 503, the homeserver keeps what it has. Room again: all of it is delivered, once, in order."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    script.status(LoginStatus.DISCONNECTED)
    for start in range(0, 10, 5):
        body = orjson.dumps({"events": [event(room, number) for number in range(start, start + 5)]})
        assert (await put_transaction(bridge, f"t{start}", body))[0] == 200
    assert (await put_transaction(bridge, "over", orjson.dumps({"events": [event(room, 99)]})))[0] == 503
    for number in range(20):
        bridge.alice.send(room, f"m{number}")
    delivered = len(bridge.homeserver.transactions)
    await bridge.until(lambda: bridge.homeserver.push_attempts >= delivered + 2)
    assert bridge.running.journal.pending == 10
    assert bridge.running.journal.refused >= 2
    script.status(LoginStatus.CONNECTED)
    await bridge.until(lambda: "m19" in script.texts(), 20)
    await balances(bridge)
    assert script.texts() == [*[f"pushed {number}" for number in range(10)], *[f"m{number}" for number in range(20)]]


async def test_a_full_journal_holds_adapters_back(bridge: Harness, script: Script) -> None:
    """`receive` waits, then says BackpressureError with nothing stored; the cursor stays, so it comes again."""
    assert script.inbox is not None
    await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("before"))
    bridge.homeserver.faults.answer(502, times=100_000, match="/send/")
    await script.inbox.receive([say(f"m{number}") for number in range(10)], cursor=b"10")
    with pytest.raises(BackpressureError):
        await script.inbox.receive([say("over")], cursor=b"11")
    assert await bridge.running.database.kv.get("cursor", "net") == b"10"
    waiting = asyncio.ensure_future(script.inbox.receive([say("waits for room")]))
    bridge.homeserver.faults.clear()
    bridge.running.engine.to_matrix.wake()
    await asyncio.gather(waiting, return_exceptions=True)
    await bridge.settled()
    await receive(bridge, script, say("over"))
    room = bridge.homeserver.room("#_net_lobby:hs.test").id
    heard = [body for body in said(bridge, room, "bob") if body != "waits for room"]
    assert heard == ["before", *[f"m{number}" for number in range(10)], "over"]


async def test_a_full_journal_can_say_what_it_ends(bridge: Harness, script: Script) -> None:
    """Full of messages that the network refuses: each sender is told, and the journal empties; nothing is stuck."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    script.status(LoginStatus.DISCONNECTED)

    def refuse(message: Any, attempt: Any) -> Sent:
        raise RejectedError("no")

    script.answer = refuse
    body = orjson.dumps({"events": [event(room, number) for number in range(10)]})
    assert (await put_transaction(bridge, "full", body))[0] == 200
    assert bridge.running.journal.pending == 10
    script.status(LoginStatus.CONNECTED)
    found = (await balances(bridge))["net", 0]
    assert (found.rejected, found.dead) == (10, 0)
    assert len(notices(bridge, room)) == 10


async def test_a_body_over_the_limit_is_refused(bridge: Harness, script: Script) -> None:
    """413 without reading it all, and the next transaction is taken."""
    room = await bridge.portal_room("net", "lobby")
    large = {"events": [], "x": "y" * 1024 * 1024}
    assert (await put_transaction(bridge, "1", orjson.dumps(large)))[0] == 413
    assert (await put_transaction(bridge, "1", orjson.dumps({"events": [event(room, 1)]})))[0] == 200
    await bridge.until(lambda: script.texts() == ["pushed 1"])


async def test_texts_over_the_limit_are_refused_in_words(bridge: Harness, script: Script) -> None:
    """A text of more than an event may hold is rejected; HTML over a limit gives way to the plain text."""
    room = await bridge.portal_room("net", "lobby")
    long = {**event(room, 1), "content": {"msgtype": "m.text", "body": "x" * 70_000}}
    html = {"format": "org.matrix.custom.html", "formatted_body": "<b>" * 20_000 + "x"}
    intricate = {**event(room, 2), "content": {"msgtype": "m.text", "body": "plain", **html}}
    assert (await put_transaction(bridge, "1", orjson.dumps({"events": [long, intricate]})))[0] == 200
    found = (await balances(bridge))["net", 0]
    assert (found.rejected, found.delivered, script.texts()) == (1, 1, ["plain"])
    assert "longer than 65536 characters" in notices(bridge, room)[0]


async def test_lanes_hold_so_much_and_no_more(bridge: Harness, script: Script) -> None:
    """However much waits, memory holds a bounded part of it; the rest is on the disk, and comes in its turn."""
    room = RoomId(await bridge.portal_room("net", "lobby"))
    await bridge.settled()
    _roomy(bridge)
    lanes = bridge.running.engine.to_network
    lanes._settings = replace(lanes._settings, held=100)
    script.status(LoginStatus.DISCONNECTED)
    for start in range(0, 1000, 100):
        body = orjson.dumps({"events": [event(room, number) for number in range(start, start + 100)]})
        assert (await put_transaction(bridge, f"t{start}", body))[0] == 200
    lane = lanes._lanes[room]
    assert len(lane.queue) <= 256
    assert lane.on_disk
    script.status(LoginStatus.CONNECTED)
    await bridge.until(lambda: len(script.sent) == 1000, 20)
    assert script.texts() == [f"pushed {number}" for number in range(1000)]


async def test_so_many_are_in_flight_and_no_more(bridge: Harness, script: Script) -> None:
    """A room with a network that proves nothing has at most a window of messages in flight."""
    room = await bridge.portal_room("net", "lobby")
    await bridge.settled()
    _roomy(bridge)
    bridge.running.engine.confirmations._window = 5
    script.answer = script.later
    body = orjson.dumps({"events": [event(room, number) for number in range(12)]})
    assert (await put_transaction(bridge, "1", body))[0] == 200
    for done in range(12):
        await bridge.until(lambda done=done: len(script.waiting) >= min(12, done + 5))
        await asyncio.sleep(0)
        assert len(script.waiting) - done <= 5
        script.waiting[done].set_result(Sent())
    assert (await balances(bridge))["net", 0].delivered == 12


async def test_caches_are_bounded(bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of senders, ghosts, and who is in which room: the oldest go first, and are found again."""
    monkeypatch.setattr(members, "_SENDERS", 3)
    monkeypatch.setattr(members, "_ROOMS", 1)
    engine = bridge.running.engine
    rooms = [RoomId(await bridge.portal_room("net", chat)) for chat in ("lobby", "garden")]
    for number in range(8):
        await engine.members.sender(rooms[0], UserId(f"@u{number}:hs.test"))
    for room in rooms:
        await engine.members.of(room)
    assert len(engine.members._senders) <= 3
    assert len(engine.members._rooms) <= 1
    engine.ghosts._size = 1
    await receive(bridge, script, say("one"), say("two", CAROL), say("three", BOB))
    assert len(engine.ghosts._known) <= 1
    assert len(engine.ghosts._joined) <= 1
    lru: Lru[int, int] = Lru(2)
    for number in range(5):
        lru.put(number, number)
    assert (len(lru), lru.get(4), lru.get(0)) == (2, 4, None)


async def test_the_spool_is_bounded(tmp_path: Path) -> None:
    """One file over its limit is refused, one over the whole spool's is put off; neither leaves anything behind."""

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x" * 1000

    spool = BlobSpool(tmp_path / "spool", b"s" * 32, 10_000)
    await spool.start()
    with pytest.raises(RejectedError):
        await spool.put(chunks(6), 5000)
    kept = await spool.put(chunks(6), 8000)
    with pytest.raises(TransientError):
        await spool.put(chunks(6), 8000)
    assert len(list((tmp_path / "spool").iterdir())) == 1
    await spool.drop(kept)
    await spool.put(chunks(6), 8000)


async def test_an_unproved_reference_is_waited_for_a_bounded_time(bridge: Harness, script: Script) -> None:
    """A reply to a message still in flight waits for it, at most as long as configured, then goes as a quote."""
    room = await bridge.portal_room("net", "lobby")
    bridge.running.engine.to_network._handler._translation._reference_wait = 0.05  # type: ignore[attr-defined]
    script.answer = script.later
    first = bridge.alice.send(room, "unproved")
    await bridge.until(lambda: script.waiting)
    bridge.alice.reply(room, first, "a reply")
    await bridge.until(lambda: len(script.waiting) == 2)
    reply = script.sent[1][1].reply_to  # type: ignore[union-attr]
    assert reply is not None
    assert (reply.id, reply.event_id) == (None, first)
    for future in script.waiting:
        future.set_result(Sent())


async def test_waiting_for_proof_at_the_end_is_bounded() -> None:
    """`settled` says that something is still in flight instead of waiting for ever."""
    from bridge_core.engine.confirmations import Waiting

    flight = Confirmations()
    future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
    delivery: Any = type("D", (), {"id": 1})()
    waiting = Waiting(delivery, delivery, "$e", UserId("@a:b"), False)  # type: ignore[arg-type]
    flight.add(RoomId("!r"), waiting, future, lambda entry, delivery, future: None)
    assert not await flight.settled(0.02)
    future.set_result(Sent())
    await asyncio.sleep(0)
    assert await flight.settled(0.02)


async def test_a_network_is_asked_once_for_many_requests_at_once(bridge: Harness, script: Script) -> None:
    """Many events of one person at once register, name and join their ghost once."""
    await bridge.portal_room("net", "lobby")
    recorder = Recorder(bridge)
    assert script.inbox is not None
    await asyncio.gather(*(script.inbox.receive([say(f"m{number}")]) for number in range(10)))
    await bridge.settled()
    assert len([one for one in recorder.of("/register") if b"bob" in one.body]) == 1
    assert len(recorder.of("displayname")) == 1
    assert NetworkId("net") in {network.id for network in bridge.running.networks}
