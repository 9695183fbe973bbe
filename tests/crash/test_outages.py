"""The homeserver or the IRC server dies or is away, alone or together with the bridge, with messages on their way."""

import asyncio

import pytest

from tests.crash.bench import Bench
from tests.crash.gates import every
from tests.crash.outages import kill_homeserver, restart_ircd, stop_homeserver
from tests.crash.report import Verdict
from tests.crash.rig import Rig

pytestmark = [pytest.mark.crash, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

SEND = r"PUT .*/send/"


async def test_the_homeserver_is_killed(bench: Bench) -> None:
    """SIGKILL of Synapse under load: everything crosses once; nothing said on IRC meanwhile is missing."""
    async with bench.rig(gate=True, faulty=True) as rig:
        await rig.start()
        load = rig.load("hskill")
        load.start()
        await asyncio.sleep(1)
        await kill_homeserver(rig, load)
        await rig.site.synapse.start()
        await load.stop()
        verdict = await rig.finish(load)
        assert not verdict.missing_on_matrix()


async def test_bridge_and_homeserver_are_killed_at_once(bench: Bench) -> None:
    """SIGKILL of both: what Synapse had taken and forgot in memory is not taken twice, thanks to the ghosts' device."""
    async with bench.rig(gate=True, faulty=True) as rig:
        await rig.start()
        load = rig.load("both")
        load.start()
        await asyncio.sleep(1)
        await kill_homeserver(rig, load, bridge=True)
        await rig.site.synapse.start()
        await rig.start()
        await load.stop()
        await rig.finish(load)


async def test_the_homeserver_acted_and_was_killed_before_its_answer(bench: Bench) -> None:
    """A send was carried out, its answer lost, and Synapse killed before the repetition: it is still there once."""
    async with bench.rig(gate=True, faulty=True) as rig:
        await rig.start()
        assert rig.proxy is not None
        load = rig.load("acted")
        load.start()
        rig.proxy.fault = every(1, SEND, "after")
        async with asyncio.timeout(60):
            while not rig.proxy.made.get("after"):
                await asyncio.sleep(0.005)
        await kill_homeserver(rig, load)
        assert rig.proxy.clear()["after"] >= 1
        await rig.site.synapse.start()
        await load.stop()
        await rig.finish(load)


async def test_the_homeserver_is_away_for_a_while(bench: Bench, long: bool) -> None:
    """Synapse stopped for 15 s (a minute in a long run): what is said on IRC waits, in order, and arrives once."""
    async with bench.rig(gate=True, faulty=True) as rig:
        await rig.start()
        load = rig.load("away", pause=0.5)
        load.start()
        await asyncio.sleep(0.5)
        await stop_homeserver(rig, load)
        await asyncio.sleep(60 if long else 15)
        await rig.site.synapse.start()
        await load.stop()
        await rig.finish(load, 120)


async def test_the_bridge_crashes_again_and_again_while_the_homeserver_is_away(bench: Bench) -> None:
    """What waits for the homeserver is not set aside as the cause of crashes that it has no part in."""
    async with bench.rig(gate=True, faulty=True) as rig:
        await rig.start()
        load = rig.load("again")
        await load.matrix.say()
        await kill_homeserver(rig, load)
        assert rig.irc is not None
        for _ in range(5):
            rig.irc.say()
        await _accepted(rig, 5)
        for _ in range(4):
            rig.kill()
            await rig.start_without_homeserver()
        await rig.site.synapse.start()
        verdict = await rig.finish(load)
        assert verdict.on_matrix[:5] == [1, 2, 3, 4, 5]


async def test_what_a_killed_homeserver_hands_over_crosses(bench: Bench) -> None:
    """Killed in the moment it accepts messages, Synapse may forget to hand some on: all that it does hand on cross.

    Synapse moves its place in the stream on before the transaction is stored (1.163, handlers/appservice.py), so an
    event of the last milliseconds is sometimes never sent to any appservice. What the bridge was given must cross.
    """
    async with bench.fresh(gate=True, faulty=True) as rig:
        await rig.warm_up()
        await rig.start()
        load = rig.load("moment")
        for _ in range(3):
            await load.matrix.say()
            rig.site.synapse.kill()
            await rig.site.synapse.start()
        await rig.settle(load, 15)
        try:
            async with asyncio.timeout(60):
                while not (verdict := await rig.look(load)).arrived() or _missing(verdict) & rig.given():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError("the last words, or what the bridge was given, did not cross") from None
        await rig.stop()
        missing, given = _missing(verdict), rig.given()
        assert {said.event for said in verdict.said_matrix} - missing <= given
        assert not verdict.doubled_on_network()
        for balance in rig.books().audit.balances.values():
            assert balance.holds
            assert balance.pending == balance.dead == 0


@pytest.mark.parametrize("unknown", ["report", "resend"])
async def test_the_irc_server_is_restarted(bench: Bench, unknown: str) -> None:
    """SIGKILL of the IRC server: what was on its way is reported or sent again, the rest waits; a gap is told."""
    async with bench.rig(gate=True, faulty=True, **({"unknown": unknown} if unknown != "report" else {})) as rig:
        await rig.start()
        load = rig.load("ircd")
        load.start()
        await asyncio.sleep(1)
        await restart_ircd(rig)
        await load.stop()
        await rig.finish(load)


async def test_the_irc_server_is_killed_together_with_the_bridge(bench: Bench) -> None:
    """SIGKILL of both ends of the IRC connection."""
    async with bench.rig(gate=True, faulty=True) as rig:
        await rig.start()
        load = rig.load("ends")
        load.start()
        await asyncio.sleep(1)
        rig.kill()
        await restart_ircd(rig, wait=False)
        await rig.start()
        await load.stop()
        await rig.finish(load)


@pytest.mark.parametrize(
    ("kinds", "count"), [(["429", "500"], 3), (["after"], 3), (["before", "after", "500", "429"], 2)], ids=str
)
async def test_the_homeserver_answers_badly(bench: Bench, kinds: list[str], count: int) -> None:
    """Sends answered 429, 500, or not at all though carried out: repeated verbatim, everything is there once."""
    async with bench.rig(gate=True, faulty=True) as rig:
        await rig.start()
        assert rig.proxy is not None
        rig.proxy.fault = every(count, SEND, *kinds)
        load = rig.load("bad")
        load.start()
        async with asyncio.timeout(60):
            while not all(rig.proxy.made.get(kind) for kind in kinds):
                await asyncio.sleep(0.05)
        await load.stop()
        rig.proxy.clear()
        await rig.finish(load)


async def test_rooms_and_ghosts_are_made_once_whatever_the_homeserver_answers(bench: Bench) -> None:
    """createRoom, register, device, join and profile answered badly at first: one room, one ghost, all messages."""
    async with bench.fresh(gate=True, faulty=True) as rig:
        assert rig.proxy is not None
        rig.proxy.fault = every(2, r"createRoom|/register|/join|/devices/|/displayname|/state/", "after", "500", "429")
        await rig.start()
        await rig.enter_when_made(60)
        load = rig.load("new")
        load.start()
        await asyncio.sleep(2)
        await load.stop()
        assert rig.proxy.clear()
        await rig.finish(load)


def _missing(verdict: Verdict) -> set[str]:
    """Events that did not cross, and of which nobody was told."""
    return {said.event for said in verdict.said_matrix if said.number in verdict.lost_to_network()}


async def _accepted(rig: Rig, count: int) -> None:
    """Waits until the journal holds that many entries from IRC that wait."""
    async with asyncio.timeout(60):
        while rig.waiting_for_matrix() < count:
            await asyncio.sleep(0.05)
