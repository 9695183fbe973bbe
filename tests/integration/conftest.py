"""What the tests of the whole bridge share: one Synapse and one IRC server of each kind for the session."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real import Ground, Servers, Town
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd


@pytest.fixture(scope="session", name="square")
def _square() -> Iterator[Path]:
    """A folder for all servers of the session."""
    path = Path(tempfile.mkdtemp(prefix="mb-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ground(square: Path) -> AsyncIterator[Ground]:
    """A Synapse that knows one bridge."""
    ground = await Ground.start(square)
    yield ground
    ground.synapse.kill()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(square: Path) -> AsyncIterator[tuple[InspIRCd, NgIRCd]]:
    """An IRC server of each kind."""
    inspircd, ngircd = InspIRCd(square / "inspircd"), NgIRCd(square / "ngircd")
    try:
        await inspircd.start()
        await ngircd.start()
        yield inspircd, ngircd
    finally:
        inspircd.kill()
        ngircd.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(
    ground: Ground, servers: tuple[InspIRCd, NgIRCd], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """A bridge to InspIRCd over TLS (`insps`) and plain (`insp`) and to ngIRCd (`ng`), with people on both sides."""
    inspircd, ngircd = servers
    networks: Servers = {
        "insps": (inspircd, {"tls": True}),
        "insp": (inspircd, {"nick": "brdg-p", "nick_template": "$DISPLAY-p"}),
        "ng": (ngircd, {}),
    }
    async with Town(ground, tmp_path_factory.mktemp("town"), networks) as town:
        yield town
