"""A whole bridge on a real Synapse: what independent clients say encrypted reaches the network, whatever is lost."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.content import Attachment, Content, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId, RoomId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.content.plain import to_plain
from bridge_core.demo.peers.peer import Peer, PeerEvent, nio_peer
from tests.conformance.bridged import BOT
from tests.conformance.homeservers import Homeserver, synapse
from tests.harness import InProcess
from tests.peers.rust import rust_peer
from tests.scripted import Script

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]
MEGOLM = "m.megolm.v1.aes-sha2"


class Town:
    """Two clients on one Synapse; each test has a bridge of its own, which it starts."""

    def __init__(self, homeserver: Homeserver, folder: Path, peers: dict[str, Peer]) -> None:
        self.homeserver = homeserver
        self.peers = peers
        self.folder = folder
        self.script = Script()

    def bridge(self, **encryption: Any) -> InProcess:
        """The bridge, with a fresh script; always on the same database: its devices' keys are known to the clients."""
        self.script = Script()
        homeserver = self.homeserver
        folder = self.folder / "bridge"
        folder.mkdir(exist_ok=True)
        return InProcess(
            folder,
            {"net": {"type": "scripted", "portals": ["lobby"]}},
            address=homeserver.url,
            port=homeserver.port,
            tokens=(homeserver.as_token, homeserver.hs_token),
            adapters={"scripted": self.script},
            appservice={"sender": "bridgesender"},
            encryption={"mode": "auto", "missing_key_wait": "60s", **encryption},
        )

    def texts(self) -> list[str]:
        """What the network was sent, in words."""
        return [to_plain(one.content.text) for _, one in self.script.sent if isinstance(one, MatrixMessage)]

    async def room(self, bridge: InProcess) -> str:
        """An encrypted portal with both clients in it."""
        running = bridge.running
        assert running.encryption is not None
        await running.encryption.machine.accounts.ready(running.matrix.bot_device)
        portal = await running.engine.portals.ensure(NetworkId("net"), ChatId("lobby"))
        room = await running.engine.rooms.ensure(portal)
        await running.matrix.set_state(room, "m.room.encryption", "", {"algorithm": MEGOLM}, running.matrix.bot)
        for peer in self.peers.values():
            await peer.join(room)
        return str(room)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town() -> AsyncIterator[Town]:
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    async with synapse(folder, encryption=True, sender="bridgesender") as homeserver, AsyncExitStack() as stack:
        peers: dict[str, Peer] = {
            "rust": await rust_peer(homeserver.url, folder / "rosa"),
            "nio": await nio_peer(homeserver.url, folder / "nina"),
        }
        for peer in peers.values():
            stack.push_async_callback(peer.kill)
            human = await homeserver.human()
            await peer.start(human.id[1:].partition(":")[0], "secret")
        yield Town(homeserver, folder, peers)
    shutil.rmtree(folder, ignore_errors=True)


async def says(town: Town, text: str, number: int) -> None:
    """Anna says something on the network."""
    assert town.script.inbox is not None
    sender = RemoteSender(RemoteUserId("anna"), "Anna")
    said = RemoteMessage(ChatId("lobby"), sender, Content((Plain(text),)), id=MessageId(f"a{number}"))
    await town.script.inbox.receive([said])


async def met(bridge: InProcess, town: Town, peer: Peer, room: str) -> None:
    """Talk until the network is sent it.

    What Synapse leaves behind at the end of a backlog (`matrix/leftovers.py`) comes with the next event only, and a
    registration without ephemeral events lets the bridge ask for it by none.
    """
    async with asyncio.timeout(90):
        while not town.texts():
            await peer.send_text(room, "hello")
            with contextlib.suppress(TimeoutError):
                await bridge.until(town.texts, 5)
    await bridge.settled()


async def until(bridge: InProcess, town: Town, *texts: str) -> None:
    """The network was sent these, in this order."""
    await bridge.until(lambda: len(town.texts()) >= len(texts), 90)
    assert town.texts() == list(texts)


