"""A whole bridge on a real Synapse, with the independent clients: they read it without a shield, and it reads them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count

import pytest
import pytest_asyncio

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.events import RemoteEdit, RemoteMessage, RemoteReaction, RemoteRedaction, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction
from bridge_core.content.plain import to_plain
from bridge_core.demo.peers.peer import Peer, PeerEvent
from bridges.irc.demo.witness import Witness
from tests.conformance.bridged import BOT
from tests.peers.meeting import ANNA, CHANNEL, NONE, PASSWORD, WANDA, Meeting, meeting
from tests.peers.rust import RustPeer
from tests.peers.steps import TABLE, Act, Step, answered
from tests.real import CAPS, ghost

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

PERSON = RemoteSender(RemoteUserId("anna"), "Anna")
NUMBERS = count(1)
WALT = ghost("irc", "walt")
CASES = [
    pytest.param(network, step, peer, id=f"{step.__name__}-{peer}".replace("_", "-"))
    for (network, _), steps in TABLE.items()
    for step in steps
    for peer in ("rust", "nio")
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def met() -> AsyncIterator[Meeting]:
    async with meeting() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["new", "restarted"])
async def life(request: pytest.FixtureRequest, met: Meeting) -> AsyncIterator[str]:
    """The bridge as it was made; then started again from its disk, before a client that believes signed devices only.

    The bot and the ghosts keep their devices, one for each, which its owner has signed.
    """
    before = await met.devices()
    assert [[device["signed"] for device in devices.values()] for devices in before] == [[True]] * 3
    if request.param == "restarted":
        await met.restart()
        await met.rust.isolate(True)
    yield request.param
    await met.rust.isolate(False)
    assert await met.devices() == before


@pytest.mark.parametrize(("network", "step", "peer"), CASES)
async def test_it_crosses(met: Meeting, life: str, network: str, step: Step, peer: str) -> None:
    """One client does it: it arrives as the network knows it; all that comes back is read without a shield."""
    text = f"the quick brown fox number {next(NUMBERS)}"
    await step(Act(met, met.peer(peer), met.rooms[network], text))


async def both(met: Meeting, room: str, body: str) -> PeerEvent:
    """Both clients read this of anna's ghost."""
    return await met.shown(room, ANNA, lambda event: event.body == body, body)


async def says(met: Meeting, chat: ChatId, body: str, room: str) -> PeerEvent:
    """Anna says this on the scripted network; both clients read it."""
    await met.receive(RemoteMessage(chat, PERSON, Content((Plain(body),)), id=MessageId(f"{chat} {body}")))
    return await both(met, room, body)


async def test_a_ghost_is_read_without_a_shield(met: Meeting) -> None:
    """Text, edit, file, reaction and redaction of a ghost: both clients have them, and no shield is shown."""
    room, chat = await met.enter("net")
    await met.receive(RemoteMessage(chat, PERSON, Content((Plain("hello"),)), id=MessageId("a1")))
    seen = await both(met, room, "hello")
    assert seen.sender == ANNA
    await met.receive(RemoteEdit(chat, PERSON, MessageId("a1"), Content((Plain("edited"),)), id=MessageId("a2")))
    await both(met, room, "edited")
    assert met.at.script.host is not None
    data = bytes(range(256)) * 40

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    blob = await met.at.script.host.blobs.put(chunks(), len(data))
    file = Attachment(MediaKind.FILE, "bytes.bin", blob, "application/octet-stream", len(data))
    await met.receive(RemoteMessage(chat, PERSON, Content(attachments=(file,)), id=MessageId("a3")))
    shown = await both(met, room, "bytes.bin")
    assert await met.rust.download(shown) == data
    assert await met.nio.download(await met.nio.wait_event(shown.event_id)) == data
    await met.receive(RemoteReaction(chat, PERSON, MessageId("a1"), "👍"))
    await met.rust.wait_for(lambda e: e.kind == "m.reaction" and e.room_id == room and e.sender == ANNA)
    await met.receive(RemoteRedaction(chat, PERSON, MessageId("a3")))
    await met.rust.wait_for(lambda e: e.redacts == shown.event_id)


