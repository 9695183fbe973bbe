"""How fast a connection speaks and what goes first; no server cuts us off for it."""

import asyncio
from collections import defaultdict

import pytest

from bridge_core.api.ids import ChatId
from bridges.irc import outlet as outlets
from bridges.irc.demo.options import Verdict
from bridges.irc.outlet import Outlet, Rank, join_cost, rank_of
from tests.bridges.irc.rig import FakeAttempt, StartRig, StartServer, eventually


class Slow:
    """An outlet that is empty, what it wrote, and a way to let tokens come."""

    def __init__(self, rate: float = 0.001, burst: float = 1) -> None:
        self.written: list[bytes] = []
        self.outlet = Outlet(rate, burst, self.written.append)
        self.outlet.spend(burst)

    def refill(self, tokens: float) -> None:
        self.outlet._left = tokens
        self.outlet._serve()


async def test_lines_wait_by_rank() -> None:
    """Commands go before messages, those before notices, and answers to CTCP last; among equals the first one."""
    slow = Slow()
    for rank in reversed(Rank):
        for number in range(2):
            assert slow.outlet.later(rank, f"{rank.name}{number}".encode())
    assert slow.written == []
    for _ in range(8):
        slow.refill(1.0)
    assert slow.written == [f"{rank.name}{number}".encode() for rank in Rank for number in range(2)]
    slow.outlet.close()


async def test_nothing_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice that has waited for some seconds goes before messages that came later."""
    monkeypatch.setattr(outlets, "_STEP", 0.01)
    slow = Slow()
    slow.outlet.later(Rank.NOTICE, b"old notice")
    await asyncio.sleep(0.05)
    slow.outlet.later(Rank.MESSAGE, b"new message")
    slow.refill(1.0)
    assert slow.written == [b"old notice"]
    slow.outlet.close()


async def test_what_is_sent_at_once_is_paid_later() -> None:
    """A PONG waits for nothing, and the next line for it."""
    slow = Slow(rate=1000, burst=5)
    slow.refill(5.0)
    slow.outlet.spend(6)
    assert not slow.outlet.free()
    await slow.outlet.take(Rank.MESSAGE)
    assert slow.outlet.spent == 5 + 6 + 1


async def test_lines_of_the_bridge_are_bounded() -> None:
    """Beyond a limit they are refused, and those that wait for their turn are let go when the connection ends."""
    slow = Slow()
    for _ in range(outlets.WAITING_AT_MOST):
        assert slow.outlet.later(Rank.COURTESY, b"x")
    assert not slow.outlet.later(Rank.COMMAND, b"x")
    turn = asyncio.ensure_future(slow.outlet.take(Rank.MESSAGE))
    await asyncio.sleep(0)
    slow.outlet.close()
    await turn
    assert slow.written == []


async def test_who_gives_up_takes_no_tokens() -> None:
    """A cancelled sender's turn goes to the next one."""
    slow = Slow()
    turn = asyncio.ensure_future(slow.outlet.take(Rank.COMMAND))
    await asyncio.sleep(0)
    turn.cancel()
    slow.outlet.later(Rank.NOTICE, b"next")
    await asyncio.sleep(0)
    slow.refill(1.0)
    assert slow.written == [b"next"]
    slow.outlet.close()


def test_ranks() -> None:
    """What people say comes after what has to be done, and a JOIN of many channels costs more than a line."""
    assert rank_of("JOIN") < rank_of("PRIVMSG") < rank_of("NOTICE") < Rank.COURTESY
    assert join_cost(1) == 1
    assert join_cost(41) == 11


@pytest.mark.parametrize("join_targets", [1, 4, None])
async def test_forty_channels_are_no_flood(rig: StartRig, serve: StartServer, join_targets: int | None) -> None:
    """Joining forty channels and answering everybody keeps within a server's allowance of lines, for bot and users."""
    server = await serve(join_targets=join_targets)
    spent: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    flooded: list[str] = []

    def allowance(nick: str, command: str, params: list[str]) -> Verdict:
        """As InspIRCd counts: ten lines at once, then so many a second."""
        now = asyncio.get_running_loop().time()
        level, at = spent[nick]
        level = max(0.0, level - (now - at) * 20.0) + 1
        spent[nick] = level, now
        if nick in ("relay", "anna") and level > 10:
            flooded.append(f"{nick} {command}")
        return Verdict.PASS

    server.faults.on_line = allowance
    chats = [f"#c{number}" for number in range(40)]
    adapter = await rig(server.port, *chats, rate=20, burst=5)
    bob = await adapter.witness("Bob", *chats[:3])
    anna = await adapter.make_puppet("@anna:hs.test")
    for chat in chats:
        await anna.prepare(ChatId(chat))
    for _ in range(20):
        bob.privmsg("relay", "\x01PING x\x01")
    await eventually(lambda: all(anna.ready(ChatId(chat)) for chat in chats), 60)
    for number in range(15):
        await anna.send(adapter.message(f"line {number}", "#c1"), FakeAttempt())
    await bob.wait_text("line 14")
    assert flooded == []


async def test_messages_do_not_wait_for_answers_to_strangers(rig: StartRig, serve: StartServer) -> None:
    """A heap of CTCP answers does not hold up what a user says, and order within a user is kept."""
    server = await serve()
    adapter = await rig(server.port, rate=20, burst=2)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet("@anna:hs.test")
    assert anna._session is not None
    for number in range(30):
        anna._session.tell("NOTICE", "Bob", f"answer {number}")
    for number in range(5):
        await anna.send(adapter.message(f"line {number}"), FakeAttempt())
    await bob.wait_text("answer 29", "Bob")
    texts = [line.params[-1] for line in bob.lines if line.command in ("PRIVMSG", "NOTICE")]
    said = [text for text in texts if text.startswith("line")]
    assert said == [f"line {number}" for number in range(5)]
    assert texts.index("line 4") < texts.index("answer 20")
