"""Random kills under load: bridge, homeserver, both, IRC server. Afterwards every equation must hold."""

import asyncio
import os
import random
import sys
import time

import pytest

from tests.crash.bench import Bench
from tests.crash.outages import kill_homeserver, restart_ircd
from tests.crash.rig import Rig
from tests.crash.talk import Load

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

KINDS = {"bridge": 11, "bridge at a point": 3, "homeserver": 2, "both": 2, "ircd": 2}
POINTS = ("append.after_commit", "route.after_commit", "settle.before_commit", "network.confirmed", "matrix.after_send")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("unknown", ["report"])
async def test_random_kills(bench: Bench, chaos: int, unknown: str) -> None:
    """After N random kills under load nothing accepted is lost, nothing doubled, and the books balance.

    The seed is printed; set CHAOS_SEED to repeat the same kills (their timing against the load still varies).
    """
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 32))
    sys.stderr.write(f"CHAOS_SEED={seed}\n")
    dice = random.Random(seed)
    made: dict[str, int] = {}
    async with bench.rig(gate=True, faulty=True, unknown=unknown) as rig:
        await rig.start()
        load = rig.load("chaos", burst=2, pause=0.25)
        load.start()
        for _ in range(chaos):
            await asyncio.sleep(dice.uniform(0.1, 1.5))
            kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
            made[kind] = made.get(kind, 0) + 1
            await _strike(rig, load, kind, dice)
        await load.stop()
        sys.stderr.write(f"kills: {made}\n")
        await rig.finish(load, 120)


async def _strike(rig: Rig, load: Load, kind: str, dice: random.Random) -> None:
    """Kills, and brings back."""
    if kind == "ircd":
        await restart_ircd(rig)
        return
    if kind == "homeserver":
        await kill_homeserver(rig, load)
        await asyncio.sleep(dice.uniform(0, 1))
        await rig.site.synapse.start()
        return
    if kind == "bridge at a point":
        # It kills itself at a place and time of its own; what it did before is not started anew.
        rig.kill()
        await rig.start(kill_at=f"{dice.choice(POINTS)}:{dice.randint(1, 12)}")
        await rig.wait_killed()
        await rig.start()
        return
    if kind == "both":
        await kill_homeserver(rig, load, bridge=True)
        await rig.site.synapse.start()
    else:
        rig.kill()
    at = time.time()
    if dice.random() < 0.3:
        # Killed again before it is quite back.
        await rig.begin()
        await asyncio.sleep(dice.uniform(0.3, 1.5))
        rig.kill()
        at = time.time()
    await rig.start()
    assert rig.joined(at)
