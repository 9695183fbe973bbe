"""Who leaves while a message waits for its turn: they are given no key that was made after that."""

import asyncio

import orjson

from bridge_core.engine.matrix_ports import SendRequest
from tests.unit.crypto.world import ROOM, Bridge

Pair = tuple[Bridge, Bridge]


async def test_who_leaves_while_a_message_waits_for_its_turn(pair: Pair) -> None:
    """The new session of a message that was to be read by them too is not theirs."""
    a, b = pair
    (carl,) = await b.join("carl")
    await a.send(a.bot, "1", [b.bot, carl])
    a.clock.ms += 8 * 86_400_000  # the next message has a new session
    del a.world.sent[:]
    there = frozenset([b.bot.user, carl.user])
    out = a.machine._outbounds._held.peek((a.bot, ROOM))
    assert out is not None
    request = SendRequest(ROOM, "m.room.message", "t", a.bot.user, a.bot.device, orjson.dumps({"body": "2"}))
    async with out.lock:
        sending = asyncio.ensure_future(a.machine.encrypt(request, there, lambda them: them & there))
        while not out.lock._waiters:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        there = frozenset([b.bot.user])
    await sending
    assert {user for kind, user, _, _ in a.world.sent if kind == "m.room.encrypted"} == {b.bot.user}
