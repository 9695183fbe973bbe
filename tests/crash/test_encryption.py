"""SIGKILL while something is encrypted: it is said once, is read, no index is used twice, and nothing is in clear."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from bridge_core.api.ids import RoomId
from bridge_core.demo.ports import free_port
from bridge_core.testing.faults import KILL_AT
from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver
from tests.encrypted import EncryptedClient
from tests.harness import write_config

pytestmark = pytest.mark.crash

Run = Callable[..., Awaitable[asyncio.subprocess.Process]]
POINTS = (
    "crypto.keys_committed",
    "crypto.keys_uploaded",
    "crypto.session_committed",
    "crypto.claimed",
    "crypto.olm_committed",
    "crypto.key_sent",
    "crypto.share_committed",
    "crypto.reserved",
    "matrix.after_send",
)
READING = (
    "intake.before_keys",
    "intake.after_keys",
    "intake.before_append",
    "intake.after_append",
    "crypto.before_commit:3",
    "crypto.after_commit:3",
    "crypto.to_device_opened",
    "crypto.to_device_committed",
)


async def _run(config: Path, *said: str, kill_at: str = "") -> asyncio.subprocess.Process:
    environment = {**os.environ, KILL_AT: kill_at} if kill_at else dict(os.environ)
    log = (config.parent / "child.log").open("ab")
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.crash.secret_child",
            str(config),
            *said,
            env=environment,
            stdout=log,
            stderr=log,
        )
    finally:
        log.close()


@pytest_asyncio.fixture(name="run")
async def _children() -> AsyncIterator[Run]:
    """Starts children; none outlives its test, whatever that ends with."""
    children: list[asyncio.subprocess.Process] = []

    async def run(config: Path, *said: str, kill_at: str = "") -> asyncio.subprocess.Process:
        children.append(await _run(config, *said, kill_at=kill_at))
        return children[-1]

    yield run
    for child in children:
        if child.returncode is None:
            child.kill()
            await child.wait()


@pytest.mark.parametrize("point", POINTS)
async def test_what_is_encrypted_is_said_once_whatever_point_the_bridge_dies_at(
    tmp_path: Path, run: Run, point: str
) -> None:
    """A new ghost begins to speak, the bridge is killed, and its next start says all of it, readable, once."""
    port = free_port()
    service = FakeAppservice(url=f"http://127.0.0.1:{port}", encryption=True)
    async with FakeHomeserver(appservice=service) as homeserver:
        homeserver.bodies = bodies = []
        config = write_config(
            tmp_path,
            homeserver.url,
            {"net": {"type": "scripted", "portals": ["lobby"], "encryption": "require"}},
            port=port,
            tokens=(service.as_token, service.hs_token),
            encryption={"mode": "auto"},
        )
        child = await run(config, "anna one")
        await homeserver.wait_for(homeserver.rooms)
        (room,) = homeserver.rooms()
        await homeserver.wait_event(room, lambda event: event["type"] == "m.room.encrypted")
        user = homeserver.user("alice")
        async with EncryptedClient(homeserver, user) as alice:
            user.join(room)
            await homeserver.wait_pushed()
            child.kill()
            await child.wait()
            child = await run(config, "bert two", "anna three", kill_at=f"{point}:1")
            async with asyncio.timeout(60):
                assert await child.wait() == -signal.SIGKILL
            child = await run(config, "bert two", "anna three", "bert four")
            try:
                await alice.sees(room, "four")
            finally:
                child.kill()
                await child.wait()
            # An index that was used twice is a replay, which this client refuses.
            assert sorted([text async for text in alice.all(room)]) == ["four", "three", "two"]
        assert homeserver.messages(room) == []
        assert not [body for body in bodies if b'"body":"t' in body or b'"body": "t' in body]


@pytest.mark.parametrize("point", READING)
async def test_what_is_said_encrypted_is_delivered_once_whatever_point_the_bridge_dies_at(
    tmp_path: Path, run: Run, point: str
) -> None:
    """Keys come while the bridge is away, dies, and is away again: all is delivered in order, once, none is stored."""
    port = free_port()
    service = FakeAppservice(
        url=f"http://127.0.0.1:{port}", encryption=True, sender_localpart="bridgesender", bot="bridgebot"
    )
    async with FakeHomeserver(appservice=service) as homeserver:
        config = write_config(
            tmp_path,
            homeserver.url,
            {"net": {"type": "scripted", "portals": ["lobby"], "encryption": "require"}},
            port=port,
            tokens=(service.as_token, service.hs_token),
            encryption={"mode": "auto", "missing_key_wait": "10m"},
            appservice={"sender": "bridgesender"},
        )
        delivered = tmp_path / "delivered"
        delivered.touch()
        child = await run(config, "anna zero")
        await homeserver.wait_for(homeserver.rooms)
        await homeserver.wait_for(lambda: homeserver.keys.devices.get(homeserver.bot))
        (room,) = homeserver.rooms()
        async with EncryptedClient(homeserver, homeserver.user("alice")) as alice:

            async def says(text: str) -> None:
                await alice.machine.discard(alice.owner, RoomId(room))  # each message needs a key of its own
                await alice.says(room, f"marker-{text}")

            alice.user.join(room)
            await homeserver.wait_pushed()
            child.kill()
            await child.wait()
            await says("one")
            child = await run(config, kill_at=point)
            await says("two")
            async with asyncio.timeout(60):
                assert await child.wait() == -signal.SIGKILL
            await says("three")
            child = await run(config)
            try:
                await says("four")
                async with asyncio.timeout(60):
                    while "four" not in delivered.read_text():
                        await asyncio.sleep(0.05)  # alice answers nobody: no key may be lost
            finally:
                child.kill()
                await child.wait()
        assert delivered.read_text().split() == ["marker-one", "marker-two", "marker-three", "marker-four"]
        assert homeserver.messages(room) == []
        stored = [path.name for path in tmp_path.rglob("*") if path.is_file() and b"marker-" in path.read_bytes()]
        assert stored == ["delivered"]