async def test_both_clients_are_read(town: Town) -> None:
    """Texts and a file of both clients reach the network, and what an outage of the bridge has lost is asked for."""
    bridge = town.bridge()
    await bridge.start_bridge()
    try:
        room = await town.room(bridge)
        rust, nio = town.peers["rust"], town.peers["nio"]
        await rust.send_text(room, "of rust")
        await until(bridge, town, "of rust")
        await nio.send_text(room, "of nio")
        await until(bridge, town, "of rust", "of nio")
        data = bytes(range(256)) * 500
        await rust.file(room, data, "bytes.bin", "application/octet-stream")
        await bridge.until(lambda: len(town.script.sent) == 3, 90)
        sent = town.script.sent[2][1]
        assert isinstance(sent, MatrixMessage)
        assert await _whole(bridge, sent.content.attachments[0]) == data
        encryption = bridge.running.encryption
        assert encryption is not None
        await bridge.until(lambda: not encryption.sync.polling, 90)
        # Away: Synapse sends what it kept without any keys.
        await bridge.stop_bridge()
        await rust.discard(room)
        await rust.send_text(room, "while away")
        bridge = town.bridge()
        await bridge.start_bridge()
        await until(bridge, town, "while away")
        await nio.send_text(room, "after")
        await until(bridge, town, "while away", "after")
        await bridge.until(lambda: bridge.running.metrics.snapshot()["crypto_syncs"].get(("some",)), 90)
    finally:
        await bridge.stop_bridge()


@pytest.mark.parametrize("late", ["rust", "nio"])
async def test_a_late_key_delivers_late(town: Town, late: str) -> None:
    """A message whose key its client held back is delivered when the client gives it, marked as late, and once."""
    bridge = town.bridge(missing_key_wait="1s")
    await bridge.start_bridge()
    holder = town.peers[late]
    (other,) = [peer for name, peer in town.peers.items() if name != late]
    try:
        room = await town.room(bridge)
        await other.send_text(room, "first")
        await until(bridge, town, "first")
        await holder.hold()
        await holder.discard(room)
        await holder.send_text(room, "held")
        await bridge.until(lambda: len(bridge.running.engine.decrypting), 90)
        await other.send_text(room, "second")
        await until(bridge, town, "first", "second")
        await holder.release()
        await bridge.until(lambda: len(town.texts()) == 3, 90)
        assert town.texts()[2].startswith("(said ") and town.texts()[2].endswith(" ago) held")
        await holder.send_text(room, "third")
        await bridge.until(lambda: len(town.texts()) == 4, 90)
        assert town.texts()[3] == "third"
    finally:
        await holder.release()
        await bridge.stop_bridge()


async def test_devices_that_are_left_out_are_named(town: Town) -> None:
    """By default who has not signed their device reads nothing of ghosts, which is said once, over a restart too."""
    bridge = town.bridge()
    await bridge.start_bridge()
    rust, nio = town.peers["rust"], town.peers["nio"]

    async def heard(room: str, number: int) -> PeerEvent:
        await says(town, f"anna {number}", number)
        return await rust.wait_text(room, f"anna {number}")

    def named() -> list[PeerEvent]:
        return [event for event in rust.events.values() if f"{nio.user_id} ({nio.device_id})" in event.body]

    try:
        room = await town.room(bridge)
        said = await heard(room, 1)
        assert (await nio.wait_event(said.event_id)).failure is not None
        seen = await rust.wait_for(lambda event: event in named() and event.room_id == room, "the words")
        assert seen.encrypted and seen.sender == BOT
        await bridge.stop_bridge()
        bridge = town.bridge()
        await bridge.start_bridge()
        said = await heard(room, 2)
        assert (await nio.wait_event(said.event_id)).failure is not None
        await bridge.settled()
        await rust.send_text(room, "the end")
        await until(bridge, town, "the end")
        assert len({event.event_id for event in named()}) == 1
    finally:
        await bridge.stop_bridge()


