"""The process ends at each commit in turn: no index is used twice, nothing is lost, nothing is sent in clear."""

from collections.abc import Sequence
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.crypto.olm import message_index
from tests.unit.crypto.memory import Killed
from tests.unit.crypto.world import Bridge, KeyWorld

Pair = tuple[Bridge, Bridge]


def indexes(events: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Session and index of each event."""
    return [(one["content"]["session_id"], message_index(one["content"]["ciphertext"])) for one in events]


async def says(bridge: Bridge, text: str, peer: Bridge, made: list[dict[str, Any]]) -> None:
    """Sends as a lane does: again after a restart, until it is through."""
    for _ in range(3):
        try:
            made.append(await bridge.send(bridge.ghost("ann"), text, [peer.bot]))
            return
        except Killed:
            await bridge.restart()
    raise AssertionError("it never went through")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_sender_that_dies_uses_no_index_twice(when: str) -> None:
    """Whichever commit of setting up and speaking is the last, all that is said afterwards is read, each index once."""
    for number in range(1, 14):
        world = KeyWorld()
        a, b = [await Bridge(world, name).start() for name in ("a", "b")]
        await b.join("bot")
        await a.encrypted_room()
        made: list[dict[str, Any]] = []
        a.die_at(number, when)
        for text in ("1", "2"):
            await says(a, text, b, made)
            a.clock.ms += 1000
        # Somebody new: one more share in the same session.
        (carl,) = await b.join("carl")
        a.take()
        try:
            made.append(await a.send(a.ghost("ann"), "3", [b.bot, carl]))
        except Killed:
            await a.restart()
            made.append(await a.send(a.ghost("ann"), "3", [b.bot, carl]))
        await a.restart()
        made.append(await a.send(a.ghost("ann"), "4", [b.bot, carl]))
        used = indexes(made)
        assert len(set(used)) == len(used), (number, when)
        await b.hear()
        assert [await b.read(one) for one in made] == ["1", "2", "3", "4"], (number, when)
        refused = {labels[0] for labels in b.metrics.snapshot()["crypto_to_device"]}
        assert refused <= {"room_key", "known_key"}, (number, when, refused)
        for bridge in (a, b):
            await bridge.kill()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_receiver_that_dies_loses_no_key(when: str) -> None:
    """Before or after the commit that ends a key's message: the key is there after a restart, its session works."""
    world = KeyWorld()
    a, b = [await Bridge(world, name).start() for name in ("a", "b")]
    await b.join("bot")
    await a.encrypted_room()
    await b.encrypted_room()
    (ann,) = await a.join("ann")
    first = await a.send(ann, "1", [b.bot])
    b.die_at(1, when)
    try:
        await b.hear()
    except Killed:
        await b.restart()
        await b.settle()
    assert await b.read(first) == "1"
    await a.restart()
    await a.machine.discard(ann, first["room_id"])
    second = await a.send(ann, "2", [b.bot])
    await b.hear()
    assert await b.read(second) == "2"
    answer = await b.send(b.bot, "3", [ann])
    await a.hear()
    assert await a.read(answer) == "3"
    for bridge in (a, b):
        await bridge.kill()


@pytest.mark.parametrize(
    "place",
    [
        "crypto.keys_committed",
        "crypto.keys_uploaded",
        "crypto.session_committed",
        "crypto.claimed",
        "crypto.olm_committed",
        "crypto.key_sent",
        "crypto.share_committed",
    ],
)
async def test_dying_between_the_homeserver_and_the_store(place: str) -> None:
    """Between a request and the commit that notes it, the process may end: it is done again and all is read."""
    world = KeyWorld()
    a, b = [await Bridge(world, name).start() for name in ("a", "b")]
    await b.join("bot")
    await a.encrypted_room()
    made: list[dict[str, Any]] = []
    a.faults.at[place] = Killed()
    await says(a, "1", b, made)
    assert place in a.faults.seen or place not in a.faults.at
    await says(a, "2", b, made)
    await b.hear()
    assert [await b.read(one) for one in made] == ["1", "2"]
    for bridge in (a, b):
        await bridge.kill()


async def test_a_reserved_index_is_not_used_again(pair: Pair) -> None:
    """After a crash the session goes on behind what it had reserved; after a stop with the next index."""
    a, b = pair
    (ann,) = await a.join("ann")
    made = [await a.send(ann, "1", [b.bot])]
    await a.restart()
    made.append(await a.send(ann, "2", [b.bot]))
    await a.machine.stop()
    await a.restart()
    made.append(await a.send(ann, "3", [b.bot]))
    reserve = a.policy.reserve
    assert [index for _, index in indexes(made)] == [0, reserve, reserve + 1]
    assert len({session for session, _ in indexes(made)}) == 1


async def test_a_failed_reservation_uses_no_index(pair: Pair) -> None:
    """When the commit that reserves fails, the indexes are not reserved: the next message commits it anew."""
    a, b = pair
    made = [await a.send(a.bot, str(number), [b.bot]) for number in range(a.policy.reserve)]
    a.store.broken = True
    with pytest.raises(TransientError):
        await a.send(a.bot, "x", [b.bot])
    a.store.broken = False
    made.append(await a.send(a.bot, "y", [b.bot]))
    await a.restart()
    made.append(await a.send(a.bot, "z", [b.bot]))
    assert len(set(indexes(made))) == len(made)


async def test_one_commit_reserves_many_messages(pair: Pair) -> None:
    """An established session costs no commit per message."""
    a, b = pair
    (ann,) = await a.join("ann")
    await a.send(ann, "first", [b.bot])
    before = a.store.commits
    for number in range(a.policy.reserve * 2):
        await a.send(ann, str(number), [b.bot])
    assert a.store.commits - before == 2


async def test_a_store_that_is_away_stops_a_send(pair: Pair) -> None:
    """Without the database nothing is encrypted, and afterwards the session goes on."""
    a, b = pair
    (ann,) = await a.join("ann")
    a.store.broken = True
    with pytest.raises(Exception, match="away"):
        await a.send(ann, "x", [b.bot])
    a.store.broken = False
    event = await a.send(ann, "y", [b.bot])
    await b.hear()
    assert await b.read(event) == "y"


async def test_a_damaged_session_is_replaced(pair: Pair) -> None:
    """Stored sessions that cannot be read cost nothing but new ones."""
    a, b = pair
    (ann,) = await a.join("ann")
    await a.send(ann, "1", [b.bot])
    await a.kill()
    for key, row in list(a.store.rows.items()):
        if key[0].__name__ == "OutboundRow":
            a.store.rows[key] = type(row)(row.owner, row.room, b"{}")
        if key[0].__name__ == "OlmSessionRow":
            a.store.rows[key] = type(row)(row.owner, row.peer, row.session, b"no pickle", row.created_at, row.used_at)
    await a.start()
    event = await a.send(ann, "2", [b.bot])
    await b.hear()
    assert await b.read(event) == "2"


async def test_a_restored_database_uses_no_ratchet_again(pair: Pair) -> None:
    """Put back from a backup, it starts new sessions with rooms and with devices; what comes in is still read."""
    a, b = pair
    made = [await a.send(a.bot, "1", [b.bot])]
    await b.hear()
    backup = dict(a.store.rows)
    made.append(await a.send(a.bot, "2", [b.bot]))
    await a.machine.discard(a.bot, made[0]["room_id"])
    made.append(await a.send(a.bot, "3", [b.bot]))
    await b.hear()
    await a.kill()
    a.store.rows = backup
    a.clock.ms += 1000
    await a.start(restored=True)
    a.clock.ms += 1
    made.append(await a.send(a.bot, "4", [b.bot]))
    assert len(set(indexes(made))) == len(made)
    assert made[-1]["content"]["session_id"] not in {one["content"]["session_id"] for one in made[:-1]}
    await a.restart()
    made.append(await a.send(a.bot, "5", [b.bot]))
    assert made[-1]["content"]["session_id"] == made[-2]["content"]["session_id"]
    await b.hear()
    assert [await b.read(one) for one in made] == ["1", "2", "3", "4", "5"]
    assert b.total("to_device", "replay") == 0
    answer = await b.send(b.bot, "6", [a.bot])
    await a.hear()
    assert await a.read(answer) == "6"
