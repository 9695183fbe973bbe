"""Servers that go away and come back between a real Synapse and real IRC servers: nothing is lost, nothing doubled."""

import contextlib
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.demo.matrix_client import MatrixClient
from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess, http_answers
from bridges.irc.demo.witness import Witness
from tests.crash.gates import Gate
from tests.harness import write_config
from tests.real import BOT, TOKENS, Ground, Ircd, Place, Town, alias, irc
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

pytestmark = pytest.mark.server

STOP = 6
"""Seconds that a stop may take, as configured."""


@pytest_asyncio.fixture(params=["ng", "insp"])
async def gated(
    request: pytest.FixtureRequest, ground: Ground, folder: Path, tmp_path: Path
) -> AsyncIterator[tuple[Town, Gate, Ircd]]:
    """A bridge, and a gate between it and an IRC server that a test may restart."""
    name: str = request.param
    server: Ircd = NgIRCd(folder / "ircd") if name == "ng" else InspIRCd(folder / "ircd")
    await server.start()
    gate = Gate(server.tls_port if name == "ng" else server.port)
    await gate.open()
    settings: dict[str, Any] = {"tls": name == "ng", "port": gate.port}
    try:
        async with Town(ground, tmp_path, {name: (server, settings)}) as town:
            yield town, gate, server
    finally:
        await gate.shut()
        server.kill()


async def bodies(client: MatrixClient, room: str, sender: str = "") -> list[str]:
    """Texts of a room as the homeserver tells them now, of one sender or of all but the bot."""
    return [
        event["content"]["body"]
        for event in await client.messages(room)
        if event["type"] == "m.room.message" and (event["sender"] == sender if sender else event["sender"] != BOT)
    ]


def heard(witness: Witness, channel: str, mark: int = 0) -> list[str]:
    """What was said in a channel, without the name that the relay puts in front."""
    return [re.sub(r"^<[^>]*> ", "", line.text) for line in witness.messages(channel, mark)]


