"""To-device messages: what is stored, what is believed, what is refused, and that nothing of it stops the rest."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.accounts import OLM
from bridge_core.crypto.errors import CryptoRejectedError, DamagedKeyError, MissingKeyError
from bridge_core.crypto.keyobjects import PeerDevice
from bridge_core.crypto.olm import Account, GroupSession
from bridge_core.crypto.ports import (
    AccountRow,
    InboundRow,
    OlmSessionRow,
    Owner,
    RequestRow,
    Row,
    ToDeviceDone,
    ToDeviceRow,
)
from tests.unit.crypto.world import MEGOLM, ROOM, Bridge, KeyWorld

Pair = tuple[Bridge, Bridge]


def target(bridge: Bridge, owner: Owner) -> PeerDevice:
    """One of a bridge's devices as others see it."""
    keys = bridge.world.devices[owner.user][owner.device]["keys"]
    curve, ed = keys[f"curve25519:{owner.device}"], keys[f"ed25519:{owner.device}"]
    return PeerDevice(owner.user, owner.device, curve, ed, signed=True)


def room_key(group: GroupSession, **change: Any) -> dict[str, Any]:
    content = {"algorithm": MEGOLM, "room_id": ROOM, "session_id": group.id, "session_key": group.key}
    return {key: value for key, value in {**content, **change}.items() if value is not None}


async def gives(a: Bridge, b: Bridge, kind: str, content: dict[str, Any], /, **change: Any) -> None:
    """The bot of `a` sends the bot of `b` an Olm message, its plaintext changed."""
    ours = await a.machine.accounts.ready(a.bot)
    pairwise = a.machine._pairwise
    make = pairwise._plaintext

    def changed(*args: Any) -> bytes:
        return orjson.dumps({**orjson.loads(make(*args)), **change})

    pairwise._plaintext = changed  # type: ignore[method-assign]
    messages, _ = await pairwise.encrypted(ours, [target(b, b.bot)], kind, lambda _: content)
    del pairwise._plaintext
    await a.world.send_to_device(a.bot, "m.room.encrypted", "t", messages)
    await b.hear()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sender": "@mallory:test"}, "sender"),
        ({"recipient": "@mallory:test"}, "keys"),
        ({"recipient_keys": {"ed25519": "A" * 43}}, "keys"),
        ({"recipient_keys": None}, "keys"),
        ({"keys": {}}, "damaged"),
        ({"keys": None}, "damaged"),
        ({"sender_device_keys": {}}, "keys"),
        ({"sender_device_keys": {"user_id": "@mallory:test", "keys": {}}}, "keys"),
        ({"content": []}, "damaged"),
        ({"type": 5}, "damaged"),
    ],
)
async def test_an_olm_message_must_say_for_whom_and_of_whom_it_is(
    pair: Pair, change: dict[str, Any], reason: str
) -> None:
    """One that was made for another recipient, or claims another sender, brings no key, and the next one does."""
    a, b = pair
    group = GroupSession()
    await gives(a, b, "m.room_key", room_key(group), **change)
    assert b.total("to_device", reason) == 1 and await b.store.inbound(ROOM, group.id) == []
    await gives(a, b, "m.room_key", room_key(group))
    assert b.total("to_device", "room_key") == 1 and len(await b.store.inbound(ROOM, group.id)) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"algorithm": "m.none"}, "algorithm"),
        ({"room_id": None}, "damaged"),
        ({"room_id": "!\0"}, "damaged"),
        ({"session_id": "other"}, "keys"),
        ({"session_key": "AAAA"}, "bad_message"),
        ({"session_key": "A" * 5000}, "damaged"),
        ({"session_key": 5}, "damaged"),
    ],
)
async def test_keys_that_are_none(pair: Pair, change: dict[str, Any], reason: str) -> None:
    """A key of another form, or not of the session it names, is refused."""
    a, b = pair
    await gives(a, b, "m.room_key", room_key(GroupSession(), **change))
    assert b.total("to_device", reason) == 1 and b.total("to_device", "room_key") == 0


