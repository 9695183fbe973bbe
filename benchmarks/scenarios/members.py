"""Growth over members, and what it takes to mirror a large chat: time, requests, CPU."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.cpu import settled
from benchmarks.options import SQLITE, Options, names
from benchmarks.processes import BenchmarkError
from benchmarks.rig import Layout, Rig, rig

Result = dict[str, Any]

#: Nicks that speak while it is measured, however many others are in the room.
SPEAKERS = 10
#: Turns in which each is measured.
ROUNDS = 8
#: Seconds within which a room must be filled.
PATIENCE = 900.0


async def growth(options: Options) -> Result:
    """Cost per message with many ghosts in the room against ten; the same ten speak in all.

    All bridges run side by side and are measured by turns: what else the machine does then meets all of them.
    """
    count = max(options.count // 2 // ROUNDS, 1)
    layout = Layout(names(1))
    used = dict.fromkeys(options.members, 0.0)
    async with AsyncExitStack() as stack:
        runs: dict[int, Rig] = {}
        for ghosts in options.members:
            run = runs[ghosts] = await stack.enter_async_context(rig(layout))
            if options.bare_only:
                await run.start_bare()
            else:
                await run.start_bridge(SQLITE)
            # Each of them says something, and is there from then on. As much is said in every room: it is the ghosts
            # that are compared, not the messages that were stored before.
            await run.irc.ask("say", channels=layout.channels, nicks=ghosts, count=options.members[-1])
            await run.matrix.wait(options.members[-1], PATIENCE)
            await _spoken(run, layout, SPEAKERS * 20)  # warms what was set up
        for turn in range(ROUNDS):
            order = list(runs.items())
            for ghosts, run in order[turn % len(order) :] + order[: turn % len(order)]:
                used[ghosts] += await _spoken(run, layout, count)
    result: Result = {
        f"cpu_ms_per_msg_{ghosts}_ghosts": seconds * 1000 / (count * ROUNDS) for ghosts, seconds in used.items()
    }
    few, many = used[options.members[0]], used[options.members[-1]]
    return result | {"members_ratio": many / few if few else 0.0}


async def _spoken(run: Rig, layout: Layout, count: int) -> float:
    """CPU seconds of so many messages."""
    before = await settled(run.pid)
    await run.matrix.ask("reset")
    await run.irc.ask("say", channels=layout.channels, nicks=SPEAKERS, count=count, wait=False)
    await run.matrix.wait(count, 600)
    return await settled(run.pid) - before


async def sync(options: Options) -> Result:
    """Mirror one chat with many members, lazily and eagerly, as fast as the bridge does it."""
    result: Result = {"members": options.synced}
    for shown in ("lazy", "eager"):
        layout = Layout(names(1))
        async with rig(layout, irc_members=options.synced, shown=shown) as run:
            started = time.monotonic()
            await run.start_bridge(SQLITE)
            if shown == "eager":
                await _filled(run, layout, options.synced)
            took = time.monotonic() - started
            used = await settled(run.pid)
            stats = await run.matrix.ask("stats")
            requests = sum(stats["requests"].values())
            result |= {f"{shown}_s": took, f"{shown}_requests": requests, f"{shown}_cpu_s": used}
            result[f"{shown}_ghosts"] = await _joined(run, layout) - 1  # the bot
    return result


async def _joined(run: Rig, layout: Layout) -> int:
    found: int = (await run.matrix.ask("joined", room=run.rooms[layout.channels[0]]))["joined"]
    return found


async def _filled(run: Rig, layout: Layout, members: int) -> None:
    """Wait until everybody and the bot are in the room."""
    deadline = time.monotonic() + PATIENCE
    while (joined := await _joined(run, layout)) < members + 1:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"only {joined} of {members} are in the room after {PATIENCE:g} s")
        await asyncio.sleep(0.1)