@asynccontextmanager
async def fresh(town: Town, name: str, remote: str) -> AsyncIterator[tuple[InProcess, Peer, str]]:
    """The bridge, a client that has missed nothing, and a ghost that has never spoken: it has a device, and no keys."""
    bridge = town.bridge(missing_key_wait="600s", trust={"send": "no-identity"})
    town.script.provided = True
    await bridge.start_bridge()
    try:
        peer = town.peers[name]
        await peer.send_text(await town.room(bridge), "hello")  # all that was missed has come
        await until(bridge, town, "hello")
        sender = RemoteSender(RemoteUserId(remote), remote.title())
        yield bridge, peer, (await bridge.running.engine.ghosts.ensure(NetworkId("net"), sender)).user
    finally:
        await bridge.stop_bridge()


@pytest.mark.parametrize("name", ["rust", "nio"])
async def test_a_ghost_reads_the_first_message_that_is_for_it_alone(town: Town, name: str) -> None:
    """Who makes an encrypted room with a ghost that has never spoken is heard from the first message on."""
    async with fresh(town, name, f"dora{name}") as (bridge, peer, ghost):
        # The ghost may invite nobody: the bot does not come, and nobody else could read it.
        room = await peer.create_room(
            preset="private_chat", is_direct=True, invite=[ghost], power_level_content_override={"invite": 100}
        )
        await bridge.until(lambda: bridge.running.engine.portals.in_room(RoomId(room)), 90)
        await peer.wait_for(lambda event: event.room_id == room and event.sender == ghost, "the ghost")
        await peer.send_text(room, "the first words")
        await until(bridge, town, "hello", "the first words")


@pytest.mark.parametrize("name", ["rust", "nio"])
async def test_who_speaks_at_once_is_heard_or_told_at_once(town: Town, name: str) -> None:
    """What nobody of ours could read is not waited for: its sender is told to say it again, and is heard then."""
    async with fresh(town, name, f"emil{name}") as (bridge, peer, ghost):
        room = await peer.create_room(preset="private_chat", is_direct=True, invite=[ghost])
        said = await peer.send_text(room, "at once")

        def told() -> bool:
            return any(event.room_id == room and "send it again" in event.body for event in peer.events.values())

        await bridge.until(lambda: told() or len(town.texts()) > 1, 90)
        if len(town.texts()) == 1:
            assert (await peer.wait_event(said)).failure is None
            await peer.send_text(room, "again")
            await bridge.until(lambda: len(town.texts()) > 1, 90)
        assert town.texts()[1] in ("at once", "again")


async def test_keys_come_by_sync_alone() -> None:
    """On a Synapse whose transactions bring nothing but events, keys are asked for by /sync, and ghosts are read."""
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    async with synapse(folder, sender="bridgesender", ephemeral=False) as homeserver, AsyncExitStack() as stack:
        peers: dict[str, Peer] = {
            "rust": await rust_peer(homeserver.url, folder / "rosa"),
            "nio": await nio_peer(homeserver.url, folder / "nina"),
        }
        town = Town(homeserver, folder, peers)
        bridge = town.bridge(trust={"send": "no-identity"})
        for peer in peers.values():
            stack.push_async_callback(peer.kill)
            await peer.start((await homeserver.human()).id[1:].partition(":")[0], "secret")
        stack.push_async_callback(bridge.stop_bridge)
        await bridge.start_bridge()
        room = await town.room(bridge)
        await met(bridge, town, peers["nio"], room)
        for number, (name, peer) in enumerate(peers.items()):
            await peer.send_text(room, f"of {name}")
            await bridge.until(lambda said=f"of {name}": said in town.texts(), 90)
            await says(town, f"to {name}", number)
            for reader in peers.values():
                event = await reader.wait_text(room, f"to {name}")
                assert event.encrypted and event.failure is None
        assert bridge.running.encryption is not None
        assert bridge.running.encryption.sync.polling
    shutil.rmtree(folder, ignore_errors=True)


async def _whole(bridge: InProcess, attachment: Attachment) -> bytes:
    return b"".join([chunk async for chunk in bridge.running._sources.open_attachment(attachment)])