async def test_a_key_is_not_replaced_by_a_later_one(pair: Pair) -> None:
    """The same session from a later index on is known already; from an earlier one on it is better."""
    a, b = pair
    group = GroupSession()
    copy = GroupSession.unpickled(group.pickle(bytes(32)), bytes(32))
    group.skip_to(5)
    await gives(a, b, "m.room_key", room_key(group))
    group.skip_to(9)
    await gives(a, b, "m.room_key", room_key(group))
    assert (b.total("to_device", "room_key"), b.total("to_device", "known_key")) == (1, 1)
    await gives(a, b, "m.room_key", room_key(copy))
    (found,) = await b.machine._inbounds.find(ROOM, group.id)
    assert found.session.first == 0 and b.total("to_device", "room_key") == 2


async def test_a_forwarded_key_takes_nobodys_place(pair: Pair) -> None:
    """Asked for or not, a forwarded key that names another's device replaces nothing that this device gave itself."""
    a, b = pair
    c = await Bridge(a.world, "c").start()
    await c.join("bot")
    await c.encrypted_room()
    event = await c.send(c.bot, "x", [a.bot, b.bot])
    await a.hear()
    await b.hear()
    session = event["content"]["session_id"]
    (found,) = await a.machine._inbounds.find(ROOM, session)
    await b.store.commit([RequestRow("r", RoomId(ROOM), session, orjson.dumps({"sender": a.bot.user}), 1)])
    await b.machine.devices.current([a.bot.user])
    content = room_key(
        GroupSession(),
        session_id=session,
        session_key=found.session.export(0),
        sender_key=found.row.sender_key,
        sender_claimed_ed25519_key=found.ed25519,
    )
    await gives(a, b, "m.forwarded_room_key", content)
    assert b.total("to_device", "known_key") == 1 and b.total("to_device", "forwarded_key") == 0
    assert await b.read(event) == "x"
    await c.kill()


async def test_what_is_not_for_a_bridge(pair: Pair) -> None:
    """Keys in the clear, secrets, verification: counted, never stored. What is for nobody of ours, or huge, neither."""
    _, b = pair
    for kind in (
        "m.room_key",
        "m.forwarded_room_key",
        "m.secret.request",
        "m.secret.send",
        "m.key.verification.request",
    ):
        b.world.put("@mallory:test", b.bot.user, b.bot.device, f"m.{kind}", room_key(GroupSession()))
    entry = {"sender": "@x:test", "type": "m.room.encrypted", "to_device_id": b.bot.device, "content": {}}
    rows = b.machine.received(
        [
            {**entry, "to_user_id": "@other:test"},
            {**entry, "to_user_id": 5},
            {**entry, "to_user_id": b.bot.user, "sender": None},
            {**entry, "to_user_id": b.bot.user, "content": {"x": "y" * 70_000}},
            {**entry, "to_user_id": b.bot.user, "content": {"x": 2**70}},
        ],
        {},
        {},
        {},
    )
    assert rows.rows == () and rows.writes == ()
    await b.hear()
    assert b.total("to_device", "ignored") == 5 and b.store.all(ToDeviceRow) == []
    assert b.total("to_device", "damaged") == 3 and b.total("to_device", "keys") == 2


async def test_a_transaction_that_comes_twice(pair: Pair) -> None:
    """Messages that were handled are not handled again, also after a restart: their digests are kept."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    queue = list(b.world.queue[b.prefix])
    await b.hear()
    for _ in range(2):
        for entry in queue:
            b.world.put(entry["sender"], entry["to_user_id"], entry["to_device_id"], entry["type"], entry["content"])
        await b.hear()
        assert b.total("to_device", "replay") == 0
        await b.restart()
    assert await b.read(event) == "x"


async def test_messages_for_a_device_without_an_account(pair: Pair) -> None:
    """A ghost that never spoke gets mail: it is counted, and nothing of it is stored."""
    a, b = pair
    entry = {"sender": a.bot.user, "to_user_id": f"{b.prefix}x:test", "to_device_id": "D", "type": "m.room.encrypted"}
    taken = b.machine.received([{**entry, "content": {}}], {}, {}, {})
    assert (taken.rows, taken.writes, b.total("to_device", "no_account")) == ((), (), 1)


async def test_a_database_that_is_away_is_waited_for(pair: Pair) -> None:
    """Messages wait in it, and are handled when it is back, with keys and all."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    sleeping = b.clock.sleep

    async def sleep(seconds: float) -> None:
        b.store.broken = False
        await sleeping(seconds)

    b.clock.sleep = sleep  # type: ignore[method-assign]
    b.take()
    b.store.broken = True
    await b.settle()
    assert await b.read(event) == "x"


