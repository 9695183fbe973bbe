"""Bugs do not make a network deaf, and what is remembered is bounded."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bridge_core.api.content import Content, Plain
from bridge_core.api.events import RemoteEvent, RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, LoginId, RemoteUserId
from bridge_core.api.network import LoginStatus
from bridge_core.engine.clock import SystemClock
from bridges.irc.bans import Bans
from bridges.irc.joining import Joining
from bridges.irc.observer import Observer
from bridges.irc.pump import Pump
from bridges.irc.session import Session
from tests.bridges.irc.rig import FakeHost, FakeInbox, StartRig, StartServer, eventually

ANNA = "@anna:hs.test"


class Waiting(SystemClock):
    """Sleeps are noted and over at once; `ahead` seconds have passed."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.ahead = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead * 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Stumbling(FakeInbox):
    """Fails some times in a way that nobody expects."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    async def receive(
        self, events: Sequence[RemoteEvent], *, cursor: bytes | None = None, state: Mapping[str, bytes] | None = None
    ) -> Any:
        if self.left:
            self.left -= 1
            raise KeyError("a bug")
        return await super().receive(events, cursor=cursor, state=state)


async def test_a_bug_behind_the_inbox_costs_no_line() -> None:
    """The pump goes on after an unexpected error, with all it had and growing, bounded pauses."""
    inbox, clock = Stumbling(8), Waiting()
    pump = Pump(inbox, clock, lambda: None, lambda: None)
    task = asyncio.create_task(pump.run())
    for text in ("one", "two"):
        sender = RemoteSender(RemoteUserId("bob"), "Bob")
        pump.offer(RemoteMessage(ChatId("#a"), sender, Content((Plain(text),)), None, 1))
    await inbox.text("two")
    assert inbox.texts == ["one", "two"]
    assert clock.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def failing_once(method: Callable[..., Any]) -> Callable[..., Any]:
    """The coroutine function, whose first call fails in a way that nobody expects."""
    left = [None]

    async def run(*args: Any, **how: Any) -> Any:
        if left:
            left.pop()
            raise KeyError("a bug")
        return await method(*args, **how)

    return run


@pytest.mark.parametrize(("where", "owner"), [("_once", Observer), ("_join_due", Joining)])
async def test_a_bug_in_the_observer_is_not_its_end(
    where: str, owner: type, rig: StartRig, serve: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It connects and joins again and hears what is said."""
    server = await serve()
    monkeypatch.setattr(owner, where, failing_once(getattr(owner, where)))
    monkeypatch.setattr("bridges.irc.joining._JOINS_SENT", 0.05)
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    bob.privmsg("#a", "hello")
    await adapter.inbox.text("hello")


async def test_a_bug_in_a_puppet_is_not_its_end(
    rig: StartRig, serve: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reports that it is disconnected, and connects when it is needed next."""
    server = await serve()
    adapter = await rig(server.port)
    monkeypatch.setattr(Session, "open", failing_once(Session.open))
    anna = await adapter.make_puppet(ANNA)
    await anna.prepare(ChatId("#a"))
    state = await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    assert "its log" in state.reason
    await eventually(lambda: anna._connecting is not None and anna._connecting.done())
    await adapter.puppet(ANNA)


async def test_bans_that_are_over_leave_no_rows() -> None:
    """They are removed at the next ban and at the next start, and so is what cannot be read."""
    host, clock = FakeHost([]), Waiting()
    host.clock = clock
    bans = Bans(60.0)
    await bans.load(host)  # type: ignore[arg-type]
    await bans.ban(LoginId("@a:hs"), "spam" * 1000)
    assert len(bans.of(LoginId("@a:hs")) or "") == 500
    clock.ahead = 61
    assert bans.of(LoginId("@a:hs")) is None
    await bans.ban(LoginId("@b:hs"), "spam")
    assert list(host.kv.values) == ["banned/@b:hs"]
    host.kv.values["banned/@c:hs"] = b"damaged"
    clock.ahead = 122
    again = Bans(60.0)
    await again.load(host)  # type: ignore[arg-type]
    assert host.kv.values == {}
