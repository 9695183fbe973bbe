"""Fixtures for every test: folders, real servers, Synapse. A server that is missing is an error, never a skip."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

from bridge_core.demo.synapse import Synapse
from tests.parallel import ByPlace, rank_of
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd
from tests.servers.postgres import Postgres

SynapseFactory = Callable[..., Awaitable[Synapse]]

hypothesis.settings.register_profile("developer", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "developer")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --chaos N, the number of random kills in each random crash test."""
    parser.addoption("--chaos", type=int, metavar="N", help="random kills in crash tests (20), and long outages")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers, puts what takes longest first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank_of(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByPlace:
    """Spreads the tests over the workers."""
    return ByPlace(config, log)


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> int:
    """How many random kills a random crash test makes."""
    given = request.config.getoption("--chaos")
    return 20 if given is None else int(given)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short path that servers under other accounts can enter."""
    path = _make_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture
async def synapse_factory(folder: Path) -> AsyncIterator[SynapseFactory]:
    """Makes and starts homeservers: `await synapse_factory(registrations=[...], server_name="hs.test")`."""
    made: list[Synapse] = []

    async def make(registrations: Sequence[Path] = (), server_name: str = "hs.test") -> Synapse:
        server = Synapse(folder / f"synapse{len(made)}", server_name=server_name, registrations=registrations)
        made.append(server)
        await server.start()
        return server

    yield make
    for server in made:
        server.kill()


@pytest_asyncio.fixture
async def inspircd(folder: Path) -> AsyncIterator[InspIRCd]:
    """A running InspIRCd."""
    server = InspIRCd(folder / "inspircd")
    await server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture
async def ngircd(folder: Path) -> AsyncIterator[NgIRCd]:
    """A running ngIRCd."""
    server = NgIRCd(folder / "ngircd")
    await server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(params=["inspircd", "ngircd"])
async def ircd(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[InspIRCd | NgIRCd]:
    """A running IRC server; a test that takes it runs on InspIRCd and on ngIRCd."""
    server = InspIRCd(folder / "ircd") if request.param == "inspircd" else NgIRCd(folder / "ircd")
    await server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """One PostgreSQL for the whole session, without fsync. A test that stops or kills it makes its own."""
    path = _make_folder()
    server = Postgres(path / "postgres")
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture
async def postgres_url(postgres: Postgres) -> str:
    """The url of an empty database of one's own on PostgreSQL."""
    return await postgres.create_database()


def _make_folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="mb-"))
    path.chmod(0o755)
    return path
