"""A whole bridge on a real Synapse, with the independent clients: they read it without a shield, and it reads them."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.events import RemoteEdit, RemoteEvent, RemoteMessage, RemoteReaction, RemoteRedaction, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction
from bridge_core.content.plain import to_plain
from bridge_core.demo.peers.peer import Peer, PeerEvent, Shield, nio_peer
from bridges.irc.demo.witness import Witness
from tests.able import AbleScript
from tests.conformance.bridged import ECHO, Bridged
from tests.conformance.homeservers import SERVER, synapse
from tests.peers.rust import RustPeer, rust_peer
from tests.real import CAPS, alias, ghost, irc
from tests.servers.inspircd import InspIRCd

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

NONE = Shield("none")
ANNA = RemoteSender(RemoteUserId("anna"), "Anna")
GHOST = f"@_net_anna:{SERVER}"


class Meeting:
    """The bridge and the two clients, in the encrypted rooms that the bridge makes."""

    def __init__(self, at: Bridged, rust: RustPeer, nio: Peer, ircd: InspIRCd) -> None:
        self.at, self.rust, self.nio, self.ircd = at, rust, nio, ircd

    async def enter(self, network: str) -> tuple[str, ChatId]:
        """Both clients join the room of a new chat."""
        chat = self.at.chat()
        alias = f"#_{network}_{chat}:{SERVER}"
        room = await self.rust.join(alias)
        await self.nio.join(alias)
        return room, ChatId(chat)

    async def receive(self, event: RemoteEvent) -> None:
        """It happens on the scripted network."""
        assert self.at.script.inbox is not None
        await self.at.script.inbox.receive([event])

    async def sent(self, number: int) -> Any:
        """The event with this number that the network was sent."""
        script = self.at.script
        await self.at.bridge.until(lambda: len(script.sent) > number)
        return script.sent[number][1]

    async def echoed(self, room: str, body: str) -> PeerEvent:
        """The echo's ghost says this to the Rust client, which shows no shield; nio reads it too."""
        seen = await self.rust.wait_for(lambda e: e.room_id == room and e.sender == ECHO and e.body == body, body)
        assert seen.encrypted and seen.shield == NONE
        assert (await self.nio.wait_readable(seen.event_id)).body == body
        return seen

    async def both(self, room: str, body: str) -> PeerEvent:
        """Both clients read this; what the Rust client sees."""
        seen = await self.rust.wait_text(room, body)
        assert (await self.nio.wait_text(room, body)).event_id == seen.event_id
        assert seen.encrypted and seen.shield == NONE
        return seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def met() -> AsyncIterator[Meeting]:
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    folder.chmod(0o755)
    ircd = InspIRCd(folder / "inspircd")
    async with synapse(folder, encryption=True) as homeserver, AsyncExitStack() as stack:
        # nio knows no cross-signing: it is let in as somebody without any identity.
        sections = {"encryption": {"mode": "auto", "trust": {"send": "no-identity"}}}
        (folder / "bridge").mkdir()
        stack.callback(ircd.kill)
        await ircd.start()
        at = await Bridged.start(
            homeserver,
            folder / "bridge",
            script=AbleScript(),
            sections=sections,
            echo={"encryption": "require"},
            beside={"irc": irc(ircd, portals=["#lounge"], encryption="require")},
            encryption="default",
        )
        stack.push_async_callback(at.bridge.stop_bridge)
        rust = await rust_peer(homeserver.url, folder / "rosa")
        nio = await nio_peer(homeserver.url, folder / "nina")
        for peer in (rust, nio):
            stack.push_async_callback(peer.kill)
            human = await homeserver.human()
            await peer.start(human.id[1:].partition(":")[0], "secret")
        yield Meeting(at, rust, nio, ircd)
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_ghost_is_read_without_a_shield(met: Meeting) -> None:
    """Text, edit, file, reaction and redaction of a ghost: both clients have them, and no shield is shown."""
    room, chat = await met.enter("net")
    await met.receive(RemoteMessage(chat, ANNA, Content((Plain("hello"),)), id=MessageId("a1")))
    seen = await met.both(room, "hello")
    assert seen.sender == GHOST
    await met.receive(RemoteEdit(chat, ANNA, MessageId("a1"), Content((Plain("edited"),)), id=MessageId("a2")))
    await met.both(room, "edited")
    assert met.at.script.host is not None
    data = bytes(range(256)) * 40

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    blob = await met.at.script.host.blobs.put(chunks(), len(data))
    file = Attachment(MediaKind.FILE, "bytes.bin", blob, "application/octet-stream", len(data))
    await met.receive(RemoteMessage(chat, ANNA, Content(attachments=(file,)), id=MessageId("a3")))
    shown = await met.both(room, "bytes.bin")
    assert await met.rust.download(shown) == data
    assert await met.nio.download(await met.nio.wait_event(shown.event_id)) == data
    await met.receive(RemoteReaction(chat, ANNA, MessageId("a1"), "👍"))
    await met.rust.wait_for(lambda e: e.kind == "m.reaction" and e.room_id == room and e.sender == GHOST)
    await met.receive(RemoteRedaction(chat, ANNA, MessageId("a3")))
    await met.rust.wait_for(lambda e: e.redacts == shown.event_id)


