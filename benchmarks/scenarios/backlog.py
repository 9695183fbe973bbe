"""i2m, m2i and growth: CPU per message while a backlog is worked off."""

from __future__ import annotations

from typing import Any

from benchmarks.cpu import settled
from benchmarks.options import SQLITE, Options, names
from benchmarks.rig import Layout, Rig, rig

Result = dict[str, Any]

#: Nicks that speak in each channel.
NICKS = 20
CHANNELS = 10


async def _measure_i2m(run: Rig, channels: list[str], count: int) -> Result:
    """Have IRC say ``count`` lines and wait for them at the homeserver; a first round makes the ghosts."""
    warm = len(channels) * NICKS * 2
    await run.irc.ask("say", channels=channels, nicks=NICKS, count=warm)
    await run.matrix.wait(warm, 300)
    before = await settled(run.pid)
    await run.matrix.ask("reset")
    await run.irc.ask("say", channels=channels, nicks=NICKS, count=count, wait=False)
    await run.matrix.wait(count, 600)
    used = await settled(run.pid) - before
    return _result(await run.matrix.ask("stats"), used, count)


async def _measure_m2i(run: Rig, count: int) -> Result:
    """Have the homeserver push ``count`` events and wait for them at the IRC server; all puppets exist by then."""
    routes = run.routes()
    warm = len(routes) * 2
    await run.matrix.ask("push", routes=routes, count=warm)
    await run.irc.wait(warm, 300)
    await run.irc.wait_joins(len(run.layout.channels) + run.layout.users, 300)
    await run.matrix.ask("push", routes=routes, count=warm)
    await settled(run.pid)
    await run.irc.ask("reset")
    before = await settled(run.pid)
    await run.matrix.ask("push", routes=routes, count=count)
    await run.irc.wait(count, 600)
    used = await settled(run.pid) - before
    return _result(await run.irc.ask("stats"), used, count)


def _result(stats: Result, used: float, count: int) -> Result:
    return {
        "cpu_ms_per_msg": used * 1000 / count,
        "msgs_per_s": (count - 1) / stats["seconds"] if stats["seconds"] else 0.0,
        "count": stats["count"],
        "doubled": stats["doubled"],
        "reordered": stats["reordered"],
    }


def _bare(result: Result) -> Result:
    return {f"bare_{key}": value for key, value in result.items() if key not in ("count", "doubled")}


async def i2m(options: Options) -> Result:
    """IRC to Matrix: 10 channels, a backlog, the journal on SQLite (and on PostgreSQL when given)."""
    layout = Layout(names(CHANNELS))
    async with rig(layout) as run:
        await run.start_bare()
        result = _bare(await _measure_i2m(run, layout.channels, options.count))
    if options.bare_only:
        return result
    async with rig(layout) as run:
        await run.start_bridge(SQLITE)
        result |= await _measure_i2m(run, layout.channels, options.count)
    if options.postgres:
        async with rig(layout) as run:
            await run.start_bridge(options.postgres)
            found = await _measure_i2m(run, layout.channels, options.count)
            result |= {f"postgres_{key}": value for key, value in found.items()}
    return result


async def m2i(options: Options) -> Result:
    """Matrix to IRC: 200 users, 10 puppets in each of 20 channels, transactions of 100, no rate limits."""
    layout = Layout(names(20), users=200)
    async with rig(layout) as run:
        await run.start_bare()
        result = _bare(await _measure_m2i(run, options.count))
    if options.bare_only:
        return result
    async with rig(layout) as run:
        await run.start_bridge(SQLITE)
        await run.enter_users()
        return result | await _measure_m2i(run, options.count)


async def growth(options: Options) -> Result:
    """Cost per message with many portals against ten; the same ten channels speak in both."""
    spoken = names(CHANNELS)
    result: Result = {}
    count = max(options.count // 2, 1)
    for portals in (CHANNELS, *options.portals[-1:]):
        layout = Layout(names(portals))
        async with rig(layout) as run:
            if options.bare_only:
                await run.start_bare()
            else:
                await run.start_bridge(SQLITE)
            found = await _measure_i2m(run, spoken, count)
            result[f"cpu_ms_per_msg_{portals}"] = found["cpu_ms_per_msg"]
    few = result[f"cpu_ms_per_msg_{CHANNELS}"]
    last = result[f"cpu_ms_per_msg_{options.portals[-1]}"]
    return result | {"cpu_ms_per_msg": last, "ratio": last / few if few else 0.0}
