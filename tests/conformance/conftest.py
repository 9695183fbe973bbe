"""What the contract tests stand on: a homeserver of each kind, one after another, and a bridge before it."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.testing.homeserver import FakeProfile
from tests.conformance.bridged import Bridged
from tests.conformance.homeservers import Homeserver, fake, synapse

MARKS = {"synapse": pytest.mark.server}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test on the fake and on Synapse, or on the kinds that its file names in `HOMESERVERS`."""
    if "homeserver" in metafunc.fixturenames:
        kinds = getattr(metafunc.module, "HOMESERVERS", ("fake", "synapse"))
        params = [pytest.param(kind, marks=MARKS.get(kind, ())) for kind in kinds]
        metafunc.parametrize("homeserver", params, indirect=True, scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def homeserver(request: pytest.FixtureRequest) -> AsyncIterator[Homeserver]:
    """One homeserver of a kind for all tests of a file: the fake with every ability or with the basic ones, Synapse.

    A file that names `ENCRYPTION` gets what encryption needs in its transactions.
    """
    encryption = getattr(request.module, "ENCRYPTION", False)
    if request.param == "synapse":
        folder = Path(tempfile.mkdtemp(prefix="mb-"))
        async with synapse(folder, encryption=encryption) as server:
            yield server
        shutil.rmtree(folder, ignore_errors=True)
    else:
        profile = FakeProfile() if request.param == "fake" else FakeProfile.basic()
        async with fake(profile, encryption=encryption) as server:
            yield server


@pytest.fixture(scope="module")
def options(homeserver: Homeserver) -> dict[str, Any]:
    """What `Bridged.start` is given beyond a homeserver and a folder, new for each; a test module overrides it."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(
    homeserver: Homeserver, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bridged]:
    """One bridge on the homeserver for all tests of a file."""
    bridged = await Bridged.start(homeserver, tmp_path_factory.mktemp("bridge"), **options)
    try:
        yield bridged
    finally:
        await bridged.bridge.stop_bridge()
