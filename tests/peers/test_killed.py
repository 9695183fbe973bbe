"""SIGKILL of a bridge on a real Synapse: the Rust client reads what it says, once, without a shield, and is heard."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from bridge_core.demo.peers.peer import PeerError
from tests.conformance.homeservers import SERVER, synapse
from tests.crash.test_encryption import Run, _children, _run
from tests.harness import write_config
from tests.peers.meeting import NONE, PASSWORD
from tests.peers.rust import RustPeer, rust_peer

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

run = pytest_asyncio.fixture(loop_scope="module", name="run")(_children.__wrapped__)


POINTS = ("crypto.keys_uploaded", "crypto.key_sent", "crypto.reserved")
"""A ghost's first keys, a key that was given to some, a ratchet that was moved; all points: `tests/crash`."""
READING = ("intake.before_append", "intake.after_append", "crypto.to_device_opened", "crypto.to_device_committed")
"""Around the commit of what a transaction brings, and of what a key is."""


class Place:
    """The bridge's configuration, and the client in a room where a ghost has spoken."""

    def __init__(self, config: Path, rust: RustPeer, room: str) -> None:
        self.config = config
        self.rust = rust
        self.room = room

    def unread(self) -> list[str]:
        """What the client cannot read."""
        return [event.event_id for event in self.rust.events.values() if event.failure is not None]

    def heard(self) -> list[str]:
        """What the network was sent."""
        return (self.config.parent / "delivered").read_text().splitlines()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place() -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mb-", ignore_cleanup_errors=True)))
        homeserver = await stack.enter_async_context(synapse(folder, encryption=True, sender="bridgesender"))
        rust = await rust_peer(homeserver.url, folder / "rosa")
        stack.push_async_callback(rust.kill)
        await rust.start((await homeserver.human()).id[1:].partition(":")[0], PASSWORD)
        (folder / "bridge").mkdir()
        config = write_config(
            folder / "bridge",
            homeserver.url,
            {"net": {"type": "scripted", "portals": ["lobby"], "encryption": "require"}},
            port=homeserver.port,
            tokens=(homeserver.as_token, homeserver.hs_token),
            encryption={"mode": "auto", "missing_key_wait": "5m"},
            appservice={"sender": "bridgesender"},
        )
        (config.parent / "delivered").touch()
        child = await _run(config)
        try:
            room = await joined(rust)
        finally:
            child.kill()
            await child.wait()
        yield Place(config, rust, room)


async def joined(rust: RustPeer) -> str:
    """The client is in the room, which the bridge makes once it is there."""
    async with asyncio.timeout(90):
        while True:
            try:
                return await rust.join(f"#_net_lobby:{SERVER}")
            except PeerError:
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("point", POINTS)
async def test_all_is_read_whatever_point_the_bridge_dies_at(place: Place, run: Run, point: str) -> None:
    """Ghosts speak, the bridge is killed, and goes on: all is read, once, without a shield; the client is heard."""
    rust, unread = place.rust, place.unread()
    said = [f"bert-{point} two {point}", f"anna three {point}"]
    child = await run(place.config, *said, kill_at=f"{point}:1")
    async with asyncio.timeout(90):
        assert await child.wait() == -signal.SIGKILL
    child = await run(place.config, *said, f"bert-{point} four {point}")
    words = [f"{number} {point}" for number in ("two", "three", "four")]
    for text in words:
        event = await rust.wait_for(lambda e, text=text: (e.body, e.shield) == (text, NONE), text)  # type: ignore[misc]
        assert (event.encrypted, event.room_id) == (True, place.room)
    await rust.send_text(place.room, f"heard {point}")
    async with asyncio.timeout(60):
        while f"heard {point}" not in place.heard():
            await asyncio.sleep(0.05)
    assert sorted(e.body for e in rust.events.values() if e.body in words) == sorted(words)
    assert place.unread() == unread


@pytest.mark.parametrize("point", READING)
async def test_all_is_heard_whatever_point_the_bridge_dies_at(place: Place, run: Run, point: str) -> None:
    """Keys and messages come while the bridge is away, dies, and is back: the network gets all, once, in order."""

    async def says(text: str) -> None:
        await place.rust.discard(place.room)  # each message needs a key of its own
        await place.rust.send_text(place.room, f"{text} {point}")

    await says("one")
    child = await run(place.config, kill_at=f"{point}:1")
    await says("two")
    async with asyncio.timeout(90):
        assert await child.wait() == -signal.SIGKILL
    await says("three")
    await run(place.config)
    await says("four")
    async with asyncio.timeout(90):
        while f"four {point}" not in place.heard():
            await asyncio.sleep(0.05)
    heard = [text for text in place.heard() if text.endswith(point)]
    assert heard == [f"{number} {point}" for number in ("one", "two", "three", "four")]
