"""Any sequence of messages, members who come and go, restarts and crashes: who may read reads, and nobody else."""

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_core.crypto.errors import MissingKeyError
from bridge_core.crypto.olm import message_index
from bridge_core.crypto.ports import Owner
from tests.unit.crypto.memory import Killed
from tests.unit.crypto.world import Bridge, KeyWorld

NAMES = ("a", "b", "c")
bridges = st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("send"), bridges),
    st.tuples(st.just("send"), bridges),
    st.tuples(st.just("send"), bridges),
    st.tuples(st.just("toggle"), bridges),
    st.tuples(st.just("hear"), bridges),
    st.tuples(st.just("restart"), bridges),
    st.tuples(st.just("die"), bridges),
    st.tuples(st.just("lose_keys"), bridges),
    st.tuples(st.just("later"), bridges),
)


class Walk:
    """Three bridges in one room; what was said, and who was there."""

    def __init__(self) -> None:
        self.world = KeyWorld()
        self.bridges = {name: Bridge(self.world, name) for name in NAMES}
        self.there = {"a", "b"}
        self.said: list[tuple[dict[str, Any], str, frozenset[str]]] = []

    def members(self) -> list[Owner]:
        return [self.bridges[name].bot for name in sorted(self.there)]

    async def start(self) -> None:
        for bridge in self.bridges.values():
            await bridge.start()
            await bridge.join("bot")
            await bridge.encrypted_room()

    async def step(self, what: str, name: str, number: int) -> None:
        bridge = self.bridges[name]
        if what == "send" and name in self.there:
            text = f"{name}{number}"
            for _ in range(2):
                try:
                    event = await bridge.send(bridge.bot, text, self.members())
                    self.said.append((event, text, frozenset(self.there)))
                    break
                except Killed:
                    await bridge.restart()
        elif what == "toggle":
            self.there ^= {name}
        elif what == "hear":
            await self.hear(bridge)
        elif what == "restart":
            with contextlib.suppress(Killed):
                await bridge.machine.stop()
            await bridge.restart()
        elif what == "die":
            bridge.die_at(1 + number % 3, "after" if number % 2 else "before")
        elif what == "lose_keys":
            self.world.one_time[bridge.bot].clear()
        elif what == "later":
            for each in self.bridges.values():
                each.clock.ms += 3_600_000

    async def hear(self, bridge: Bridge) -> None:
        try:
            await bridge.hear()
        except Killed:
            await bridge.restart()
            await bridge.settle()

    async def end(self) -> None:
        for bridge in self.bridges.values():
            await bridge.restart()
        for _ in range(3):
            for bridge in self.bridges.values():
                await bridge.hear()
        used = [(one["content"]["session_id"], message_index(one["content"]["ciphertext"])) for one, _, _ in self.said]
        assert len(set(used)) == len(used)
        for event, text, there in self.said:
            for name, bridge in self.bridges.items():
                if name in there:
                    assert await bridge.read(event) == text
                else:
                    with pytest.raises(MissingKeyError):
                        await bridge.read(event)
        for bridge in self.bridges.values():
            await bridge.kill()


@given(st.lists(steps, min_size=4, max_size=16))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_who_may_read_reads(walk: Sequence[tuple[str, str]]) -> None:
    """Each message is read by exactly those who were there, and no index is used twice, whatever happens between."""
    found = Walk()
    await found.start()
    for number, (what, name) in enumerate(walk):
        await found.step(what, name, number)
    await found.end()
