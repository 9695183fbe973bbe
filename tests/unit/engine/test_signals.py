"""Receipts, typing and presence from Matrix: who is told, what counts, and what strangers cannot do with them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Presence, RemoteMessage, RemotePresence, RemoteSender, RemoteTyping
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.matrix import MatrixReceipt, MatrixSender, MatrixTyping
from bridge_core.api.network import Capabilities, Level
from bridge_core.engine.gate import Check
from bridge_core.engine.store_ports import PortalRow
from tests.harness import Harness
from tests.scripted import Script

BOB = RemoteSender(RemoteUserId("bob"), "Bob")
ALICE = "@alice:hs.test"


class Scene:
    """A bridge, a portal's room with alice and bob's ghost in it, and bob's message."""

    def __init__(self, tmp_path: Path, script: Script, **sections: Any) -> None:
        networks = {"net": {"type": "scripted", "portals": ["hall"], **sections.pop("net", {})}}
        self.harness = Harness(tmp_path, networks, adapters={"scripted": script}, **sections)
        self.script = script

    async def __aenter__(self) -> "Scene":
        await self.harness.__aenter__()
        self.room = await self.harness.portal_room("net", "hall")
        self.harness.alice.send(self.room, "hello")
        await self.harness.until(lambda: "hello" in self.script.texts())
        await self.say("one")
        self.signals = self.harness.running.engine.signals
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.harness.__aexit__(*error)

    async def say(self, message: str) -> str:
        """Bob says something, with an id that is the same; its event."""
        assert self.script.inbox is not None
        said = RemoteMessage(ChatId("hall"), BOB, Content((Plain(message),)), MessageId(message))
        await self.script.inbox.receive([said])
        return str((await self.harness.homeserver.wait_message(self.room, message))["event_id"])

    def read(self, event: Any, user: Any = ALICE, kind: Any = "m.read", data: Any = None) -> None:
        """The homeserver pushes a receipt."""
        content = {event: {kind: {user: {"ts": 5} if data is None else data}}}
        self.signals.take([{"type": "m.receipt", "room_id": self.room, "content": content}])

    def typing(self, *users: Any) -> None:
        """The homeserver pushes who types."""
        self.signals.take([{"type": "m.typing", "room_id": self.room, "content": {"user_ids": list(users)}}])

    async def idle(self) -> None:
        """Until all signals are handed on."""
        await self.harness.until(lambda: not self.signals.busy())

    def count(self, kind: str, outcome: str, direction: str = "to_network") -> int:
        """How many signals of a kind ended so."""
        counter = self.harness.running.metrics.counter("signals", "", ("network", "direction", "kind", "outcome"))
        return counter.value("net", direction, kind, outcome)

    @property
    def told(self) -> list[Any]:
        """What clients were told, without who was."""
        return [signal for _, signal in self.script.signals]


@pytest.fixture
def script() -> Script:
    """A network whose users get logins."""
    script = Script()
    script.provided = True
    return script


async def test_the_newest_receipt_is_enough(tmp_path: Path, script: Script) -> None:
    """Receipts of one user that wait together are told as one: the newest. The others are counted as replaced."""
    async with Scene(tmp_path, script) as at:
        events = [await at.say(text) for text in ("two", "three", "four")]
        for event in events:
            at.read(event)
        await at.idle()
        assert [receipt.target.id for receipt in at.told] == ["four"]
        assert (at.count("receipt", "replaced"), at.count("receipt", "passed")) == (2, 1)


async def test_private_receipts_are_told_to_nobody(tmp_path: Path, script: Script) -> None:
    """Should a homeserver push a private receipt, it goes nowhere, nor does a kind that is not known."""
    async with Scene(tmp_path, script) as at:
        event = await at.say("two")
        at.read(event, kind="m.read.private")
        at.read(event, kind="com.example.read")
        await at.idle()
        assert at.told == []


async def test_receipts_of_who_has_no_login_are_nobodys(tmp_path: Path, script: Script) -> None:
    """The relay never tells who has read what; an unbridged room's, a ghost's or an unknown event's tells nobody."""
    script.provided = False
    async with Scene(tmp_path, script) as at:
        event = await at.say("two")
        at.read(event)
        at.read(event, "@_net_bob:hs.test")
        at.signals.take([{"type": "m.receipt", "room_id": "!other", "content": {event: {"m.read": {ALICE: {}}}}}])
        at.read("$nowhere")
        await at.idle()
        assert at.told == []


@pytest.mark.parametrize("feature", ["receipts", "typing"])
async def test_a_chat_that_cannot_show_it_is_not_told(tmp_path: Path, script: Script, feature: str) -> None:
    """What the chat's capabilities do not carry in part at least is counted and dropped."""
    script.capabilities = Capabilities({feature: Level.FALLBACK}, default=Level.FULL)
    async with Scene(tmp_path, script) as at:
        event = await at.say("two")
        at.read(event)
        at.typing(ALICE)
        await at.idle()
        wanted = MatrixTyping if feature == "receipts" else MatrixReceipt
        assert [type(signal) for signal in at.told] == [wanted]


