"""How a conversation's steps are run and judged."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from bridge_core.api.demo import Crossing, DemoError, NetworkDemo, Place, Scene, Step, Way
from bridge_core.demo.conversation import hold, run_step
from bridge_core.demo.report import NetworkReport


async def _crosses() -> Crossing:
    return Crossing("hi", "<a> hi")


async def _fails() -> Crossing:
    raise DemoError("IRC did not see it")


async def _hangs() -> Crossing:
    await asyncio.Event().wait()
    raise AssertionError("never")


def _step(act: Callable[[], Awaitable[Crossing]], name: str = "plain") -> Step:
    return Step(name, Way.TO_NETWORK, act)


class _Scripted:
    """A network's demo that is only a script."""

    portal_chat = "#x"
    in_encrypted_rooms = False
    server = "x 1"

    def __init__(self, *steps: Step) -> None:
        self._steps = steps

    async def start(self, place: Place) -> None: ...

    def config(self) -> Mapping[str, Any]:
        return {"type": "x"}

    def script(self, scene: Scene) -> Sequence[Step]:
        return self._steps

    def where(self) -> list[str]:
        return []

    async def stop(self) -> None: ...


async def _held(*steps: Step, trouble: str | None = None) -> NetworkReport:
    demo: NetworkDemo = _Scripted(*steps)
    report = NetworkReport("x", "x 1")
    told: list[str] = []
    await hold(demo, cast(Scene, None), report, lambda: trouble, lambda step: told.append(step.name))
    assert told == [step.name for step in steps]
    return report


async def test_step_that_crosses() -> None:
    """A step that returns is good, with what was said and seen."""
    done = await run_step(_step(_crosses))
    assert (done.ok, done.crossing) == (True, Crossing("hi", "<a> hi"))


async def test_step_that_fails() -> None:
    """A step that raises is bad, with its words as the reason."""
    done = await run_step(_step(_fails))
    assert (done.ok, done.reason) == (False, "IRC did not see it")


async def test_step_that_hangs() -> None:
    """A step that never ends is ended, and says after how long."""
    done = await run_step(_step(_hangs), limit=0.01)
    assert (done.ok, done.reason) == (False, "nothing was seen within 0.01 s")


async def test_later_steps_are_tried_after_a_failure() -> None:
    """A failed step does not keep the others from being tried."""
    report = await _held(_step(_fails, "one"), _step(_crosses, "two"))
    assert [step.ok for step in report.steps] == [False, True]
    assert report.error == ""


async def test_nothing_is_tried_once_a_process_has_ended() -> None:
    """When a process has ended, the network's error says so and the remaining steps fail untried."""

    async def must_not_run() -> Crossing:
        raise AssertionError("was tried")

    report = await _held(_step(_fails, "one"), _step(must_not_run, "two"), trouble="the server has ended")
    assert report.error == "the server has ended"
    assert [step.reason for step in report.steps] == ["IRC did not see it", "not tried"]
