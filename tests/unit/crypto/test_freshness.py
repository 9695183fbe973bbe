"""A database that is an older copy of itself, with all that stood beside it: no ratchet is used twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from bridge_core.api.errors import TransientError
from bridge_core.crypto.freshness import NUMBER
from bridge_core.crypto.ports import Owner
from bridge_core.engine.matrix_ports import MatrixRejectedError
from tests.unit.crypto.world import Bridge

Pair = tuple[Bridge, Bridge]
TEN_MINUTES = 600_000


def sessions(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["session_id"] for event in events]


def olm_sessions(bridge: Bridge) -> set[str]:
    return {row.session for key, row in bridge.store.rows.items() if key[0].__name__ == "OlmSessionRow"}


async def _starts(a: Bridge) -> None:
    await a.restart()


async def _goes_on(a: Bridge) -> None:
    a.clock.ms += TEN_MINUTES


@pytest.mark.parametrize("meanwhile", [_starts, _goes_on])
async def test_a_machine_that_is_put_back_uses_no_ratchet_again(pair: Pair, meanwhile: Callable[[Bridge], Any]) -> None:
    """Nothing here tells of it, but the homeserver has a number that the database does not know."""
    a, b = pair
    made = [await a.send(a.bot, "1", [b.bot])]
    await b.hear()
    snapshot = dict(a.store.rows)
    await meanwhile(a)
    made.append(await a.send(a.bot, "2", [b.bot]))
    await b.hear()
    await a.kill()
    a.store.rows = snapshot
    a.clock.ms += 1000
    used = olm_sessions(a)
    await a.start()
    a.clock.ms += 1
    with structlog.testing.capture_logs() as lines:
        made.append(await a.send(a.bot, "3", [b.bot]))
    assert [line["log_level"] for line in lines if line["event"] == "database_is_an_older_copy"] == ["error"]
    assert made[2]["content"]["session_id"] not in sessions(made[:2])
    assert olm_sessions(a) - used
    a.clock.ms += 1
    made.append(await a.send(a.bot, "4", [b.bot]))
    await a.restart()
    made.append(await a.send(a.bot, "5", [b.bot]))
    assert sessions(made)[4] == sessions(made)[3]
    await b.hear()
    assert [await b.read(one) for one in made] == ["1", "2", "3", "4", "5"]
    assert b.total("to_device", "replay") == 0


async def test_a_machine_that_wakes_as_its_copy(pair: Pair) -> None:
    """A snapshot with its memory, or a clone that runs: seen without any start, within ten minutes of its clock."""
    a, b = pair
    made = [await a.send(a.bot, "1", [b.bot])]
    a.world.data[a.bot.user, NUMBER] = {"number": a.world.data[a.bot.user, NUMBER]["number"] + 1}  # by the other one
    a.clock.ms += TEN_MINUTES
    made += [await a.send(a.bot, text, [b.bot]) for text in "23"]
    assert sessions(made)[0] != sessions(made)[1]
    a.clock.ms += 1
    made.append(await a.send(a.bot, "4", [b.bot]))
    a.clock.ms += TEN_MINUTES
    made.append(await a.send(a.bot, "5", [b.bot]))
    assert len(set(sessions(made)[3:])) == 1


async def test_nothing_is_encrypted_before_it_is_known(pair: Pair) -> None:
    """A homeserver that does not answer, or refuses, is asked again; no ratchet moves and no key is claimed."""
    a, b = pair
    await a.send(a.bot, "1", [b.bot])
    await a.restart()
    errors = [TransientError("away"), MatrixRejectedError("M_FORBIDDEN", "no such user yet", 403)]
    a.world.errors = {"account_data": [*errors], "put_account_data": [*errors]}
    before, commits = len(a.world.sent), dict(a.store.rows)
    for _ in range(4):
        with pytest.raises(TransientError, match="newest"):
            await a.send(a.bot, "2", [b.bot])
    assert len(a.world.sent) == before and a.world.count("claim_keys") == 1
    changed = {key for key, row in a.store.rows.items() if commits.get(key) != row}
    assert {key[0].__name__ for key in changed} == {"SecretRow"}
    event = await a.send(a.bot, "2", [b.bot])
    await b.hear()
    assert await b.read(event) == "2"


async def test_who_waits_for_the_answer_asks_no_second_time(pair: Pair) -> None:
    """Many lanes that want to speak while the homeserver is away ask it once, not one after the other."""
    a, b = pair
    (ann, ben) = await a.join("ann", "ben")
    await a.restart()
    asked = a.world.count("account_data")
    a.world.errors = {"account_data": [TransientError("away")] * 3}
    results = await asyncio.gather(
        *(a.send(owner, "x", [b.bot]) for owner in (ann, ben, a.bot)), return_exceptions=True
    )
    assert all(isinstance(one, TransientError) for one in results)
    assert a.world.count("account_data") == asked + 1


@pytest.mark.parametrize("content", [None, {}, {"number": "7"}, {"number": 2**60}, {"number": -1}, {"number": True}])
async def test_a_homeserver_that_has_no_number(pair: Pair, content: dict[str, Any] | None) -> None:
    """A new homeserver, or one that has lost it: the bridge goes on at its own number, in its sessions."""
    a, b = pair
    made = [await a.send(a.bot, "1", [b.bot])]
    await a.restart()
    if content is None:
        del a.world.data[a.bot.user, NUMBER]
    else:
        a.world.data[a.bot.user, NUMBER] = content
    made.append(await a.send(a.bot, "2", [b.bot]))
    assert len(set(sessions(made))) == 1
    assert a.world.data[a.bot.user, NUMBER] == {"number": 2}


async def test_a_new_database_goes_on_with_the_number(pair: Pair) -> None:
    """It has no session that could be used twice: no error, and its own copies are seen from then on."""
    a, b = pair
    await a.kill()
    a.store.rows.clear()
    a.world.data[a.bot.user, NUMBER] = {"number": 500}
    await a.start()
    await a.encrypted_room()
    with structlog.testing.capture_logs() as lines:
        await a.send(a.bot, "1", [b.bot])
    assert not [line for line in lines if line["log_level"] == "error"]
    assert a.world.data[a.bot.user, NUMBER] == {"number": 501}


async def test_a_homeserver_without_account_data(pair: Pair) -> None:
    """It cannot be asked: a warning, and what is said is encrypted all the same."""
    a, b = pair
    await a.restart()
    a.world.errors = {"account_data": [MatrixRejectedError("M_UNRECOGNIZED", "unknown request", 404)]}
    with structlog.testing.capture_logs() as lines:
        await a.send(a.bot, "1", [b.bot])
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["database_age_not_known"]


async def test_one_time_keys_of_an_older_copy_are_a_sign(pair: Pair) -> None:
    """Where the number says nothing: other keys under our ids are on the homeserver, so this is an older copy, once."""
    a, b = pair
    (ann,) = await a.join("ann")
    made = [await a.send(a.bot, "1", [b.bot])]
    a.clock.ms += 1

    async def refused(owner: Owner) -> None:
        pool = a.world.one_time[owner]
        while len(pool) > 1:
            pool.popitem()
        words = "One time key signed_curve25519:AAAAAAAAAAA already exists. Old key: {}; new key: {}"
        a.world.errors = {"upload_keys": [MatrixRejectedError("M_UNKNOWN", words, 400)]}
        await a.hear()
        assert not a.world.errors["upload_keys"]

    await refused(a.bot)
    a.clock.ms += 1
    made.append(await a.send(a.bot, "2", [b.bot]))
    await refused(ann)
    a.clock.ms += 1
    made.append(await a.send(a.bot, "3", [b.bot]))
    assert sessions(made)[0] != sessions(made)[1] == sessions(made)[2]