async def test_a_failed_commit_moves_no_ratchet(pair: Pair) -> None:
    """Were a ratchet moved in memory only, the message would be a replay when it is tried again."""
    a, b = pair
    for text in ("1", "2", "3"):
        await a.machine.discard(a.bot, ROOM)
        event = await a.send(a.bot, text, [b.bot])
        commit, failed = b.store.commit, []

        async def once(rows: Any, commit: Any = commit, failed: Any = failed) -> None:
            if not failed:
                failed.append(rows)
                raise TransientError("away")
            await commit(rows)

        b.store.commit = once  # type: ignore[method-assign]
        await b.hear()
        b.store.commit = commit  # type: ignore[method-assign]
        assert failed and await b.read(event) == text
    assert b.total("to_device", "replay") == 0


async def test_bad_messages_between_good_ones(pair: Pair) -> None:
    """Damaged messages in the same transaction cost the good ones nothing."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    (good,) = b.world.queue.pop(b.prefix)
    ((key, body),) = good["content"]["ciphertext"].items()
    bad: list[dict[str, Any]] = [
        {},
        {"algorithm": MEGOLM},
        {**good["content"], "ciphertext": {}},
        {**good["content"], "ciphertext": []},
        {**good["content"], "ciphertext": {key: {"type": "0", "body": "x"}}},
        {**good["content"], "ciphertext": {key: {"type": 9, "body": "x"}}},
        {**good["content"], "ciphertext": {key: {**body, "body": body["body"][:-9] + "AAAAAAAAA"}}},
        {**good["content"], "sender_key": "A" * 43},
        {**good["content"], "sender_key": 5},
    ]
    for content in [*bad[:5], good["content"], *bad[5:], {**good["content"], "x": 1}]:
        b.world.put(a.bot.user, b.bot.user, b.bot.device, "m.room.encrypted", content)
    await b.hear()
    assert await b.read(event) == "x" and b.total("to_device", "room_key") == 1
    # The one that was changed, and the good one's copy.
    assert b.total("to_device", "replay") == 2
    assert sum(b.metrics.snapshot()["crypto_to_device"].values()) >= len(bad) + 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "algorithm",
                    "ciphertext",
                    "sender_key",
                    "action",
                    "body",
                    "request_id",
                    "code",
                    "room_id",
                    "session_id",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(st.lists(json_values, min_size=1, max_size=4), json_values, json_values)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_transactions_of_any_form(contents: list[Any], lists: Any, counts: Any) -> None:
    """Whatever a transaction holds, it is taken, and what follows it is handled."""
    world = KeyWorld()
    b = await Bridge(world, "b").start()
    await b.join("bot")
    entries = [
        {"sender": "@x:y", "to_user_id": b.bot.user, "to_device_id": "BRIDGE", "type": kind, "content": content}
        for content in contents
        for kind in ("m.room.encrypted", "m.room_key_request", "m.room_key.withheld")
    ]
    mapping = counts if isinstance(counts, dict) else {b.bot.user: {"BRIDGE": counts}}
    changed = lists if isinstance(lists, dict) else {"changed": lists if isinstance(lists, list) else []}
    taken = b.machine.received(entries, changed, mapping, mapping)
    b.store.written(taken.writes)
    b.machine.committed(taken)
    await b.settle()
    assert await b.store.to_device(0, 9) == [] and b.total("to_device", "failed") == 0
    await b.kill()


async def test_a_bug_costs_one_message(pair: Pair) -> None:
    """A message that trips over a bug is left out, counted and logged; those beside it are handled."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    (good,) = b.world.queue.pop(b.prefix)
    opened = b.machine._inbox._opened

    async def broken(ours: Any, outer: Any, *rest: Any) -> Any:
        if outer.content.get("bug"):
            raise ZeroDivisionError
        return await opened(ours, outer, *rest)

    b.machine._inbox._opened = broken  # type: ignore[method-assign]
    for content in ({"bug": 1}, good["content"], {"bug": 2}):
        b.world.put(a.bot.user, b.bot.user, b.bot.device, "m.room.encrypted", content)
    await b.hear()
    assert b.total("to_device", "failed") == 2 and await b.read(event) == "x"


