"""What others can make of lists, keys and restarts: bounded, and nobody reads on who is not to."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.crypto import devices as devices_module
from bridge_core.crypto import keyobjects
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import Owner, SharesRow
from bridge_core.engine.matrix_ports import MatrixRejectedError
from tests.unit.crypto.world import Bridge, KeyWorld

Pair = tuple[Bridge, Bridge]
DAY = 24 * 3_600_000


async def test_who_left_reads_nothing_after_shares_are_forgotten(world: KeyWorld) -> None:
    """A room may want sessions of a year: they end before it is forgotten who has their keys."""
    a, b, c = [await Bridge(world, name).start() for name in "abc"]
    for one in (a, b, c):
        await one.join("bot")
    await a.encrypted_room(rotation_period_ms=365 * DAY, rotation_period_msgs=10_000)
    first = await a.send(a.bot, "1", [b.bot, c.bot])
    a.clock.ms += 8 * DAY
    before = a.clock.ms - a.policy.forget
    for key, row in list(a.store.rows.items()):  # as the hourly round
        if isinstance(row, SharesRow) and row.at < before:
            del a.store.rows[key]
    await a.restart()
    second = await a.send(a.bot, "2", [b.bot])
    assert second["content"]["session_id"] != first["content"]["session_id"]
    for one in (a, b, c):
        await one.kill()


async def test_a_restored_account_uploads_keys_again(pair: Pair) -> None:
    """Numbers that an older copy of the database gives to other keys than the homeserver has are passed over."""
    a, _ = pair
    world = a.world

    def take(count: int) -> None:
        for _ in range(count):
            world.one_time[a.bot].pop(next(iter(world.one_time[a.bot])))

    backup = dict(a.store.rows)
    take(30)
    await a.hear()
    assert len(world.one_time[a.bot]) >= 45
    await a.kill()
    a.store.rows = backup
    await a.start(restored=True)
    take(30)
    left = len(world.one_time[a.bot])
    for _ in range(3):
        await a.hear()
    assert len(world.one_time[a.bot]) > left


async def test_made_up_devices_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each device costs a signature, right or wrong: no more are looked at than a user may have, known ones first."""
    a, b = pair
    await a.machine.devices.current([b.bot.user])
    ((name, good),) = a.world.devices[b.bot.user].items()
    many = {
        device: {
            **good,
            "device_id": device,
            "keys": {f"{key.partition(':')[0]}:{device}": value for key, value in good["keys"].items()},
            "signatures": {b.bot.user: {f"ed25519:{device}": "A" * 86}},
        }
        for device in (f"D{number}" for number in range(2000))
    }
    a.world.devices[b.bot.user] = {**many, name: good}
    a.world.tell_changed(b.bot.user)
    a.take()
    looked = 0
    read = devices_module.read_device

    def counted(*args: Any) -> Any:
        nonlocal looked
        looked += 1
        return read(*args)

    monkeypatch.setattr(devices_module, "read_device", counted)
    keys = (await a.machine.devices.current([b.bot.user]))[b.bot.user]
    assert list(keys.devices) == [name] and looked <= a.policy.devices_per_user


