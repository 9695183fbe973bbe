"""The bare relay between both stubs: the floor of every measurement must itself be right."""

from __future__ import annotations

from typing import Any

from benchmarks.options import names
from benchmarks.rig import Layout, rig
from benchmarks.runner import SCENARIOS, judge


async def test_lines_cross_both_ways_once_and_in_order() -> None:
    """Every numbered line arrives once at the other side, in its channel's order."""
    async with rig(Layout(names(2), users=4)) as run:
        await run.start_bare()
        await run.irc.ask("say", channels=run.layout.channels, nicks=3, count=100)
        await run.matrix.wait(100, 30)
        await run.matrix.ask("push", routes=run.routes(), count=100, batch=30)
        await run.irc.wait(100, 30)
        at_matrix, at_irc = await run.matrix.ask("stats"), await run.irc.ask("stats")
    assert (at_matrix["count"], at_matrix["doubled"], at_matrix["reordered"]) == (100, 0, 0)
    assert (at_irc["count"], at_irc["doubled"], at_irc["connections"]) == (100, 0, 5)
    assert 0 < at_matrix["p50_ms"] <= at_matrix["p99_ms"]


async def test_puppets_connect_over_tls_and_take_a_burst() -> None:
    """The stub's TLS side serves every puppet, and a burst reaches them without loss of the connection."""
    async with rig(Layout(names(1), users=3), tls=True) as run:
        await run.start_bare()
        await run.irc.ask("burst", bytes=50_000)
        await run.matrix.ask("push", routes=run.routes(), count=9, batch=3)
        await run.irc.wait(9, 30)
        stats = await run.irc.ask("stats")
    assert stats["connections"] == 4


def test_targets_name_scenarios_and_are_judged_in_their_direction() -> None:
    """A rate must be above its target, a cost below; the median latency may add one measured fsync."""
    results: dict[str, dict[str, Any]] = {
        "i2m": {"cpu_ms_per_msg": 0.31, "msgs_per_s": 4000.0},
        "latency": {"fsync_p50_ms": 1.0, "added_p50_ms": 2.9},
        "start": {"error": "not run"},
    }
    verdicts = {(v["scenario"], v["key"]): v["met"] for v in judge(results)}
    assert verdicts == {
        ("i2m", "cpu_ms_per_msg"): False,
        ("i2m", "msgs_per_s"): True,
        ("latency", "added_p50_ms"): True,
    }
    assert set(SCENARIOS) == {
        "i2m",
        "m2i",
        "latency",
        "start",
        "puppets",
        "growth",
        "members",
        "sync",
        "encryption",
        "ghost-keys",
        "mail",
        "mail-large",
        "mail-queue",
        "mail-rooms",
    }
