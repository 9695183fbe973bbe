"""What senders are told of their messages, by configuration: events, reactions, notices, and corrections of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bridge_core.api.errors import NotConnectedError, RejectedError, UnsupportedError
from bridge_core.api.events import Fate, RemoteReceipt, RemoteSender, RemoteStatus
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.network import Proof, Sent
from bridge_core.engine.status import DONE_KEY, STATUS_EVENT
from bridge_core.matrix.listener import Listener
from tests.harness import Harness
from tests.scripted import Script

NETWORKS = {"net": {"type": "scripted", "portals": ["lobby"]}}


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


def _bridge(tmp_path: Path, script: Script, **status: Any) -> Harness:
    return Harness(tmp_path, NETWORKS, {"scripted": script}, status=status)


async def _status(bridge: Harness, room: str, status: str) -> dict[str, Any]:
    found = await bridge.homeserver.wait_event(
        room, lambda e: e["type"] == STATUS_EVENT and e["content"]["status"] == status
    )
    return dict(found)


def _refuse(message: Any, attempt: Any) -> Sent:
    raise RejectedError("the chat is moderated")


async def test_success_is_told_by_an_event(tmp_path: Path, script: Script) -> None:
    """With `success: event` each delivered message is followed by one status event that refers to it."""
    async with _bridge(tmp_path, script, success="event") as bridge:
        room = await bridge.portal_room("net", "lobby")
        event = bridge.alice.send(room, "hello")
        found = await _status(bridge, room, "SUCCESS")
        assert found["sender"] == bridge.homeserver.bot
        assert found["content"]["network"] == "net"
        relation = {"rel_type": "m.reference", "event_id": event}
        assert found["content"]["m.relates_to"] == relation


async def test_success_is_told_by_a_reaction(tmp_path: Path, script: Script) -> None:
    """With `success: reaction` the bot reacts to each delivered message once."""
    async with _bridge(tmp_path, script, success="reaction") as bridge:
        room = await bridge.portal_room("net", "lobby")
        event = bridge.alice.send(room, "hello")
        found = await bridge.homeserver.wait_event(room, lambda e: e["type"] == "m.reaction")
        assert found["content"]["m.relates_to"] == {"rel_type": "m.annotation", "event_id": event, "key": DONE_KEY}


async def test_success_is_silent_by_default(tmp_path: Path, script: Script) -> None:
    """Without configuration a delivered message is followed by nothing."""
    async with _bridge(tmp_path, script) as bridge:
        room = await bridge.portal_room("net", "lobby")
        event = bridge.alice.send(room, "hello")
        await bridge.until(lambda: script.texts() == ["hello"])
        await bridge.settled()
        assert bridge.homeserver.room(room).timeline[-1]["event_id"] == event


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RejectedError("the chat is moderated"), "m.event_not_handled"),
        (UnsupportedError("no files here"), "com.beeper.unsupported_event"),
    ],
)
async def test_failure_is_told_by_an_event(tmp_path: Path, script: Script, error: Exception, reason: str) -> None:
    """With `failure: event` the status event says why, in a code and in words, and there is no notice."""

    def refuse(message: Any, attempt: Any) -> Sent:
        raise error

    script.answer = refuse
    async with _bridge(tmp_path, script, failure="event") as bridge:
        room = await bridge.portal_room("net", "lobby")
        bridge.alice.send(room, "hello")
        found = await _status(bridge, room, "FAIL_PERMANENT")
        assert (found["content"]["reason"], found["content"]["message"]) == (reason, str(error))
        await bridge.settled()
        assert [body for sender, body in bridge.homeserver.messages(room) if sender == bridge.homeserver.bot] == []


async def test_failure_is_told_both_ways(tmp_path: Path, script: Script) -> None:
    """With `failure: both` there are one notice and one status event."""
    script.answer = _refuse
    async with _bridge(tmp_path, script, failure="both") as bridge:
        room = await bridge.portal_room("net", "lobby")
        bridge.alice.send(room, "hello")
        await _status(bridge, room, "FAIL_PERMANENT")
        await bridge.homeserver.wait_event(room, lambda e: "was not delivered" in str(e["content"].get("body")))


async def test_trying_again_is_told_once_and_ends_in_success(tmp_path: Path, script: Script) -> None:
    """A message that has to wait is shown as pending once, and as delivered when it is, also with `success: none`."""

    def away(message: Any, attempt: Any) -> Sent:
        raise NotConnectedError("away")

    script.answer = away
    async with _bridge(tmp_path, script, failure="event") as bridge:
        room = await bridge.portal_room("net", "lobby")
        bridge.alice.send(room, "hello")
        pending = await _status(bridge, room, "PENDING")
        assert pending["content"]["message"] == "away"
        script.answer = lambda message, attempt: Sent()
        await _status(bridge, room, "SUCCESS")
        await bridge.settled()
        told = [e["content"]["status"] for e in bridge.homeserver.room(room).timeline if e["type"] == STATUS_EVENT]
        assert told == ["PENDING", "SUCCESS"]


class Receiver:
    """Where checkpoints and states are posted: keeps them, and answers as it is told."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.tokens: set[str | None] = set()
        self.answers: list[int] = []
        self.came = asyncio.Event()
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self._listener = Listener(app)

    async def __aenter__(self) -> "Receiver":
        await self._listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.stop()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._listener.url}/here"

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.tokens.add(request.headers.get("Authorization"))
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.bodies.append(body)
            self.came.set()
        return web.Response(status=status)


