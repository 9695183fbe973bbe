"""latency: what the bridge adds at 50 messages a second, against the bare relay and one fsync."""

from __future__ import annotations

from typing import Any

from benchmarks.cpu import fsync_ms
from benchmarks.options import SQLITE, Options, names
from benchmarks.rig import Layout, Rig, rig

Result = dict[str, Any]

NICKS = 5
LAYOUT = Layout(names(10), users=50)


async def _measure(run: Rig, options: Options) -> Result:
    """Measure both directions one after the other, after a round that makes ghosts and puppets."""
    channels, routes = run.layout.channels, run.routes()
    count = int(options.latency_rate * options.latency_seconds)
    warm = len(channels) * NICKS
    await run.irc.ask("say", channels=channels, nicks=NICKS, count=warm)
    await run.matrix.wait(warm, 120)
    await run.matrix.ask("push", routes=routes, count=len(routes))
    await run.irc.wait(len(routes), 120)
    await run.irc.wait_joins(len(channels) + run.layout.users, 120)
    await run.irc.ask("reset")
    await run.matrix.ask("reset")
    await run.irc.ask("say", channels=channels, nicks=NICKS, count=count, rate=options.latency_rate)
    await run.matrix.wait(count, 60)
    await run.matrix.ask("push", routes=routes, count=count, rate=options.latency_rate)
    await run.irc.wait(count, 60)
    to_matrix, to_irc = await run.matrix.ask("stats"), await run.irc.ask("stats")
    return {
        "p50_ms": to_matrix["p50_ms"],
        "p99_ms": to_matrix["p99_ms"],
        "m2i_p50_ms": to_irc["p50_ms"],
        "m2i_p99_ms": to_irc["p99_ms"],
    }


async def latency(options: Options) -> Result:
    """Latency of both directions at a steady rate, bare and bridge in one run."""
    async with rig(LAYOUT) as run:
        await run.start_bare()
        bare = await _measure(run, options)
        result = {f"bare_{key}": value for key, value in bare.items()}
        result["fsync_p50_ms"], result["fsync_p99_ms"] = fsync_ms(run.folder)
    if options.bare_only:
        return result
    async with rig(LAYOUT) as run:
        await run.start_bridge(SQLITE)
        await run.enter_users()
        result |= await _measure(run, options)
    return result | {f"added_{key}": result[key] - value for key, value in bare.items()}