def unanswered(ground: Ground) -> int:
    """How many transactions Synapse holds; those over its stop would keep its numbers going."""
    with contextlib.closing(sqlite3.connect(f"file:{ground.synapse.directory}/homeserver.db?mode=rw", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM application_services_txns").fetchone()
        return int(count)


async def kill_owing_nothing(town: Town, ground: Ground) -> None:
    """SIGKILL of Synapse in a moment in which no transaction is unanswered; tried until it is such a moment."""
    while True:
        await town.harness.until(lambda: unanswered(ground) == 0)
        ground.synapse.kill()
        if unanswered(ground) == 0:
            return
        await ground.synapse.start()


async def test_an_irc_server_comes_back(gated: tuple[Town, Gate, Ircd]) -> None:
    """After its restart channels are joined again and told of the gap; what Matrix said meanwhile comes in order."""
    town, gate, server = gated
    network = next(iter(town.servers))
    place = await town.place(network)
    await town.puppet(place, town.alice)
    server.kill()
    await gate.shut()
    await town.harness.until(lambda: town.harness.running.health.ready())
    said = [f"while it was away {number}" for number in range(8)]
    for body in said:
        await town.alice.send_text(place.room, body)
    await town.harness.until(lambda: town.harness.running.engine.to_network.busy())
    await server.start()
    witness = await town.witness(network)
    await witness.join(place.channel)
    await gate.open()
    await witness.wait_text(said[-1], place.channel)
    assert heard(witness, place.channel) == said
    await town.notice(town.alice, place.room, "may be missing here")
    await town.puppet(Place(network, place.channel, place.room, witness), town.alice)
    witness.privmsg(place.channel, "back again")
    await town.alice.wait_for_message(place.room, "back again")
    await town.harness.settled()
    notices = [event for event in town.alice.timeline(place.room) if event["sender"] == BOT]
    assert [n["content"]["body"][:16] for n in notices if n["type"] == "m.room.message"] == ["Messages between"]
    audit = await town.harness.running.journal.audit()
    assert audit.holds


async def test_a_lost_connection_of_a_user_comes_back(
    ground: Ground, servers: tuple[InspIRCd, NgIRCd], tmp_path: Path
) -> None:
    """When the network ends a user's connection, the next message is heard all the same, and then they are back.

    That is so where a KILL is not taken for the network's wish to be rid of the user.
    """
    async with Town(ground, tmp_path, {"ng": (servers[1], {"connects": {"kill_pause": 0}})}) as town:
        place = await town.place("ng")
        nick = await town.puppet(place, town.alice)
        operator = await town.witness("ng", f"op{next(ground.numbers)}")
        operator.raw("OPER op oppw")
        await operator.wait_for(lambda line: line.command == "381")
        operator.raw(f"KILL {nick} :begone")
        await place.witness.wait_for(lambda line: line.command == "QUIT" and line.nick == nick)
        mark = place.witness.mark()
        await town.alice.send_text(place.room, "still here")
        await place.witness.wait_text("still here", place.channel)
        assert await town.puppet(place, town.alice) == nick
        await town.alice.send_text(place.room, "as myself")
        line = await place.witness.wait_text("as myself", place.channel)
        assert line.nick == nick
        assert heard(place.witness, place.channel, mark).count("still here") == 1


async def test_a_restarted_synapse_numbers_transactions_anew(
    ground: Ground, servers: tuple[InspIRCd, NgIRCd], tmp_path: Path
) -> None:
    """Transaction ids that come a second time hide nothing; a transaction whose answer was lost doubles nothing."""
    await ground.synapse.restart()
    async with Town(ground, tmp_path, {"ng": (servers[1], {})}) as town:
        place = await town.place("ng")
        intake = town.harness.running.engine.intake
        accept, ids, losses, seen = intake.accept, list[int](), list[int](), set[str]()

        async def recorded(txn: Any) -> None:
            ids.append(int(txn.id))
            await accept(txn)
            seen.update(event["event_id"] for event in txn.events)
            if any(event["content"].get("body") == "lost answer" for event in txn.events):
                losses.append(ids[-1])
                if len(losses) == 1:
                    raise ConnectionResetError("the answer does not reach the homeserver")

        intake.accept = recorded  # type: ignore[method-assign]
        early = [f"early {number}" for number in range(4)]
        for body in early:
            await town.alice.send_text(place.room, body)
        await place.witness.wait_text(early[-1], place.channel)
        known = len(ids)
        place.witness.privmsg(place.channel, "said before")
        before = await town.alice.wait_for_message(place.room, "said before")
        await town.harness.until(lambda: before["event_id"] in seen)
        await kill_owing_nothing(town, ground)
        place.witness.privmsg(place.channel, "said while Synapse is away")
        await ground.synapse.start()
        late = ["lost answer", *(f"late {number}" for number in range(4))]
        for body in late:
            await town.alice.send_text(place.room, body)
        await place.witness.wait_text(late[-1], place.channel)
        place.witness.privmsg(place.channel, "said after")
        await town.alice.wait_for_message(place.room, "said after")
        await town.harness.settled()
        assert heard(place.witness, place.channel) == early + late
        others = [body for body in await bodies(town.alice, place.room) if body.startswith("said")]
        assert others == ["said before", "said while Synapse is away", "said after"]
        # This bridge has been there from number 1 on, so lower numbers than before have come a second time.
        assert min(ids[known:]) < min(ids[:known]), "Synapse did not start its numbers anew: this test shows nothing"
        assert losses == [losses[0]] * 2, "the transaction did not come again"


async def test_a_stop_with_full_lanes_is_in_time_and_loses_nothing(
    ground: Ground, servers: tuple[InspIRCd, NgIRCd], tmp_path: Path
) -> None:
    """SIGTERM while messages wait for a slow network: status 0 in time, and the next run says the rest, in order."""
    number, health = next(ground.numbers), free_port()
    channel, server = f"#slow{number}", servers[1]

    def configure(**settings: Any) -> None:
        network = irc(server, puppets=False, **settings) | {"portals": [channel]}
        write_config(
            tmp_path,
            ground.synapse.url,
            {"ng": network},
            port=ground.port,
            tokens=TOKENS,
            health={"listen": f"127.0.0.1:{health}"},
            limits={"stop_deadline": STOP},
        )

    async def ready() -> bool:
        return await http_answers(f"http://127.0.0.1:{health}/health/ready")

    configure(rate=0.5, burst=5)
    child = ChildProcess(
        [sys.executable, "-m", "bridge_core.cli.main", "run", "-c", str(tmp_path / "config.yaml")],
        log=tmp_path / "bridge.log",
    )
    witness = await Witness.connect(server.host, server.port, f"w{number}")
    await witness.join(channel)
    try:
        await child.start(ready)
        async with await ground.client("alice") as alice:
            room = await alice.join(alias("ng", channel))
            said = [f"patience {count}" for count in range(14)]
            for body in said:
                await alice.send_text(room, body)
            await witness.wait_text(said[4], channel)
            assert await child.stop(timeout=STOP + 54) == 0, child.tail()
            first = len(heard(witness, channel))
            assert first < len(said)
            configure(rate=0)
            await child.start(ready)
            await witness.wait_text(said[-1], channel)
            assert heard(witness, channel) == said
            assert await child.stop(timeout=STOP + 54) == 0, child.tail()
            await alice.sync()
            told = [event["content"] for event in alice.timeline(room) if event["sender"] == BOT]
            assert [c for c in told if "body" in c and not c["body"].startswith("Messages between")] == []
    finally:
        child.kill()
        await witness.close()


async def test_postgresql_holds_it_all(
    ground: Ground, servers: tuple[InspIRCd, NgIRCd], tmp_path: Path, postgres_url: str
) -> None:
    """On PostgreSQL the same bridge talks both ways, stops, and goes on where it was."""
    async with Town(ground, tmp_path, {"insp": (servers[0], {})}, database=postgres_url) as town:
        place = await town.place("insp")
        await town.puppet(place, town.alice)
        place.witness.privmsg(place.channel, "one")
        event = await town.alice.wait_for_message(place.room, "one")
        await town.alice.reply(place.room, event["event_id"], "two")
        await place.witness.wait_text("two", place.channel)
        await town.harness.stop_bridge()
        await town.alice.send_text(place.room, "three")
        await town.harness.start_bridge()
        await place.witness.wait_text("three", place.channel)
        place.witness.privmsg(place.channel, "four")
        await town.alice.wait_for_message(place.room, "four")
        await town.harness.settled()
        assert await bodies(town.alice, place.room) == ["hello from @alice:hs.test", "one", "two", "three", "four"]
        audit = await town.harness.running.journal.audit()
        assert audit.holds