@pytest.fixture(name="receiver")
async def _receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def test_checkpoints_are_pushed(tmp_path: Path, script: Script, receiver: Receiver) -> None:
    """Each end of a delivery is posted in the form of mautrix bridges, with the token; an outage loses none."""
    receiver.answers = [503]
    token = "vGk2Rr8dQmYz0LxT5nBwJ7xq2LmVt9Rk4WzB"
    async with _bridge(tmp_path, script, checkpoint_url=receiver.url, token=token) as bridge:
        room = await bridge.portal_room("net", "lobby")
        event = bridge.alice.send(room, "hello")
        await bridge.settled()
        script.answer = _refuse
        bridge.alice.send(room, "again")
        await bridge.until(lambda: sum(len(body["checkpoints"]) for body in receiver.bodies) == 4)
        taken, first, _, second = [one for body in receiver.bodies for one in body["checkpoints"]]
        assert (taken["event_id"], taken["step"], taken["status"]) == (event, "BRIDGE", "SUCCESS")
        assert (first["event_id"], first["room_id"], first["event_type"]) == (event, room, "m.room.message")
        assert (first["step"], first["status"], first["reported_by"]) == ("REMOTE", "SUCCESS", "BRIDGE")
        assert first["message_type"] == "m.text"
        assert first["retry_num"] == 0
        assert (second["status"], second["info"]) == ("PERM_FAILURE", "the chat is moderated")
        assert receiver.tokens == {f"Bearer {token}"}


async def test_a_receiver_that_refuses_delays_nothing(tmp_path: Path, script: Script, receiver: Receiver) -> None:
    """Checkpoints that are refused are lost and counted; messages go on."""
    receiver.answers = [400]
    async with _bridge(tmp_path, script, checkpoint_url=receiver.url) as bridge:
        room = await bridge.portal_room("net", "lobby")
        bridge.alice.send(room, "hello")
        await bridge.until(lambda: b"matrix_bridge_checkpoints_dropped_total 1" in bridge.running.metrics.render())
        bridge.alice.send(room, "more")
        await bridge.until(lambda: script.texts() == ["hello", "more"])
        await bridge.until(lambda: receiver.bodies)
        assert receiver.tokens == {None}


async def test_arrivals_are_told_where_success_is(tmp_path: Path, script: Script, receiver: Receiver) -> None:
    """Each status event names everybody at whom a message has arrived so far; one that is told again is no news."""
    script.answer = lambda message, attempt: Sent((MessageId("m1"),))
    async with _bridge(tmp_path, script, success="event", checkpoint_url=receiver.url) as bridge:
        room = await bridge.portal_room("net", "lobby")
        event = bridge.alice.send(room, "hello")
        await _status(bridge, room, "SUCCESS")
        assert script.inbox is not None
        chat, message = ChatId("lobby"), MessageId("m1")
        got = RemoteReceipt(chat, RemoteSender(RemoteUserId("anna")), message, delivered_only=True)
        later = RemoteStatus(chat, message, Fate.DELIVERED, RemoteUserId("bert"))
        await script.inbox.receive([got, later, got, later])
        await bridge.until(lambda: sum(len(body["checkpoints"]) for body in receiver.bodies) == 6)
        await bridge.settled()
        told = [e["content"] for e in bridge.homeserver.room(room).timeline if e["type"] == STATUS_EVENT]
        anna, bert = "@_net_anna:hs.test", "@_net_bert:hs.test"
        assert [one.get("delivered_to_users") for one in told] == [None, [anna], [anna, bert]]
        assert {one["m.relates_to"]["event_id"] for one in told} == {event}
        pushed = [one for body in receiver.bodies for one in body["checkpoints"]]
        assert [(one["step"], one["status"]) for one in pushed] == [
            ("BRIDGE", "SUCCESS"),
            ("REMOTE", "SUCCESS"),
            *[("REMOTE", "DELIVERED")] * 4,
        ]


async def test_arrivals_are_silent_by_default(tmp_path: Path, script: Script) -> None:
    """Where success is not told by events, arrival is not either."""
    script.answer = lambda message, attempt: Sent((MessageId("m1"),))
    async with _bridge(tmp_path, script) as bridge:
        room = await bridge.portal_room("net", "lobby")
        event = bridge.alice.send(room, "hello")
        await bridge.until(lambda: script.texts() == ["hello"])
        await bridge.settled()
        assert script.inbox is not None
        await script.inbox.receive(
            [RemoteStatus(ChatId("lobby"), MessageId("m1"), Fate.DELIVERED, RemoteUserId("bert"))]
        )
        await bridge.settled()
        assert bridge.homeserver.room(room).timeline[-1]["event_id"] == event


async def test_a_bad_fate_can_overtake_the_commit_of_its_message(tmp_path: Path, script: Script) -> None:
    """A network that refuses a message before the bridge has noted what became of it is heard all the same."""
    proof: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
    script.answer = lambda message, attempt: Sent((), Proof.WRITTEN, proof)
    async with _bridge(tmp_path, script) as bridge:
        room = await bridge.portal_room("net", "lobby")
        bridge.alice.send(room, "hello")
        await bridge.until(lambda: script.sent)
        assert script.inbox is not None
        failed = RemoteStatus(ChatId("lobby"), MessageId("m1"), Fate.FAILED, RemoteUserId("bert"), "mailbox full")
        await script.inbox.receive([failed])
        await bridge.until(bridge.running.engine.to_matrix.busy)
        proof.set_result(Sent((MessageId("m1"),)))
        await bridge.homeserver.wait_event(room, lambda e: "mailbox full" in str(e["content"]))
