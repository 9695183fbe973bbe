"""SIGKILL while a file is on its way to Matrix: in the end there is one upload, and one message that shows it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bridge_core.demo.ports import free_port
from bridge_core.testing.faults import KILL_AT
from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver
from tests.crash.media_child import PICTURE
from tests.harness import write_config

pytestmark = pytest.mark.crash


async def _run(config: Path, kill_at: str = "") -> asyncio.subprocess.Process:
    environment = {**os.environ, KILL_AT: kill_at} if kill_at else dict(os.environ)
    log = (config.parent / "child.log").open("ab")
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.crash.media_child", str(config), env=environment, stdout=log, stderr=log
        )
    finally:
        log.close()


@pytest.mark.parametrize(
    "point", ["media.before_upload", "media.after_upload", "matrix.before_send", "matrix.after_send"]
)
async def test_a_file_is_uploaded_once_whatever_point_the_bridge_dies_at(tmp_path: Path, point: str) -> None:
    """The address was stored before the bytes went: the next start fills or finds it, and says the message once."""
    port = free_port()
    service = FakeAppservice(url=f"http://127.0.0.1:{port}")
    async with FakeHomeserver(appservice=service) as homeserver:
        config = write_config(
            tmp_path,
            homeserver.url,
            {"net": {"type": "scripted", "portals": ["lobby"]}},
            port=port,
            tokens=(service.as_token, service.hs_token),
        )
        child = await _run(config, f"{point}:1")
        async with asyncio.timeout(60):
            assert await child.wait() == -signal.SIGKILL
        child = await _run(config)
        try:
            await homeserver.wait_for(homeserver.rooms, timeout=60)
            (room,) = homeserver.rooms()
            await homeserver.wait_for(lambda: homeserver.messages(room), timeout=60)
            # A second start says the same again, which is known: whatever would be doubled has been by now.
            assert [body for _, body in homeserver.messages(room)] == ["my cat"]
            assert [homeserver.file(mxc) for mxc in homeserver.files()] == [PICTURE]
        finally:
            child.kill()
            await child.wait()
