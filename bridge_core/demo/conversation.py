"""Holds one network's conversation: runs the steps of its script, and judges them by what was seen."""

import asyncio
import time
from collections.abc import Callable, Iterable

import aiohttp

from bridge_core.api.demo import DemoError, NetworkDemo, Scene, Step
from bridge_core.demo.matrix_client import MatrixError
from bridge_core.demo.report import NetworkReport, StepReport

__all__ = ["hold", "play", "run_step"]

STEP_LIMIT = 25.0
"""Seconds after which a step has failed, whatever its script waits for."""

_EXPECTED = (DemoError, AssertionError, OSError, TimeoutError, MatrixError, aiohttp.ClientError)


async def run_step(step: Step, limit: float = STEP_LIMIT) -> StepReport:
    """Run one step; what it raises becomes the reason of its report."""
    began = time.monotonic()

    def took() -> float:
        return (time.monotonic() - began) * 1000

    bound = asyncio.timeout(limit)
    try:
        async with bound:
            crossing = await step.act()
    except _EXPECTED as error:
        words = f"nothing was seen within {limit:g} s" if bound.expired() else str(error) or type(error).__name__
        return StepReport(step.name, step.way, took(), reason=words)
    return StepReport(step.name, step.way, took(), crossing)


async def hold(
    demo: NetworkDemo,
    scene: Scene,
    report: NetworkReport,
    trouble: Callable[[], str | None],
    tell: Callable[[StepReport], None],
) -> None:
    """Run the whole script into `report`. Ends early when `trouble` says that a process has ended.

    Steps that were not tried then are failed ones, with that reason.
    """
    await play(demo.script(scene), report, trouble, tell)


async def play(
    steps: Iterable[Step], report: NetworkReport, trouble: Callable[[], str | None], tell: Callable[[StepReport], None]
) -> None:
    """Run these steps into `report`, in the same way."""
    for step in steps:
        if report.error:
            done = StepReport(step.name, step.way, 0.0, reason="not tried")
        else:
            done = await run_step(step)
            if not done.ok:
                report.error = trouble() or ""
        report.steps.append(done)
        tell(done)
