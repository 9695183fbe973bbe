"""The two encrypted clients against a real Synapse, with one another: what later tests stand on."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from bridge_core.demo.peers.peer import Peer, PeerError, Shield, nio_peer
from bridge_core.demo.synapse import Synapse
from tests.peers.rust import RustPeer, rust_peer

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

PASSWORD = "a password"
PICTURE = bytes(range(256)) * 300


@dataclass(slots=True)
class Pair:
    """A nio client and a js-sdk client in one encrypted room."""

    nio: Peer
    rust: RustPeer
    room: str
    names: list[str]
    synapse: Synapse
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def met() -> AsyncIterator[Pair]:
    """Two new users on a homeserver of their own, in no room yet: for all tests of this file."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mb-", ignore_cleanup_errors=True)))
        synapse = Synapse(folder / "synapse")
        stack.callback(synapse.kill)
        await synapse.start()
        names = [f"{name}{secrets.token_hex(4)}" for name in ("nina", "rosa")]
        for name in names:
            await synapse.register_user(name, PASSWORD)
        nio = await nio_peer(synapse.url, folder / "nina")
        rust = await rust_peer(synapse.url, folder / "rosa")
        for peer in (nio, rust):
            stack.push_async_callback(peer.kill)
        await asyncio.gather(nio.start(names[0], PASSWORD), rust.start(names[1], PASSWORD))
        yield Pair(nio, rust, "", names, synapse, folder)


@pytest_asyncio.fixture(loop_scope="module")
async def pair(met: Pair) -> Pair:
    """Both in a new room."""
    room = await met.nio.create_room(invite=[met.rust.user_id], preset="private_chat")
    await met.rust.join(room)
    await met.nio.wait_for(
        lambda e: (e.room_id, e.state_key, e.content.get("membership")) == (room, met.rust.user_id, "join"), "the join"
    )
    return replace(met, room=room)


async def test_everything_crosses_both_ways(pair: Pair) -> None:
    """Text, reply, edit, reaction, redaction and file are sent and seen in clear by both, encrypted on the wire."""
    for one, other in ((pair.nio, pair.rust), (pair.rust, pair.nio)):
        assert await one.members(pair.room) == sorted([one.user_id, other.user_id])
        assert (await one.devices(other.user_id))[other.device_id]["curve25519"] == other.keys["curve25519"]
        said = await one.send_text(pair.room, f"hello from {one.user_id}")
        seen = await other.wait_text(pair.room, f"hello from {one.user_id}")
        assert (seen.event_id, seen.sender, seen.encrypted) == (said, one.user_id, True)

        answer = await other.reply(pair.room, said, "an answer")
        seen = await one.wait_readable(answer)
        assert seen.encrypted and seen.content["m.relates_to"]["m.in_reply_to"]["event_id"] == said

        edited = await one.edit(pair.room, said, "hello, edited")
        seen = await other.wait_readable(edited)
        assert seen.body == "hello, edited" and seen.content["m.relates_to"]["event_id"] == said

        reacted = await one.react(pair.room, said, "👍")
        seen = await other.wait_readable(reacted)
        assert (seen.kind, seen.content["m.relates_to"]["key"]) == ("m.reaction", "👍")

        filed = await one.file(pair.room, PICTURE, "picture.bin", "image/png", "m.image")
        seen = await other.wait_readable(filed)
        assert seen.encrypted and await other.download(seen) == PICTURE

        redaction = await one.redact(pair.room, said, "a mistake")
        seen = await other.wait_event(redaction)
        assert (seen.kind, seen.redacts) == ("m.room.redaction", said)


