"""SIGKILL of the bridge at each named place of both flows, with messages on their way in both directions."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.crash.bench import Bench
from tests.crash.site import Site

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

POINTS = [
    "intake.before_append",
    "intake.after_append",
    "append.before_commit",
    "append.after_commit",
    "route.before_commit",
    "route.after_commit",
    "settle.before_commit",
    "settle.after_commit",
    "matrix.before_send",
    "matrix.after_send",
    "network.before_send",
    "network.after_send",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="bench")
async def _bench(shared_site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    bench = Bench(await shared_site.repaired(), tmp_path_factory.mktemp("bridges"))
    yield bench
    await bench.close()


async def _die_at(bench: Bench, point: str, **options: str) -> None:
    async with bench.rig(**options) as rig:
        await rig.start(kill_at=f"{point}:7")
        load = rig.load(f"{point}.{options}")
        load.start()
        await rig.wait_killed()
        await rig.start()
        await load.stop()
        await rig.finish(load)


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_or_doubled_whatever_point_the_bridge_dies_at(bench: Bench, point: str) -> None:
    """Accepted messages arrive once and in order; what is in doubt on IRC is reported, and nothing else."""
    await _die_at(bench, point, unknown="report")


@pytest.mark.parametrize("point", ["network.before_send", "network.after_send", "settle.before_commit"])
async def test_what_is_in_doubt_is_sent_again_when_asked_for(bench: Bench, point: str) -> None:
    """With `unknown: resend` every message arrives on IRC, those in doubt at a crash perhaps twice."""
    await _die_at(bench, point, unknown="resend")


@pytest.mark.parametrize("point", ["append.after_commit", "route.after_commit", "network.after_send"])
async def test_a_network_with_idempotency_gets_everything_once(bench: Bench, point: str) -> None:
    """On the echo network, whose sends can be repeated, everything crosses and comes back exactly once, in order."""
    await _die_at(bench, point, network="echo")
