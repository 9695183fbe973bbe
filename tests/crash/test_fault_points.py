"""SIGKILL of the bridge at each named place of both flows, with messages on their way in both directions."""

from pathlib import Path

import pytest

from bridge_core.demo.matrix_client import MatrixError
from tests.crash.bench import Bench
from tests.crash.report import Verdict
from tests.crash.rig import Rig
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
    "network.confirmed",
]


async def _die_at(bench: Bench, point: str, **options: str) -> None:
    async with bench.rig(**options) as rig:
        await _episode(rig, f"{point}:7")


async def _episode(rig: Rig, kill_at: str) -> Verdict:
    await rig.start(kill_at=kill_at)
    load = rig.load(f"e{len(rig.verdicts)}")
    load.start()
    await rig.wait_killed()
    await rig.start()
    await load.stop()
    return await rig.finish(load)


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_or_doubled_whatever_point_the_bridge_dies_at(bench: Bench, point: str) -> None:
    """Accepted messages arrive once and in order; what is in doubt on IRC is reported, and nothing else."""
    await _die_at(bench, point, server="ngircd")


@pytest.mark.parametrize("point", ["append.before_commit", "network.confirmed"])
async def test_the_same_where_the_server_echoes_what_it_took(bench: Bench, point: str) -> None:
    """As above on a server with labelled echoes."""
    await _die_at(bench, point)


async def test_what_is_in_doubt_is_sent_again_when_asked_for(bench: Bench) -> None:
    """With `unknown: resend` every message arrives on IRC, those in doubt at a crash perhaps twice."""
    await _die_at(bench, "network.after_send", unknown="resend")


async def test_a_message_known_to_have_arrived_and_not_settled_is_doubled_by_resend_only(bench: Bench) -> None:
    """A crash between a line's echo and its settlement doubles it under `resend`: the rig sees doubles."""
    async with bench.rig(unknown="resend") as rig:
        verdict = await _episode(rig, "network.confirmed:7")
        assert verdict.doubled_on_network()


@pytest.mark.parametrize("point", ["ghost.after_register", "ghost.after_join"])
async def test_a_new_ghost_is_made_once(bench: Bench, point: str) -> None:
    """Killed while a ghost is being made, what its person said arrives all the same, once, under its name."""
    async with bench.rig(server="ngircd") as rig:
        await rig.rename()
        await _episode(rig, f"{point}:1")
        members = await rig.alice.members(rig.room)
        assert rig.irc is not None
        assert members[f"@_irc_{rig.irc.nick}:hs.test"] == rig.irc.nick


@pytest.mark.parametrize("point", ["room.before_create", "room.after_create"])
async def test_a_room_is_made_once(shared_site: Site, tmp_path: Path, point: str) -> None:
    """Killed while it makes a portal's room, the bridge has one room in the end, and what is said in it crosses."""
    async with Rig(await shared_site.repaired(), tmp_path) as rig:
        await rig.start(kill_at=f"{point}:1")
        with pytest.raises(MatrixError, match="404"):
            await rig.enter()
        await rig.wait_killed()
        there = await rig.exists()
        assert there == (point == "room.after_create")
        if there:
            await rig.enter()
        await rig.start()
        await rig.enter_when_made()
        load = rig.load("room")
        await load.matrix.say()  # nobody on IRC has said anything yet
        await rig.finish(load)


@pytest.mark.parametrize("point", ["route.after_commit", "network.after_send"])
async def test_a_network_with_idempotency_gets_everything_once(bench: Bench, point: str) -> None:
    """On the echo network, whose sends can be repeated, everything crosses and comes back exactly once, in order."""
    await _die_at(bench, point, network="echo")