async def test_threads_are_told_as_threads(tmp_path: Path, script: Script) -> None:
    """What was read in a thread only never looks like the whole chat having been read."""
    async with Scene(tmp_path, script) as at:
        root, event = await at.say("root"), await at.say("two")
        at.read(event, data={"ts": 5, "thread_id": root})
        await at.idle()
        (receipt,) = at.told
        assert (receipt.target.id, receipt.thread.id) == ("two", "root")
        script.capabilities = Capabilities({"thread": Level.FALLBACK}, default=Level.FULL)
        at.read(event, data={"ts": 6, "thread_id": root})
        at.read(event, data={"ts": 6, "thread_id": "main"})
        await at.idle()
        assert [receipt.thread for receipt in at.told[1:]] == [None]


async def test_the_relay_shows_typing_only(tmp_path: Path, script: Script) -> None:
    """Typing of users without a login is shown by the relay, all that changed at once."""
    script.provided = False
    async with Scene(tmp_path, script) as at:
        at.typing(ALICE, "@carol:hs.test", "@_net_bob:hs.test")
        at.typing(ALICE, "@carol:hs.test")
        await at.idle()
        at.typing("@carol:hs.test")
        await at.idle()
        (first, second), logins = at.told, {login for login, _ in script.signals}
        assert (first.started, first.stopped, logins) == ({ALICE, "@carol:hs.test"}, frozenset(), {None})
        assert (second.started, second.stopped) == (frozenset(), {ALICE})


async def test_what_began_and_ended_unseen_is_not_told(tmp_path: Path, script: Script) -> None:
    """Typing that is over before it could be told needs no word at all."""
    async with Scene(tmp_path, script) as at:
        at.typing(ALICE)
        at.typing()
        await at.idle()
        assert at.told == []


async def test_users_who_may_not_speak_send_no_signals(tmp_path: Path, script: Script) -> None:
    """Whom the gate stops is not seen typing or reading either."""

    class Closed(Check):
        def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
            raise RejectedError(f"{sender.id} has opted out")

    async with Scene(tmp_path, script) as at:
        event = await at.say("two")
        at.harness.running.engine.gate.add(Closed())
        at.read(event)
        at.typing(ALICE)
        await at.idle()
        assert at.told == []


async def test_a_failing_client_stops_nothing(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that breaks at one signal, or never returns, gets the next; the failure is counted."""
    async with Scene(tmp_path, script) as at:
        monkeypatch.setattr("bridge_core.engine.signals._TIME", 0.05)
        client = at.harness.running.networks.get("net").client_of(ALICE)  # type: ignore[arg-type, union-attr]
        assert client is not None
        event, calls, forward = await at.say("two"), [], client.signal  # type: ignore[attr-defined]

        async def signal(given: Any) -> None:
            calls.append(given)
            if len(calls) == 1:
                raise KeyError("a bug")
            if len(calls) == 2:
                await asyncio.Event().wait()
            await forward(given)

        monkeypatch.setattr(client, "signal", signal)
        for _ in range(3):
            at.read(event)
            await at.idle()
        assert (at.count("receipt", "failed"), len(at.told)) == (2, 1)


async def test_presence_is_off_unless_asked_for(tmp_path: Path, script: Script) -> None:
    """Presence crosses in neither direction by default."""
    async with Scene(tmp_path, script) as at:
        at.signals.take([{"type": "m.presence", "sender": ALICE, "content": {"presence": "online"}}])
        assert script.inbox is not None
        await script.inbox.receive([RemotePresence(BOB, Presence.ONLINE)])
        await at.idle()
        await at.harness.until(lambda: not at.harness.running.engine.live.busy())
        assert at.told == []
        assert not [line for line in at.harness.homeserver.requests if "/presence/" in line]


async def test_typing_is_shown_no_more_often_than_it_changes(tmp_path: Path, script: Script) -> None:
    """A network that repeats itself every second costs the homeserver a request in a while, not each time."""
    async with Scene(tmp_path, script) as at:
        assert script.inbox is not None
        live = at.harness.running.engine.live
        for _ in range(5):
            accepted = await script.inbox.receive([RemoteTyping(ChatId("hall"), BOB, 30)])
            await at.harness.until(lambda: not live.busy())
            assert [(one.entry, one.duplicate) for one in accepted] == [(0, False)]
        for _ in range(3):
            await script.inbox.receive([RemoteTyping(ChatId("hall"), BOB, 0)])
            await at.harness.until(lambda: not live.busy())
        assert len([line for line in at.harness.homeserver.requests if "/typing/" in line]) == 2
        assert (at.count("typing", "passed", "to_matrix"), at.count("typing", "replaced", "to_matrix")) == (2, 6)


async def test_signals_beside_messages_leave_each_its_answer(tmp_path: Path, script: Script) -> None:
    """`receive` answers for each event in its place, for those that no journal holds too."""
    async with Scene(tmp_path, script) as at:
        assert script.inbox is not None
        message = RemoteMessage(ChatId("hall"), BOB, Content((Plain("x"),)), MessageId("x"))
        typing = RemoteTyping(ChatId("hall"), BOB, 3)
        first, second, third = await script.inbox.receive([typing, message, message])
        assert first.entry == 0
        assert second.entry > 0
        assert (second.duplicate, third.duplicate) == (False, True)
        await at.harness.homeserver.wait_message(at.room, "x")