async def test_made_up_one_time_keys_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one key for a device in an answer; of more only a few are looked at."""
    a, b = pair
    claim, looked, verified = a.world.claim_keys, 0, keyobjects.verified

    async def many(owner: Owner, wanted: Any) -> Any:
        found = await claim(owner, wanted)
        ((_, good),) = found.keys[b.bot.user][b.bot.device].items()
        bad = {f"signed_curve25519:{n}": {"key": "A" * 43, "signatures": good["signatures"]} for n in range(2000)}
        return replace(found, keys={b.bot.user: {b.bot.device: bad}})

    def counted(*args: Any) -> bool:
        nonlocal looked
        looked += 1
        return verified(*args)

    a.world.claim_keys = many  # type: ignore[method-assign]
    await a.machine.devices.current([b.bot.user])
    monkeypatch.setattr(keyobjects, "verified", counted)
    await a.send(a.bot, "1", [b.bot])
    assert 0 < looked < 10 and a.total("shares", "no_olm") == 1


async def test_lists_that_changed_while_nobody_listened(pair: Pair) -> None:
    """After a stop no transaction tells of it any more: what an earlier run has asked for is asked for once more."""
    a, b = pair
    await a.send(a.bot, "1", [b.bot])
    await a.kill()
    await b.machine.accounts.ready(Owner(b.bot.user, "NEW"))
    a.world.changed.pop(a.prefix, None)
    await a.start()
    before = len(a.world.sent)
    await a.send(a.bot, "2", [b.bot])
    assert [one for one in a.world.sent[before:] if one[2] == "NEW"]


async def test_a_mark_that_comes_while_a_user_is_read(pair: Pair) -> None:
    """The row was read before the mark was committed, and is remembered after: the change is not lost."""
    a, b = pair
    await a.send(a.bot, "1", [b.bot])
    a.policy = replace(a.policy, loaded_users=1)
    await a.restart()
    await a.machine.devices.current([b.bot.user])
    await a.machine.devices.current([(await b.join("other"))[0].user])  # takes the place in memory
    read, go, tracked = asyncio.Event(), asyncio.Event(), a.store.tracked

    async def slow(users: Any) -> Any:
        rows = await tracked(users)
        read.set()
        await go.wait()
        return rows

    a.store.tracked = slow  # type: ignore[method-assign]
    loading = asyncio.create_task(a.machine.devices.known(b.bot.user))
    await read.wait()
    await b.machine.accounts.ready(Owner(b.bot.user, "NEW"))
    a.take()
    go.set()
    await loading
    a.store.tracked = tracked  # type: ignore[method-assign]
    assert "NEW" in (await a.machine.devices.current([b.bot.user]))[b.bot.user].devices


async def test_a_refused_question_is_no_verdict(world: KeyWorld) -> None:
    """Where trust has to be known and the homeserver will not say, the message waits."""
    a = await Bridge(world, "a").start()
    b = await Bridge(world, "b", Policy(receive=Trust.CROSS_SIGNED)).start()
    for one in (a, b):
        await one.join("bot")
        await one.encrypted_room()
    event = await a.send(a.bot, "1", [b.bot])
    await b.hear()
    world.errors["query_keys"] = [MatrixRejectedError("M_UNKNOWN", "?", 400)]
    with pytest.raises(TransientError):
        await b.read(event)
    assert await b.read(event) == "1"
    for one in (a, b):
        await one.kill()


@pytest.mark.parametrize("lists", [{"changed": 5}, {"changed": {"a": 1}}, {"left": True}, {"changed": [[]]}])
async def test_lists_of_any_form_are_taken(pair: Pair, lists: Any) -> None:
    """A transaction is never refused for what it says of devices."""
    a, _ = pair
    assert a.machine.received([], lists, {}, {}) is not None


async def test_somebody_who_is_met_again_has_other_devices(pair: Pair) -> None:
    """While no room was shared nobody has told of changes: the list is asked for anew, in memory or not."""
    a, b = pair
    await a.send(a.bot, "1", [b.bot])
    for number, name in enumerate(("NEW", "NEWER")):
        await b.machine.accounts.ready(Owner(b.bot.user, name))
        a.world.changed.pop(a.prefix, None)
        if number:
            a.policy = replace(a.policy, loaded_users=1)
            await a.restart()
            await a.machine.devices.current([b.bot.user])
            await b.machine.accounts.ready(Owner(b.bot.user, "LAST"))
            a.world.changed.pop(a.prefix, None)
            await a.machine.devices.current([(await b.join("other"))[0].user])  # takes the place in memory
        a.machine.devices.met([b.bot.user])
        found = (await a.machine.devices.current([b.bot.user]))[b.bot.user].devices
        assert ("LAST" if number else name) in found


async def test_lists_of_a_transaction_that_was_refused_are_asked_for(pair: Pair) -> None:
    """The homeserver tells of a change once: where that was refused, who changed is asked about at the next message."""
    a, b = pair
    await a.send(a.bot, "x", [b.bot])
    asked = a.world.count("query_keys")
    a.machine.missed({"changed": ["@nobody:test", 5], "left": None})
    await a.send(a.bot, "x", [b.bot])
    assert a.world.count("query_keys") == asked
    a.machine.missed({"changed": [b.bot.user]})
    await a.send(a.bot, "x", [b.bot])
    assert a.world.count("query_keys") == asked + 1
