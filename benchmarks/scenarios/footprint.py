"""start and puppets: time until ready, and memory per portal and per puppet."""

from __future__ import annotations

from typing import Any

from benchmarks.certificates import per_certificate
from benchmarks.cpu import memory, settled
from benchmarks.options import SQLITE, Options, names
from benchmarks.rig import Layout, Rig, rig

Result = dict[str, Any]

#: Bytes each puppet reads in the burst.
BURST = 200_000


async def start(options: Options) -> Result:
    """Time from exec to ready with existing portals, the first start with new ones, and resident memory."""
    result: Result = {}
    if options.bare_only:
        return result
    for portals in (1, *options.portals):
        async with rig(Layout(names(portals))) as run:
            await run.start_bridge(SQLITE, 1800)
            result[f"first_ready_s_{portals}"] = run.ready_s
            await run.stop_relay()
            await run.start_bridge(SQLITE)
            result[f"ready_s_{portals}"] = run.ready_s
            await settled(run.pid)
            result[f"rss_mb_{portals}"] = memory(run.pid).rss / 1024
    most = options.portals[-1]
    grown = result[f"rss_mb_{most}"] - result["rss_mb_1"]
    return result | {
        "ready_s": result[f"ready_s_{most}"],
        "rss_mb": result["rss_mb_1"],
        "kib_per_portal": grown * 1024 / (most - 1),
    }


async def puppets(options: Options) -> Result:
    """Memory of idle TLS puppets, and after each read a burst of 200 KB; then a crowd, see there."""
    result: Result = {}
    channels = names(20)
    kinds = ("bare_",) if options.bare_only else ("bare_", "")
    for kind in kinds:
        none, some = Layout(channels), Layout(channels, users=options.puppets)
        async with rig(none, tls=True) as run:
            await _start(run, kind)
            await settled(run.pid)
            without = memory(run.pid)
        async with rig(some, tls=True) as run:
            await _start(run, kind)
            await run.irc.wait_joins(len(channels) + options.puppets, 300)
            await settled(run.pid)
            idle = memory(run.pid)
            await run.irc.ask("burst", bytes=BURST)
            await settled(run.pid)
            after = memory(run.pid)
        result[f"{kind}kib_per_puppet"] = (idle.rss - without.rss) / options.puppets
        result[f"{kind}kib_per_puppet_burst"] = (after.rss - without.rss) / options.puppets
        result[f"{kind}pss_kib_per_puppet"] = (idle.pss - without.pss) / options.puppets
        result[f"{kind}rss_mb"] = without.rss / 1024
    return result | await per_certificate()


async def _start(run: Rig, kind: str) -> None:
    """Start the relay with all its puppets connected."""
    if kind:
        await run.start_bare()
        return
    await run.start_bridge(SQLITE)
    if run.layout.users:
        await run.enter_users()
        routes = run.routes()
        await run.matrix.ask("push", routes=routes, count=len(routes))
        await run.irc.wait(len(routes), 300)