@pytest.mark.parametrize("error", [RejectedError("the database refuses a value"), DamagedKeyError("unreadable")])
async def test_what_the_database_refuses_for_good_is_tried_once(pair: Pair, error: Exception) -> None:
    """A message whose rows will never be taken ends, counted; those of its device beside it are handled."""
    a, b = pair
    events = []
    for text in ("1", "2", "3"):
        await a.machine.discard(a.bot, ROOM)
        events.append(await a.send(a.bot, text, [b.bot]))
    commit, refused = b.store.commit, events[1]["content"]["session_id"]

    async def picky(rows: Any) -> None:
        if any(isinstance(row, InboundRow) and row.session == refused for row in rows):
            raise error
        await commit(rows)

    b.store.commit = picky  # type: ignore[method-assign]
    await b.hear()
    assert b.total("to_device", "failed") == 1 and await b.store.to_device(0, 9) == []
    assert [await b.read(events[0]), await b.read(events[2])] == ["1", "3"]
    with pytest.raises(MissingKeyError):
        await b.read(events[1])


async def test_what_does_not_open_any_more_hides_nothing(pair: Pair) -> None:
    """A stored message that is damaged is left out and counted; those beside it are handled."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    listed = b.store.to_device
    b.machine._inbox._last = 1

    async def damaged(after: int, limit: int) -> list[ToDeviceRow]:
        bad = [] if after or b.total("to_device", "failed") else [ToDeviceRow(1, b"digest", b"", 0)]
        return bad + await listed(after, limit)

    b.store.to_device = damaged  # type: ignore[method-assign]
    await b.hear()
    assert b.total("to_device", "failed") == 1 and await b.read(event) == "x"


@given(json_values)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_events_of_any_form(content: Any) -> None:
    """An encrypted event with anything in it is refused with a reason, or its key is missing."""
    world = KeyWorld()
    b = await Bridge(world, "b").start()
    event = {"type": "m.room.encrypted", "room_id": ROOM, "sender": "@x:y", "event_id": "$e", "content": {}}
    event["content"] = {"algorithm": MEGOLM, **content} if isinstance(content, dict) else {}
    with pytest.raises((MissingKeyError, CryptoRejectedError)):
        await b.decrypted(event)
    await b.kill()


async def test_too_many_keys_of_one_sender(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who gives keys without end is not stored without end."""
    a, b = pair
    monkeypatch.setattr("bridge_core.crypto.todevice._MOST_PER_HOUR", 2)
    for _ in range(4):
        await gives(a, b, "m.room_key", room_key(GroupSession()))
    assert (b.total("to_device", "room_key"), b.total("to_device", "trust")) == (2, 2)
    b.clock.ms += 3_600_000
    await gives(a, b, "m.room_key", room_key(GroupSession()))
    assert b.total("to_device", "room_key") == 3


