"""What keeps rooms right: the same tests on a real Synapse and on FakeHomeserver, which they verify."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteEvent, RemoteInfo, RemoteSender
from bridge_core.api.ids import ChatId, RemoteUserId
from bridge_core.api.matrix import MatrixInfo
from bridge_core.api.network import Sent
from bridge_core.testing.homeserver import FakeProfile
from tests.able import AbleScript
from tests.conformance.bridged import BOT, Bridged
from tests.conformance.homeservers import Homeserver, fake, synapse

pytestmark = pytest.mark.asyncio(loop_scope="module")

DORA = RemoteSender(RemoteUserId("dora"), "Dora")


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["fake", pytest.param("synapse", marks=pytest.mark.server)]
)
async def homeserver(request: pytest.FixtureRequest) -> AsyncIterator[Homeserver]:
    """One homeserver of each kind for all tests of this file."""
    if request.param == "synapse":
        folder = Path(tempfile.mkdtemp(prefix="mb-"))
        async with synapse(folder) as server:
            yield server
        shutil.rmtree(folder, ignore_errors=True)
    else:
        async with fake(FakeProfile()) as server:
            yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(homeserver: Homeserver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bridged]:
    """One bridge on it for all tests of this file."""
    bridged = await Bridged.start(homeserver, tmp_path_factory.mktemp("bridge"), script=AbleScript())
    yield bridged
    await bridged.bridge.stop_bridge()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def fresh(at: Bridged) -> None:
    """Every test finds a network that takes everything, and has been told nothing."""
    at.script.answer = lambda message, attempt: Sent()
    at.script.sent.clear()


async def hears(at: Bridged, *events: RemoteEvent) -> None:
    """The network says something, and the bridge is done with it."""
    assert at.script.inbox is not None
    await at.script.inbox.receive(list(events))
    await at.bridge.settled()


async def state(at: Bridged, room: str, event_type: str, key: str = "") -> Any:
    """A state event's content."""
    return await at.human.call("GET", f"rooms/{room}/state/{event_type}" + (f"/{key}" if key else ""))


async def empower(at: Bridged, room: str, level: int = 100) -> None:
    """Let the human change the room's settings."""
    levels = await at.bridge.running.matrix.state(room, "m.room.power_levels")
    levels["users"] = {**levels.get("users", {}), at.human.id: level}
    await at.bridge.running.matrix.set_state(room, "m.room.power_levels", "", levels, BOT)


def infos(at: Bridged) -> list[MatrixInfo]:
    """What the network was told of its chats' descriptions."""
    return [one for _, one in at.script.sent if isinstance(one, MatrixInfo)]


async def test_the_networks_description_reaches_the_room(at: Bridged) -> None:
    """Name, topic and picture of a chat become the room's; clients are told the new name in `m.bridge` as well."""
    chat = at.chat()
    room = await at.enter("net", chat)
    mxc = await at.human.upload(b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png", "a.png")
    await hears(at, RemoteInfo(ChatId(chat), DORA, "New\u202e name\n", "What it is\nabout", mxc))
    assert (await state(at, room, "m.room.name"))["name"] == "New name"
    assert (await state(at, room, "m.room.topic"))["topic"] == "What it is\nabout"
    assert (await state(at, room, "m.room.avatar"))["url"] == mxc
    bridge = await state(at, room, "m.bridge", f"dev.matrix_bridge:%2F%2Fnet%2F{chat}")
    assert bridge["channel"] == {"id": chat, "displayname": "New name"}
    await hears(at, RemoteInfo(ChatId(chat), DORA, "", "", ""))
    assert (await state(at, room, "m.room.name"))["name"] == chat
    assert (await state(at, room, "m.room.topic"))["topic"] == ""
    assert "url" not in await state(at, room, "m.room.avatar")
    assert infos(at) == []


async def test_people_describe_the_chat(at: Bridged) -> None:
    """What somebody with power makes of the room's name, topic and picture goes to the network, once each."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await empower(at, room, 50)
    await at.human.call("PUT", f"rooms/{room}/state/m.room.topic", {"topic": "Birds"})
    await at.human.call("PUT", f"rooms/{room}/state/m.room.name", {"name": "Aviary"})
    await at.human.call("PUT", f"rooms/{room}/state/m.room.avatar", {"url": "mxc://hs.test/bird"})
    await at.bridge.until(lambda: len(infos(at)) == 3)
    await at.bridge.settled()
    topic, name, avatar = infos(at)
    assert (topic.chat, topic.sender.id, topic.topic, topic.name) == (chat, at.human.id, "Birds", None)
    assert (name.name, name.topic) == ("Aviary", None)
    assert avatar.avatar is not None and avatar.avatar.source == "mxc://hs.test/bird"
    await hears(at, RemoteInfo(ChatId(chat), DORA, "Aviary", "Birds"))
    assert len(infos(at)) == 3
    changes = [e for e in await at.human.timeline(room) if e["type"] == "m.room.topic"]
    assert [e["sender"] for e in changes] == [at.human.id]
    bridge = await state(at, room, "m.bridge", f"dev.matrix_bridge:%2F%2Fnet%2F{chat}")
    assert bridge["channel"]["displayname"] == "Aviary"


async def test_what_the_network_refuses_is_put_back(at: Bridged) -> None:
    """A topic that the network will not have is told to its author, and the room shows the network's again."""
    chat = at.chat()
    room = await at.enter("net", chat)
    await empower(at, room, 50)
    await hears(at, RemoteInfo(ChatId(chat), DORA, topic="Theirs"))

    def refuse(message: Any, attempt: Any) -> Sent:
        raise RejectedError("only operators may do that")

    at.script.answer = refuse
    await at.human.call("PUT", f"rooms/{room}/state/m.room.topic", {"topic": "Ours"})
    await at.told(room, "only operators may do that")
    await at.human.sees(room, lambda e: e["type"] == "m.room.topic" and e["sender"] == BOT and len(e["content"]) > 0)
    await at.bridge.settled()
    assert (await state(at, room, "m.room.topic"))["topic"] == "Theirs"
    assert (await at.bridge.running.journal.audit()).holds


async def test_a_plumbed_room_keeps_its_own_description(at: Bridged) -> None:
    """What a room that was there before is called stays with its admins, and does not change the chat."""
    chat = at.chat()
    room = await at.private_room(BOT)
    await at.human.sees(room, lambda e: e.get("state_key") == BOT and e["content"]["membership"] == "join")
    await at.human.send(room, f"!bridge bridge net {chat}")
    await at.told(room, f"now bridged to {chat} on net")
    await hears(at, RemoteInfo(ChatId(chat), DORA, "Theirs", "Theirs"))
    await at.human.call("PUT", f"rooms/{room}/state/m.room.name", {"name": "Ours"})
    await at.human.send(room, "and?")
    await at.bridge.until(lambda: "and?" in at.script.texts())
    assert infos(at) == []
    assert (await state(at, room, "m.room.name"))["name"] == "Ours"
