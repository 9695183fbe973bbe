"""How fast connections speak together: an address and a network have limits of their own, and nobody starves."""

import asyncio
from collections import Counter

import pytest

from bridges.irc.config.lines import Lines
from bridges.irc.outlet import Outlet, Rank
from bridges.irc.sluice import Sluice, Sluices
from tests.bridges.irc.rig import StartRig, StartServer, eventually


class Crowd:
    """Outlets with wide limits of their own, and what each wrote, in order."""

    def __init__(self, count: int, *shared: Sluice) -> None:
        self.written: list[int] = []
        self.outlets = [Outlet(10_000, 1000, self._writes(number), shared) for number in range(count)]

    def _writes(self, number: int):  # type: ignore[no-untyped-def]
        return lambda data: self.written.append(number)

    def close(self) -> None:
        for outlet in self.outlets:
            outlet.close()


async def refill(sluice: Sluice, tokens: float) -> None:
    """Lets tokens come, as time would."""
    sluice._left = tokens
    sluice._serve()
    await asyncio.sleep(0)


async def test_connections_together_keep_the_limit() -> None:
    """What is there goes at once; then one line a token, and each connection in turn, however much one has to say."""
    sluice = Sluice(0.001, 4)
    crowd = Crowd(3, sluice)
    for _ in range(10):
        crowd.outlets[0].later(Rank.MESSAGE, b"x")
    crowd.outlets[1].later(Rank.MESSAGE, b"x")
    crowd.outlets[2].later(Rank.COMMAND, b"x")
    assert crowd.written == [0] * 4
    for _ in range(3):
        await refill(sluice, 1.0)
    assert Counter(crowd.written[4:]) == {0: 1, 1: 1, 2: 1}, "the first lines of all are older than its later ones"
    await refill(sluice, 2.0)
    assert crowd.written[7:] == [0, 0]
    crowd.close()


async def test_a_line_needs_a_token_of_each() -> None:
    """With a limit of the address and one of the network a line waits for both, and takes from both once."""
    address, network = Sluice(0.001, 2), Sluice(0.001, 2)
    crowd = Crowd(1, address, network)
    for _ in range(5):
        crowd.outlets[0].later(Rank.MESSAGE, b"x")
    assert len(crowd.written) == 2
    await refill(address, 2.0)
    assert len(crowd.written) == 2
    await refill(network, 1.0)
    assert len(crowd.written) == 3
    await refill(network, 2.0)
    assert len(crowd.written) == 4
    await refill(address, 1.0)
    assert len(crowd.written) == 5
    assert not address.free
    assert not network.free
    assert len(address) == len(network) == 0
    crowd.close()


async def test_who_is_gone_takes_nothing() -> None:
    """A connection that ends while it waits leaves its turn to the next one."""
    sluice = Sluice(0.001, 1)
    crowd = Crowd(2, sluice)
    crowd.outlets[0].spend()
    waiting = asyncio.ensure_future(crowd.outlets[0].take(Rank.MESSAGE))
    await asyncio.sleep(0)
    crowd.outlets[1].later(Rank.MESSAGE, b"x")
    crowd.outlets[0].close()
    await waiting
    await refill(sluice, 1.0)
    assert crowd.written == [1]
    crowd.close()


async def test_what_is_sent_at_once_counts_for_all() -> None:
    """A PONG of one connection is a line that the others wait for."""
    sluice = Sluice(0.001, 3)
    crowd = Crowd(2, sluice)
    crowd.outlets[0].spend(3)
    assert not crowd.outlets[1].free()


async def test_addresses_are_told_apart_and_forgotten() -> None:
    """Each address of ours has a limit of its own, as long as a connection comes from there; the network has one."""
    sluices = Sluices(Lines(address_rate=1, network_rate=1))
    one, other = sluices.of("192.0.2.1"), sluices.of("192.0.2.2")
    assert sluices.of("192.0.2.1") == one
    assert one[0] is not other[0]
    assert one[1] is other[1]
    del one
    assert len(sluices._addresses) == 1
    assert Sluices(Lines(address_rate=0, network_rate=0)).of("") == ()


@pytest.mark.parametrize("limit", ["address", "network"])
async def test_users_of_one_bridge_speak_at_the_networks_pace(rig: StartRig, serve: StartServer, limit: str) -> None:
    """Five users say three lines each: no more go than all of them together may, and in the end all have gone."""
    server = await serve()
    lines = {"network_rate": 0, f"{limit}_rate": 0.001, f"{limit}_burst": 60}
    adapter = await rig(server.port, rate=1000, burst=1000, lines=lines)
    users = [await adapter.puppet(f"@u{number}:hs.test") for number in range(5)]
    (sluice,) = adapter.connector._state.sluices.of("")
    sluice._left = 4.0
    sends = [asyncio.create_task(adapter.say(user, f"line {n}")) for n in range(3) for user in users]
    await eventually(lambda: len(sluice) == 5 or all(send.done() for send in sends))
    assert len(sluice) == 5, "each of them waits, and nobody's further lines do"
    sluice._left, sluice._rate = 1000.0, 1000.0
    sluice._serve()
    await asyncio.gather(*sends)
