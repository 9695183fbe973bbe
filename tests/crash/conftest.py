"""Servers that all crash tests share, and the rig."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.crash.site import Site


@pytest_asyncio.fixture(scope="session", loop_scope="session", name="shared_site")
async def _shared_site() -> AsyncIterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="mb-crash-"))
    folder.chmod(0o755)
    site = await Site.start(folder)
    yield site
    site.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def site(shared_site: Site) -> Site:
    """Synapse and an IRC server, running whatever the last test did to them."""
    return await shared_site.repaired()