async def test_both_clients_are_read(met: Meeting) -> None:
    """Text, edit, file, reaction and redaction of both clients go to the network in the clear, in their order."""
    room, _ = await met.enter("net")
    for peer in (met.rust, met.nio):
        met.at.script.sent.clear()
        said = await peer.send_text(room, "to the network")
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


async def test_a_private_chat_is_encrypted_from_its_first_word(met: Meeting) -> None:
    """What opens a private chat on IRC is read by the invited client once it joins, and it answers."""
    for peer in met.peers:
        nick = met.nicks[peer.user_id]
        met.witness.privmsg(nick, f"psst, {nick}")
        room = await peer.join(await met.private(peer))
        seen = await peer.wait_text(room, f"psst, {nick}")
        assert seen.encrypted and seen.sender == WANDA
        if peer is met.rust:
            await peer.wait_for(lambda e, said=seen.event_id: e.event_id == said and e.shield == NONE, "no shield")  # type: ignore[misc]
        mark = met.witness.mark()
        await peer.send_text(room, f"yes, {nick} here")
        line = await met.witness.wait_text(f"yes, {nick} here", "wanda", since=mark)
        assert line.nick == nick


async def test_who_comes_later_reads_what_is_said_later(met: Meeting) -> None:
    """Who comes reads what is said from then on, where history is shared from their invitation on; and is read."""
    room, chat = await met.enter("net")
    matrix = met.at.bridge.running.matrix
    async with AsyncExitStack() as stack:
        guest, stranger = await met.newcomers(stack, "guest", "stranger")
        await says(met, chat, "before all", room)
        await stranger.join(room)
        await is_read(met, stranger, room, "I am new")
        await stranger.wait_unshielded((await says(met, chat, "to the stranger", room)).event_id)
        shared = {"history_visibility": "shared"}
        await matrix.set_state(RoomId(room), "m.room.history_visibility", "", shared, matrix.bot)
        await matrix.invite(RoomId(room), UserId(guest.user_id))
        await is_read(met, stranger, room, "somebody is invited")
        await says(met, chat, "to the guest", room)
        await guest.join(room)
        # It came with a key from somebody whom the client had not met; its mind changes with its first look at anna.
        seen = await guest.wait_for(lambda e: e.body == "to the guest" and e.shield == NONE, "it without a shield")
        assert (seen.sender, seen.room_id) == (ANNA, room)
        await is_read(met, guest, room, "I am new too")
        last = await says(met, chat, "to all", room)
        await guest.wait_unshielded(last.event_id)
        for event in [event for event in stranger.events.values() if event.encrypted]:
            assert (await stranger.wait_readable(event.event_id)).body != "before all"


async def is_read(met: Meeting, peer: Peer, room: str, body: str) -> None:
    """A client's words reach the scripted network; so the bridge knows all that was before them in the room."""
    met.at.script.sent.clear()
    said = await peer.send_text(room, body)
    sent = await met.sent(0)
    assert (sent.event_id, to_plain(sent.content.text)) == (said, body)


async def test_a_client_that_has_lost_everything(met: Meeting) -> None:
    """Its new device reads what is said from then on, by ghosts and the bot, and is read; the other reads on."""
    room, chat = await met.enter("net")
    await says(met, chat, "before", room)
    for peer in met.peers:
        user, device = peer.user_id, peer.device_id
        await peer.stop()
        peer.wipe()
        peer.events.clear()
        await peer.start(user[1:].partition(":")[0], PASSWORD)
        assert peer.device_id != device
        await says(met, chat, f"welcome back, {user}", room)
        await is_read(met, peer, room, f"{user} is new")
        mark = met.witness.mark()
        await peer.send_text(met.rooms["irc"], f"{user} is here too")
        await met.witness.wait_text(f"{user} is here too", since=mark)
        file = await peer.file(met.rooms["irc"], b"data", "data.bin", "application/octet-stream")
        await met.told(met.rooms["irc"], file, "it is encrypted")