async def test_shields(pair: Pair) -> None:
    """The Rust client shows no shield for a device its owner signed, and a red one for a device nobody signed."""
    name = f"carl{secrets.token_hex(4)}"
    await pair.synapse.register_user(name, PASSWORD)
    carl = await rust_peer(pair.synapse.url, pair.folder / "carl")
    try:
        await carl.start(name, PASSWORD)
        await pair.nio.call("send", room=pair.room, kind="m.room.message", content={"msgtype": "m.text", "body": "hi"})
        unsigned = Shield("red", "UNSIGNED_DEVICE")  # once the client has looked at nina's devices
        await pair.rust.wait_for(lambda event: event.body == "hi" and event.shield == unsigned, "the red shield")

        room = await carl.create_room(invite=[pair.rust.user_id])
        await pair.rust.join(room)
        await carl.wait_for(lambda event: event.state_key == pair.rust.user_id and event.room_id == room, "the join")
        await carl.send_text(room, "signed")
        await pair.rust.wait_unshielded((await pair.rust.wait_text(room, "signed")).event_id)

        devices = await pair.rust.devices(carl.user_id)
        assert devices[carl.device_id]["signed"] and devices[carl.device_id]["ed25519"] == carl.keys["ed25519"]
        assert await pair.rust.identity(carl.user_id) == {"exists": True, "verified": False, "changed": False}
        assert not (await pair.rust.identity(pair.nio.user_id))["exists"]
    finally:
        await carl.kill()


async def test_held_keys_arrive_late(pair: Pair) -> None:
    """A key held back makes a message unreadable; once released, the same message becomes readable."""
    for one, other in ((pair.nio, pair.rust), (pair.rust, pair.nio)):
        await one.hold()
        said = await one.send_text(pair.room, f"late from {one.user_id}")
        assert (await other.wait_event(said)).failure is not None
        assert await one.release() > 0
        assert (await other.wait_readable(said)).body == f"late from {one.user_id}"


async def test_restart_and_wipe(pair: Pair) -> None:
    """A stopped client goes on as the same device; a wiped one is another, which old messages stay closed to."""
    await pair.nio.send_text(pair.room, "before")
    await pair.rust.wait_text(pair.room, "before")

    async def restarted(peer: Peer, name: str) -> None:
        device, keys = peer.device_id, peer.keys
        await peer.stop()
        await peer.start(name, PASSWORD)
        assert (peer.device_id, peer.keys) == (device, keys)

    await asyncio.gather(*[restarted(*one) for one in zip((pair.nio, pair.rust), pair.names, strict=True)])
    await pair.rust.send_text(pair.room, "after")
    assert (await pair.nio.wait_text(pair.room, "after")).encrypted
    await pair.nio.send_text(pair.room, "and back")
    assert (await pair.rust.wait_text(pair.room, "and back")).encrypted

    before = pair.nio.device_id
    await pair.nio.stop()
    pair.nio.wipe()
    pair.nio.events.clear()
    await pair.nio.start(pair.names[0], PASSWORD)
    assert pair.nio.device_id != before
    old = await pair.nio.wait_for(lambda event: event.encrypted, "an old message")
    assert old.failure is not None


async def test_isolation(pair: Pair) -> None:
    """A Rust client that goes by MSC4153 neither reads a device that its owner did not sign, nor gives it keys."""
    await pair.rust.isolate(True)
    unread = await pair.nio.send_text(pair.room, "from an unsigned device")
    assert (await pair.rust.wait_event(unread)).failure is not None
    await pair.rust.discard(pair.room)
    unread = await pair.rust.send_text(pair.room, "for signed devices only")
    assert (await pair.nio.wait_event(unread)).failure is not None
    await pair.rust.isolate(False)
    await pair.rust.discard(pair.room)
    await pair.rust.send_text(pair.room, "for all devices")
    assert (await pair.nio.wait_text(pair.room, "for all devices")).encrypted


async def test_exclusion(pair: Pair) -> None:
    """Devices that nio excludes, and that the Rust client withholds from, cannot read; a refused verb is an error."""
    await pair.nio.exclude(pair.rust.user_id, pair.rust.device_id)
    await pair.nio.discard(pair.room)
    said = await pair.nio.send_text(pair.room, "not for rosa")
    assert (await pair.rust.wait_event(said)).failure is not None
    await pair.rust.withhold(True)
    await pair.rust.discard(pair.room)
    said = await pair.rust.send_text(pair.room, "not for nina")
    assert (await pair.nio.wait_event(said)).failure is not None
    with pytest.raises(PeerError):
        await pair.nio.join("!nowhere:hs.test")
