"""ghost-keys: what ghosts with devices of their own cost in memory and at start, idle and when they speak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.bridge_process import JOURNAL_KEY
from benchmarks.cpu import memory, settled
from benchmarks.options import SQLITE, Options, names
from benchmarks.processes import Child
from benchmarks.rig import Layout, Rig, rig

Result = dict[str, Any]

#: Ghosts that are loaded and speak while memory is measured.
SPEAKING = 1_000
STARTS = 3


async def ghost_keys(options: Options) -> Result:
    """Start and memory of a bridge without and with ghosts that have keys; KiB per ghost, idle and loaded."""
    if options.bare_only:
        return {}
    async with rig(Layout(names(10)), encryption="appservice") as run:
        await run.start_bridge(SQLITE)
        await run.stop_relay()
        result = await _starts(run, "without_ghosts")
        assert run.bridge is not None
        await _told(run, "make", options.ghosts)
        result |= await _starts(run, f"{options.ghosts}_ghosts")
        found = await _told(run, "weigh", speaking := min(SPEAKING, options.ghosts - 50))
    more = result[f"rss_mb_{options.ghosts}_ghosts"] - result["rss_mb_without_ghosts"]
    return result | {
        "start_over_s": result[f"ready_s_{options.ghosts}_ghosts"] - result["ready_s_without_ghosts"],
        "rss_mb_over": more,
        "bytes_per_idle_ghost": found["idle"] / options.ghosts,
        "kib_per_loaded_ghost": found["loaded"] / speaking,
        "kib_per_speaking_ghost": found["spoken"] / speaking,
    }


async def _starts(run: Rig, name: str) -> Result:
    """The best of some starts, and the least memory."""
    ready, rss, cpu = [], [], []
    for _ in range(STARTS):
        await run.start_bridge(SQLITE)
        ready.append(run.ready_s)
        cpu.append(await settled(run.pid))
        rss.append(memory(run.pid).rss / 1024)
        await run.stop_relay()
    return {f"ready_s_{name}": min(ready), f"start_cpu_s_{name}": min(cpu), f"rss_mb_{name}": min(rss)}


async def _told(run: Rig, cmd: str, count: int) -> Result:
    assert run.bridge is not None
    path: Path = run.folder / f"{cmd}.json"
    database = f"sqlite:///{run.bridge.folder / 'bridge.db'}"
    path.write_text(json.dumps({"cmd": cmd, "count": count, "database": database, "secret": JOURNAL_KEY}))
    child = await Child.spawn(run.folder, cmd, "benchmarks.keys_process", str(path), announce=True)
    try:
        return await child.announced(600)
    finally:
        await child.stop()
