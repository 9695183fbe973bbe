"""Tasks: owned, ended, and their failures told once."""

import asyncio

import pytest
from structlog.testing import capture_logs

from bridge_core.observe import TaskOwner


class Turned:
    """Time passes while somebody sleeps, and when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


async def _forever() -> None:
    await asyncio.Event().wait()


async def test_results_reach_who_awaits() -> None:
    """A spawned task can be awaited, and is forgotten once it ended."""
    owner = TaskOwner("x")

    async def five() -> int:
        return 5

    assert await owner.spawn(five(), "five") == 5
    await asyncio.sleep(0)
    assert len(owner) == 0


async def test_an_unexpected_failure_is_logged_once_and_handed_on() -> None:
    """One `task_failed` line with the task's name, and one call of on_failure."""
    seen: list[str] = []
    failed = asyncio.Event()

    def on_failure(name: str, error: BaseException) -> None:
        seen.append(f"{name}: {error}")
        failed.set()

    async def fail() -> None:
        raise ValueError("boo")

    with capture_logs() as logs:
        owner = TaskOwner("lanes", on_failure)
        owner.start(fail(), "one")
        await asyncio.wait_for(failed.wait(), 60)
        await owner.close(asyncio.get_running_loop().time() + 1)

    assert seen == ["lanes/one: boo"]
    assert [(log["event"], log["task"]) for log in logs] == [("task_failed", "lanes/one")]


async def test_close_ends_all_and_refuses_more() -> None:
    """After close nothing runs, nothing can be started, cancellation is no failure, and twice is harmless."""
    with capture_logs() as logs:
        owner = TaskOwner("x")
        tasks = [owner.spawn(_forever(), str(number)) for number in range(3)]
        deadline = asyncio.get_running_loop().time() + 5
        await owner.close(deadline)
        await owner.close(deadline)
        with pytest.raises(RuntimeError, match="closed"):
            owner.start(_forever(), "late")

    assert all(task.cancelled() for task in tasks)
    assert logs == []


async def test_close_gives_grace() -> None:
    """A task that ends within the grace is not cancelled."""
    owner = TaskOwner("x")
    go = asyncio.Event()

    async def finish() -> str:
        await go.wait()
        return "done"

    task = owner.spawn(finish(), "finish")
    asyncio.get_running_loop().call_soon(go.set)
    await owner.close(asyncio.get_running_loop().time() + 5, grace=5)

    assert task.result() == "done"


async def test_a_stuck_task_does_not_hold_up_the_stop() -> None:
    """A task that ignores its cancellation is named, and close returns at the deadline."""
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    with capture_logs() as logs:
        owner = TaskOwner("x")
        task = owner.spawn(stubborn(), "stubborn")
        await asyncio.sleep(0)
        await owner.close(asyncio.get_running_loop().time())
        assert owner.names == ["x/stubborn"]

    assert [(log["event"], log["task"]) for log in logs] == [("task_stuck", "x/stubborn")]
    release.set()
    await task


async def test_an_owner_can_be_closed_by_its_own_task() -> None:
    """The closing task itself is not cancelled."""
    owner = TaskOwner("x")
    other = owner.spawn(_forever(), "other")

    async def closer() -> str:
        await owner.close(asyncio.get_running_loop().time() + 5)
        return "closed"

    assert await owner.spawn(closer(), "closer") == "closed"
    assert other.cancelled()


async def test_join_waits_for_the_natural_end() -> None:
    """Join tells whether all tasks ended by themselves in time."""
    owner = TaskOwner("x")
    task = owner.spawn(_forever(), "forever")

    assert not await owner.join(0)
    task.cancel()
    assert await owner.join(5)


async def test_what_is_kept_goes_on_after_any_exception() -> None:
    """It waits longer each time, one kind is logged once an hour, and it is named until it has run for a while."""
    clock, tries, up = Turned(), 0, asyncio.Event()

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries <= 12:
            raise KeyError("secret words") if tries == 3 else ValueError("secret words")
        up.set()
        await asyncio.Event().wait()

    seen: list[str] = []
    owner = TaskOwner("x", lambda name, error: seen.append(name))
    with capture_logs() as logs:
        task = owner.keep(work, "crypto-a", clock)
        await asyncio.wait_for(up.wait(), 60)
    assert clock.slept == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert [type(log["exc_info"]).__name__ for log in logs if log["event"] == "task_fails"] == [
        "ValueError",
        "KeyError",
    ]
    assert seen == ["x/crypto-a"] * 12

    assert owner.failing == {"crypto-a": "it fails (ValueError), see task_fails in the log"}
    clock.now += 59
    assert owner.failing
    clock.now += 1
    assert not owner.failing
    await owner.close(asyncio.get_running_loop().time() + 5)
    assert task.cancelled()


async def test_what_is_done_each_hour_fails_until_it_was_done() -> None:
    """Its own time passes before each round; one that failed is tried again much sooner, and named all the while."""
    clock, rounds, states, done = Turned(), 0, [], asyncio.Event()

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        states.append(bool(owner.failing))
        if rounds in (2, 3):
            raise ValueError("no")
        if rounds == 5:
            done.set()
            await asyncio.Event().wait()

    owner = TaskOwner("x")
    owner.keep(work, "sweep", clock, every=3600)
    await asyncio.wait_for(done.wait(), 60)
    assert clock.slept == [3600, 3600, 1, 2, 3600]
    assert states == [False, False, True, True, False]
    await owner.close(asyncio.get_running_loop().time() + 5)


async def test_the_same_failure_is_logged_again_after_an_hour() -> None:
    """A bug that goes on for days stays in the log, at one line an hour."""
    clock, tries, done = Turned(), 0, asyncio.Event()

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries > 30:
            done.set()
            await asyncio.Event().wait()
        raise ValueError("no")

    owner = TaskOwner("x")
    with capture_logs() as logs:
        owner.keep(work, "a", clock)
        await asyncio.wait_for(done.wait(), 60)
    hours = clock.now // 3600
    assert hours <= len([log for log in logs if log["event"] == "task_fails"]) <= hours + 1
    await owner.close(asyncio.get_running_loop().time() + 5)
