"""A kill at each step of fetching history: after the next start there is one copy of each message, in order."""

import asyncio
import signal
from pathlib import Path

import pytest

from bridge_core.demo.ports import free_port
from bridge_core.testing.faults import KILL_AT
from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver
from tests.crash.forked import ForkedProcess
from tests.harness import write_config

pytestmark = pytest.mark.crash
COUNT = 18


async def _start(config: Path, count: int, kill_at: str = "") -> ForkedProcess:
    child = ForkedProcess(["tests.crash.historian", str(config), str(count)], log=config.parent / "bridge.log")
    child.environment = {KILL_AT: kill_at} if kill_at else {}
    await child.start(_at_once)
    return child


async def _at_once() -> bool:
    return True


async def _killed(child: ForkedProcess) -> int | None:
    while child.running:
        await asyncio.sleep(0.01)
    return child.status


@pytest.mark.parametrize(
    "place",
    [
        "backfill.before_page",
        "backfill.after_page",
        "backfill.before_page:2",
        "backfill.after_page:3",
        "backfill.after_page:4",
        "matrix.before_send:3",
        "matrix.after_send:7",
        "ghost.after_register",
    ],
)
async def test_history_comes_once_whatever_happens(tmp_path: Path, place: str) -> None:
    """Killed at this place while history is fetched, the bridge goes on where it was: nothing twice, nothing lost."""
    port = free_port()
    service = FakeAppservice(url=f"http://127.0.0.1:{port}")
    async with FakeHomeserver(appservice=service) as homeserver:
        config = write_config(
            tmp_path,
            homeserver.url,
            {"net": {"type": "scripted", "portals": ["hall"], "backfill": {"rate": 1000}}},
            port=port,
            tokens=(service.as_token, service.hs_token),
        )
        alice = homeserver.user("alice")
        child = await _start(config, 1)
        try:
            async with asyncio.timeout(60):
                while not await homeserver._pusher.query_room("#_net_hall:hs.test"):
                    await asyncio.sleep(0.05)
            room = homeserver.room("#_net_hall:hs.test").id
            alice.join(room)
            await homeserver.wait_message(room, "m0", timeout=60)
            await homeserver.wait_pushed()
            assert await child.stop() == 0
            child = await _start(config, COUNT, place)
            assert await asyncio.wait_for(_killed(child), 60) == -signal.SIGKILL
            child = await _start(config, COUNT)
            await homeserver.wait_message(room, f"m{COUNT - 1}", timeout=60)
            assert await child.stop() == 0
        finally:
            child.kill()
        said = [body for sender, body in homeserver.messages(room) if sender != homeserver.bot]
        assert said == [f"m{number}" for number in range(COUNT)]