async def test_both_clients_are_read(met: Meeting) -> None:
    """Text, edit, file, reaction and redaction of both clients go to the network in the clear, in their order."""
    room, _ = await met.enter("net")
    for peer in (met.rust, met.nio):
        met.at.script.sent.clear()
        said = await peer.text(room, "to the network")
        message = await met.sent(0)
        assert isinstance(message, MatrixMessage)
        assert (message.event_id, to_plain(message.content.text)) == (said, "to the network")
        await peer.edit(room, said, "edited")
        edit = await met.sent(1)
        assert isinstance(edit, MatrixEdit)
        assert (edit.target.event_id, to_plain(edit.content.text)) == (said, "edited")
        data = bytes(range(256)) * 4
        await peer.file(room, data, "bytes.bin", "application/octet-stream")
        file = await met.sent(2)
        assert isinstance(file, MatrixMessage)
        assert met.at.script.host is not None
        chunks = [chunk async for chunk in met.at.script.host.open(file.content.attachments[0])]
        assert b"".join(chunks) == data
        await peer.react(room, said, "👍")
        reaction = await met.sent(3)
        assert isinstance(reaction, MatrixReaction)
        await peer.redact(room, said)
        assert isinstance(await met.sent(4), MatrixRedaction)


async def test_the_echo_network(met: Meeting) -> None:
    """What each client says comes back from the echo network's ghost, encrypted and without a shield; edits too."""
    room, _ = await met.enter("echo")
    for peer in (met.rust, met.nio):
        said = await peer.text(room, f"hello from {peer.user_id}")
        echo = await met.echoed(room, f"hello from {peer.user_id}")
        await peer.edit(room, said, f"edited by {peer.user_id}")
        edited = await met.echoed(room, f"edited by {peer.user_id}")
        assert edited.content["m.relates_to"]["event_id"] == echo.event_id


async def test_a_channel_of_irc(met: Meeting) -> None:
    """What is said in a channel is read by both clients, without a shield; what they say arrives in the channel."""
    witness = await Witness.connect(met.ircd.host, met.ircd.port, "wanda", caps=CAPS)
    try:
        await witness.join("#lounge")
        room = await met.rust.join(alias("irc", "#lounge"))
        await met.nio.join(room)
        witness.privmsg("#lounge", "hello from irc")
        assert (await met.both(room, "hello from irc")).sender == ghost("irc", "wanda")
        for peer in (met.rust, met.nio):
            await peer.text(room, f"to irc from {peer.device_id}")
            await witness.wait_text(f"to irc from {peer.device_id}", "#lounge")
    finally:
        await witness.close()


async def test_a_restart_makes_no_warning(met: Meeting) -> None:
    """After a restart the ghost goes on as the same device; both clients read on, and it reads them."""
    room, chat = await met.enter("net")
    await met.receive(RemoteMessage(chat, ANNA, Content((Plain("before"),)), id=MessageId("b1")))
    await met.both(room, "before")
    devices = await met.rust.devices(GHOST)
    await met.at.bridge.stop_bridge()
    await met.at.bridge.start_bridge()
    met.at.script.sent.clear()
    await met.receive(RemoteMessage(chat, ANNA, Content((Plain("after"),)), id=MessageId("b2")))
    await met.both(room, "after")
    assert await met.rust.devices(GHOST) == devices
    await met.rust.text(room, "still here")
    assert to_plain((await met.sent(0)).content.text) == "still here"
