"""Servers that all crash tests share, and the rig."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.crash.bench import Bench
from tests.crash.site import Site


@pytest_asyncio.fixture(scope="session", loop_scope="session", name="shared_site")
async def _shared_site() -> AsyncIterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="mb-crash-"))
    folder.chmod(0o755)
    site = await Site.start(folder)
    yield site
    site.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(shared_site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """Rigs that the tests of a module take in turn."""
    bench = Bench(await shared_site.repaired(), tmp_path_factory.mktemp("bridges"))
    yield bench
    await bench.close()


@pytest_asyncio.fixture
async def site(shared_site: Site) -> Site:
    """Synapse and an IRC server, running whatever the last test did to them."""
    return await shared_site.repaired()


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether `--chaos` was given: then outages last as long as real ones."""
    return request.config.getoption("--chaos") is not None
