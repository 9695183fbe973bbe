"""A second appservice on the same homeserver takes numbers of transactions: outages of the bridge lose nothing."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.crash.site import PUPPET_TOKEN, Site
from tests.crash.stage import Stage

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]
_PUPPETS = {"double_puppet": {"servers": {"hs.test": {"as_token": PUPPET_TOKEN}}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowded() -> AsyncIterator[Site]:
    """Servers where a second registration is for all users, as double puppets need it."""
    folder = Path(tempfile.mkdtemp(prefix="mb-crowded-"))
    folder.chmod(0o755)
    site = await Site.start(folder, puppets=r"@.*:hs\.test")
    yield site
    site.kill()
    shutil.rmtree(folder, ignore_errors=True)


async def test_what_was_said_over_outages_arrives(crowded: Site, tmp_path: Path) -> None:
    """The bridge is killed and started while alice speaks, again and again: each message crosses once."""
    async with Stage(crowded, tmp_path, sections=_PUPPETS) as stage:
        await stage.start()
        await stage.enter()
        said = []
        for outage in range(4):
            for number in range(10):
                said.append(f"m{outage}.{number}")
                await stage.alice.send_text(stage.room, said[-1])
                await asyncio.sleep(0.1)
                if number == 3:
                    stage.kill()
                elif number == 5:
                    await stage.start()

        async def crossed() -> bool:
            return len(stage.tape.heard()) >= len(said)

        await stage.until(crossed, "all that was said, on the network", 90)
        assert sorted(one["text"] for one in stage.tape.heard()) == sorted(said)
        await stage.at_rest()