async def test_a_message_counts_once_however_often_it_is_tried(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full for a while makes nobody's keys too many: what could not be committed was not taken."""
    a, b = pair
    monkeypatch.setattr("bridge_core.crypto.todevice._MOST_PER_HOUR", 10)
    event = await a.send(a.bot, "x", [b.bot])
    commit, left = b.store.commit, [20]

    async def full(rows: Sequence[Row]) -> None:
        if left[0] and any(isinstance(row, ToDeviceDone) for row in rows):
            left[0] -= 1
            raise TransientError("the disk is full")
        await commit(rows)

    b.store.commit = full  # type: ignore[method-assign]
    b.take()
    await b.settle()
    assert not left[0] and await b.read(event) == "x"
    assert b.total("to_device", "room_key") == 1


def stranger_writes(b: Bridge, times: int) -> None:
    """Messages in new sessions of somebody who is in no room, from devices in no list: the fallback key is public."""
    curve = b.world.devices[b.bot.user][b.bot.device]["keys"][f"curve25519:{b.bot.device}"]
    for _ in range(times):
        account = Account()
        session = account.outbound(curve, next(iter(b.world.fallback[b.bot].values()))["key"])
        kind, body = session.encrypt(b"{}")
        ciphertext = {curve: {"type": kind, "body": body}}
        content = {"algorithm": OLM, "sender_key": account.curve25519, "ciphertext": ciphertext}
        b.world.put("@mallory:evil", b.bot.user, b.bot.device, "m.room.encrypted", content)


async def test_sessions_of_strangers_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may use the fallback key, and each message in a new session leaves it behind: not without end."""
    _, b = pair
    before = len(b.store.all(OlmSessionRow))
    monkeypatch.setattr("bridge_core.crypto.todevice._MOST_PER_HOUR", 15)
    stranger_writes(b, 20)
    await b.hear()
    assert len(b.store.all(OlmSessionRow)) == before + 15 and b.total("to_device", "trust") == 5


async def test_a_bug_ends_the_inbox_for_a_moment_only(pair: Pair) -> None:
    """What waits is handled by the next try, and keys that come later arrive as ever."""
    a, b = pair
    drain, broken = b.machine._inbox.drain, [ZeroDivisionError(), ZeroDivisionError()]

    async def drained() -> None:
        if broken:
            assert len(broken) == 2 or "crypto-inbox" in b.tasks.failing
            raise broken.pop()
        await drain()

    b.machine._inbox.drain = drained  # type: ignore[method-assign]
    event = await a.send(a.bot, "x", [b.bot])
    b.take()
    await asyncio.wait_for(b.machine.handled(), 60)
    assert not broken and await b.read(event) == "x"
    b.died.clear()
    await b.settle()
    assert not b.tasks.failing
    await a.machine.discard(a.bot, ROOM)
    event = await a.send(a.bot, "y", [b.bot])
    await b.hear()
    assert await b.read(event) == "y"


async def test_a_burst_for_one_device_blocks_nobody(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop has its turn between some of the messages, and the account, large as it is, is stored once for all."""
    _, b = pair
    monkeypatch.setattr("bridge_core.crypto.todevice._YIELD", 5)
    commit, opened = b.store.commit, b.machine._pairwise.opened
    turns, seen, accounts = 0, [], []

    async def ticking() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def noted(*args: Any) -> Any:
        seen.append(turns)
        return await opened(*args)

    async def committed(rows: Any) -> None:
        accounts.append(len([row for row in rows if isinstance(row, AccountRow)]))
        await commit(rows)

    b.machine._pairwise.opened = noted  # type: ignore[method-assign]
    b.store.commit = committed  # type: ignore[method-assign]
    stranger_writes(b, 20)
    ticker = asyncio.create_task(ticking())
    await b.hear()
    ticker.cancel()
    assert len(seen) == 20 and len(set(seen)) >= 4
    assert sum(accounts) == 1


async def test_olm_messages_of_strangers_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shares no encrypted room is decrypted for so often in an hour; who does is not hit by that."""
    a, b = pair
    monkeypatch.setattr("bridge_core.crypto.todevice._OF_STRANGERS", 3)
    stranger_writes(b, 5)
    await b.hear()
    assert b.total("to_device", "trust") == 2
    await b.machine.devices.current([a.bot.user])
    for number in range(5):
        await gives(a, b, "m.room_key", room_key(GroupSession()))
        assert b.total("to_device", "room_key") == number + 1
    assert b.total("to_device", "trust") == 2
    b.clock.ms += 3_600_000
    stranger_writes(b, 1)
    await b.hear()
    assert b.total("to_device", "trust") == 2


async def test_a_slow_server_takes_not_all_places_for_mending(pair: Pair) -> None:
    """Whose devices cannot be asked for keeps a bounded number of tasks; others' sessions are mended beside them."""
    a, b = pair
    await b.machine.devices.current([a.bot.user])
    mallory, asked, answer = UserId("@mallory:evil"), asyncio.Event(), asyncio.Event()
    tracks = b.machine.devices.tracks

    async def slow(user: UserId) -> bool:
        if user == mallory:
            asked.set()
            await answer.wait()
        return await tracks(user)

    b.machine.devices.tracks = slow  # type: ignore[method-assign]
    for number in range(200):
        b.machine._upkeep.wedged(b.bot, mallory, f"key {number}")
    curve = b.world.devices[a.bot.user][a.bot.device]["keys"][f"curve25519:{a.bot.device}"]
    b.machine._upkeep.wedged(b.bot, a.bot.user, curve)
    async with asyncio.timeout(60):
        await asked.wait()
        while not b.total("to_device", "unwedged"):
            await asyncio.sleep(0)
    assert len(b.tasks.names) < 50
    answer.set()
    await b.settle()