async def test_an_encrypted_chat_with_the_bot(met: Meeting) -> None:
    """Whoever writes to the bot in an encrypted room, as clients make them, is greeted and answered there."""
    for peer in met.peers:
        room = await peer.create_room(invite=[BOT], preset="trusted_private_chat", is_direct=True)
        greeting = await by(peer, room, BOT, lambda event: "management room" in event.body)
        assert greeting.content["msgtype"] == "m.notice"
        said = await peer.send_text(room, "ping")
        await by(peer, room, BOT, lambda event, said=said: answered(event) == said)  # type: ignore[misc]


async def test_an_encrypted_chat_with_a_ghost(met: Meeting) -> None:
    """Who invites a ghost into an encrypted room talks with that person on IRC, both ways."""
    walt = await Witness.connect(met.ircd.host, met.ircd.port, "walt", caps=CAPS)
    try:
        await walt.join(CHANNEL)
        walt.privmsg(CHANNEL, "I am walt")
        await met.shown(met.rooms["irc"], WALT, lambda event: event.body == "I am walt", "walt")
        for peer in met.peers:
            room = await peer.create_room(invite=[WALT], preset="trusted_private_chat", is_direct=True)
            await peer.wait_for(lambda e, room=room: e.room_id == room and e.state_key == BOT, "the bot")  # type: ignore[misc]
            nick = met.nicks[peer.user_id]
            await peer.send_text(room, f"hello walt, this is {nick}")
            assert (await walt.wait_text(f"hello walt, this is {nick}", "walt")).nick == nick
            walt.privmsg(nick, f"hello {nick}")
            await by(peer, room, WALT, lambda event, nick=nick: event.body == f"hello {nick}")  # type: ignore[misc]
    finally:
        await walt.close()


async def by(peer: Peer, room: str, sender: str, fits: Callable[[PeerEvent], bool]) -> PeerEvent:
    """One client reads such a message of a sender; the Rust client has no shield beside it, once it knows them."""
    shield = NONE if isinstance(peer, RustPeer) else None
    return await peer.wait_for(
        lambda e: (e.room_id, e.sender, e.encrypted, e.shield) == (room, sender, True, shield) and fits(e), sender
    )


async def test_a_withheld_key_is_told_in_words(met: Meeting) -> None:
    """A client that gives keys to verified devices only is told why it is not heard; when it gives them, it is."""
    room, _ = await met.enter("net")
    await is_read(met, met.rust, room, "with a key")
    await met.rust.withhold(True)
    try:
        await met.rust.discard(room)
        said = await met.rust.send_text(room, "withheld")
        await by(met.rust, room, BOT, lambda event: answered(event) == said and "it is encrypted" in event.body)
    finally:
        await met.rust.withhold(False)
    await met.rust.discard(room)
    await is_read(met, met.rust, room, "with a key again")


async def test_sessions_are_changed_on_the_way(met: Meeting) -> None:
    """More messages than a session is for, in a row: all are read, in order, without a shield; both ways."""
    room, chat = await met.enter("net")
    matrix = met.at.bridge.running.matrix
    few = {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 10}
    await matrix.set_state(RoomId(room), "m.room.encryption", "", few, matrix.bot)
    await is_read(met, met.rust, room, "a session is for ten messages here")
    made = sessions(met)
    for number in range(25):
        content = Content((Plain(f"number {number}"),))
        await met.receive(RemoteMessage(chat, PERSON, content, id=MessageId(f"{chat} {number}")))
    for peer in met.peers:
        await by(peer, room, ANNA, lambda event: event.body == "number 24")
        seen = [event for event in peer.events.values() if (event.room_id, event.sender) == (room, ANNA) and event.body]
        assert [event.body for event in seen] == [f"number {number}" for number in range(25)]
    assert sessions(met) - made >= 3
    for event in [event for event in met.rust.events.values() if event.room_id == room and event.encrypted]:
        await met.rust.wait_unshielded(event.event_id)
    met.at.script.sent.clear()
    for peer in met.peers:
        for number in range(5):
            await peer.send_text(room, f"{peer.user_id} {number}")
    await met.sent(9)
    expected = [f"{peer.user_id} {number}" for peer in met.peers for number in range(5)]
    assert [to_plain(event.content.text) for _, event in met.at.script.sent] == expected


def sessions(met: Meeting) -> float:
    """How many Megolm sessions the bridge has made."""
    return met.at.bridge.running.metrics.snapshot()["crypto_shares"][("sessions",)]
