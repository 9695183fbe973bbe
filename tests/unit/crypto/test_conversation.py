"""Two machines talk to each other, whatever happens between them."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.errors import RateLimitedError, TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.errors import CryptoRejectedError, MissingKeyError, Reason
from bridge_core.crypto.keyobjects import read_device
from bridge_core.crypto.olm import message_index
from bridge_core.crypto.policy import Policy, Trust
from bridge_core.crypto.ports import Owner
from bridge_core.engine.matrix_ports import SendRequest
from tests.unit.crypto.world import MEGOLM, ROOM, Bridge, KeyWorld

Pair = tuple[Bridge, Bridge]
HOUR = 3_600_000


def session(event: dict[str, Any]) -> str:
    found: str = event["content"]["session_id"]
    return found


async def refused(bridge: Bridge, event: dict[str, Any]) -> Reason:
    """Why an event is refused, which is counted."""
    with pytest.raises(CryptoRejectedError) as caught:
        await bridge.decrypted(event)
    assert bridge.total("rejected", caught.value.reason) >= 1
    return caught.value.reason


async def test_text_both_ways(pair: Pair) -> None:
    """What a ghost of one bridge says, the other reads, as of a device that its owner has signed."""
    a, b = pair
    (ann,) = await a.join("ann")
    event = await a.send(ann, "hello", [b.bot, a.bot])
    assert event["type"] == "m.room.encrypted" and b"hello" not in repr(event).encode()
    await b.hear()
    found = await b.decrypted(event)
    assert (found.event["type"], found.event["content"]["body"]) == ("m.room.message", "hello")
    assert (found.trust, found.device) == (Trust.PINNED, "BRIDGE")
    answer = await b.send(b.bot, "yes", [a.bot, ann])
    await a.hear()
    assert await a.read(answer) == "yes"
    assert await b.read(await b.send(b.bot, "own", [a.bot])) == "own"


async def test_what_stays_in_clear(pair: Pair) -> None:
    """Relations and our id stay outside; a relation outside is seen by who reads; nothing else does."""
    a, b = pair
    relation = {"rel_type": "m.replace", "event_id": "$x"}
    more = {"m.relates_to": relation, "dev.matrix_bridge.id": "hash", "m.new_content": {"body": "new"}}
    event = await a.send(a.bot, "* new", [b.bot], **more)
    assert set(event["content"]) == {
        "algorithm",
        "ciphertext",
        "session_id",
        "sender_key",
        "device_id",
        "m.relates_to",
        "dev.matrix_bridge.id",
    }
    await b.hear()
    content = (await b.decrypted(event)).event["content"]
    assert content["m.relates_to"] == relation and content["m.new_content"] == {"body": "new"}


async def test_what_is_never_encrypted(pair: Pair) -> None:
    """Reactions, redactions and events of rooms that are not encrypted are given back as they were."""
    a, b = pair
    for request in (
        SendRequest(ROOM, "m.reaction", "t1", a.bot.user, a.bot.device, b"{}"),
        SendRequest(ROOM, "m.room.redaction", "t2", a.bot.user, a.bot.device, b"{}", redacts="$x"),  # type: ignore[arg-type]
        SendRequest("!other:test", "m.room.message", "t3", a.bot.user, a.bot.device, b"{}"),  # type: ignore[arg-type]
    ):
        assert await a.machine.encrypt(request, frozenset([b.bot.user])) is request
    assert a.world.count("claim_keys") == 0


async def test_encryption_stays_on(pair: Pair) -> None:
    """An event that would turn it off is not believed, also after a restart; another rotation is."""
    a, b = pair
    for content in ({}, {"algorithm": None}, {"algorithm": "m.none"}):
        assert not await a.machine.room_encrypted(ROOM, content)
    assert a.total("rejected", "not_encrypted") == 3
    await a.encrypted_room(rotation_period_msgs=7, rotation_period_ms=1)
    await a.restart()
    settings = a.machine.settings(ROOM)
    assert settings is not None and (settings.messages, settings.after) == (7, 60_000)
    assert (await a.send(a.bot, "x", [b.bot]))["type"] == "m.room.encrypted"
    assert not await a.machine.room_encrypted("!new:test", {"algorithm": "m.none"})  # type: ignore[arg-type]
    assert a.machine.settings("!new:test") is None  # type: ignore[arg-type]


async def test_a_session_is_replaced_by_the_rooms_settings(pair: Pair) -> None:
    """After so many messages, and after so much time, the next message has a new session."""
    a, b = pair
    await a.encrypted_room(rotation_period_msgs=3, rotation_period_ms=HOUR)
    sessions = [session(await a.send(a.bot, str(number), [b.bot])) for number in range(7)]
    assert [sessions.count(one) for one in dict.fromkeys(sessions)] == [3, 3, 1]
    a.clock.ms += HOUR
    assert session(await a.send(a.bot, "late", [b.bot])) != sessions[-1]


async def test_who_leaves_cannot_read_on(pair: Pair) -> None:
    """A member who left, and a device that is gone or blocked, make a new session, which they do not get."""
    a, b = pair
    (carl,) = await b.join("carl")
    first = await a.send(a.bot, "1", [b.bot, carl])
    again = await a.send(a.bot, "2", [b.bot, carl])
    second = await a.send(a.bot, "3", [b.bot])
    assert session(first) == session(again) != session(second)
    assert {user for kind, user, _, _ in a.world.sent if kind == "m.room.encrypted"} == {b.bot.user, carl.user}
    third = await a.send(a.bot, "4", [b.bot, carl])
    await a.machine.devices.change(carl.user, block=[carl.device])
    fourth = await a.send(a.bot, "5", [b.bot, carl])
    assert len({session(one) for one in (second, third, fourth)}) == 2
    # Carl's device is signed out.
    await a.machine.devices.change(carl.user, unblock=[carl.device])
    fifth = await a.send(a.bot, "6", [b.bot, carl])
    del a.world.devices[carl.user][carl.device]
    a.world.tell_changed(carl.user)
    a.take()
    assert session(fifth) != session(await a.send(a.bot, "7", [b.bot, carl]))


async def test_who_comes_reads_from_then_on(pair: Pair) -> None:
    """A new member gets the session's key as it stands: nothing said before can be read by them."""
    a, b = pair
    c = await Bridge(a.world, "c").start()
    await c.join("bot")
    before = await a.send(a.bot, "before", [b.bot])
    after = await a.send(a.bot, "after", [b.bot, c.bot])
    assert session(before) == session(after)
    await c.hear()
    assert await c.read(after) == "after"
    with pytest.raises(MissingKeyError):
        await c.read(before)
    await c.kill()


async def test_a_device_that_appears_during_a_send_gets_the_key(pair: Pair) -> None:
    """A list that changes while keys are being shared is asked for once more before the message is encrypted."""
    a, b = pair
    carl = b.ghost("carl")
    sending = a.world.send_to_device

    async def send_to_device(*args: Any) -> None:
        await sending(*args)
        if carl.user not in a.world.devices:
            await b.join("carl")
            a.take()

    a.world.send_to_device = send_to_device  # type: ignore[method-assign]
    a.world.devices.pop(carl.user, None)
    await a.send(a.bot, "x", [b.bot, carl])
    assert {user for kind, user, _, _ in a.world.sent if kind == "m.room.encrypted"} == {b.bot.user, carl.user}


async def test_unsigned_devices_get_no_keys(pair: Pair) -> None:
    """A device that its owner has not signed is told so, counted, and named once."""
    a, b = pair
    (carl,) = await b.join("carl")
    keys = a.world.devices[carl.user][carl.device]
    keys["signatures"][carl.user] = {f"ed25519:{carl.device}": keys["signatures"][carl.user][f"ed25519:{carl.device}"]}
    a.take()
    for number in range(3):
        await a.machine.discard(a.bot, ROOM)
        await a.send(a.bot, str(number), [b.bot, carl])
    assert [(room, [(one.user, one.trust) for one in devices]) for room, devices in a.skipped] == [
        (ROOM, [(carl.user, Trust.UNSIGNED)])
    ]
    told = [content for kind, user, _, content in a.world.sent if kind == "m.room_key.withheld" and user == carl.user]
    assert {one["code"] for one in told} == {"m.unverified"} and a.total("shares", "unverified") == 3
    assert all(user != carl.user for kind, user, _, _ in a.world.sent if kind == "m.room.encrypted")


@pytest.mark.parametrize(("send", "shared"), [(Trust.CROSS_SIGNED, 0), (Trust.NO_IDENTITY, 1), (Trust.UNSIGNED, 1)])
async def test_owners_without_an_identity(world: KeyWorld, send: Trust, shared: int) -> None:
    """They get keys where the policy says so, and not by default."""
    a = await Bridge(world, "a", Policy(send=send)).start()
    b = await Bridge(world, "b", Policy(cross_signing=False)).start()
    await a.encrypted_room()
    await b.join("bot")
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    assert a.total("shares", "given") == shared
    if shared:
        assert await b.read(event) == "x"
    else:
        with pytest.raises(MissingKeyError) as caught:
            await b.read(event)
        assert caught.value.withheld == "m.unverified"
    for bridge in (a, b):
        await bridge.kill()


async def test_a_device_without_one_time_keys(pair: Pair) -> None:
    """It delays nobody: it is told, asked for a key again later, and reads from then on."""
    a, b = pair
    (carl,) = await b.join("carl")
    lost = a.world.one_time.pop(carl), a.world.fallback.pop(carl)
    first = await a.send(a.bot, "1", [b.bot, carl])
    await a.send(a.bot, "2", [b.bot, carl])
    assert a.world.count("claim_keys") == 1 and a.total("shares", "no_olm") == 1
    await b.hear()
    assert await b.read(first) == "1"
    a.world.one_time[carl], a.world.fallback[carl] = lost
    a.clock.ms += a.policy.no_key_retry
    before = len(a.world.sent)
    third = await a.send(a.bot, "3", [b.bot, carl])
    assert session(third) == session(first)
    assert [user for kind, user, _, _ in a.world.sent[before:]] == [carl.user]


async def test_a_device_that_writes_can_be_written_to(pair: Pair) -> None:
    """A device without one-time keys that begins a session itself gets the key with the next message."""
    a, b = pair
    await a.hear()
    await b.machine.devices.current([a.bot.user])  # strangers are not written to
    b.world.one_time[b.bot].clear()
    b.world.fallback.pop(b.bot)
    await a.send(a.bot, "1", [b.bot])
    await b.hear()
    # It was told that there is no session (m.no_olm), and has made one.
    await a.hear()
    event = await a.send(a.bot, "2", [b.bot])
    await b.hear()
    assert await b.read(event) == "2" and a.total("claims", "none") == 1


async def test_a_homeserver_that_loses_one_time_keys(pair: Pair) -> None:
    """An empty count brings new keys, a used fallback key a new one; in between the fallback key serves."""
    a, b = pair
    pool, fallback = a.world.one_time[b.bot], dict(a.world.fallback[b.bot])
    pool.clear()
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    assert await b.read(event) == "x"
    assert len(a.world.one_time[b.bot]) == b.policy.bot_one_time_keys
    assert a.world.fallback[b.bot] == fallback
    b.clock.ms += b.policy.fallback_min_age
    counts = {b.bot.user: {b.bot.device: {"signed_curve25519": 50}, "pseudo": {}}}
    taken = b.machine.received([], {}, counts, {b.bot.user: {b.bot.device: []}})
    b.machine.committed(taken)
    await b.settle()
    assert a.world.fallback[b.bot] != fallback and len(taken.counts) == 1


async def test_wanted_keys_are_not_forgotten(pair: Pair) -> None:
    """The mark is committed with the transaction: a crash before the upload costs nothing."""
    _, b = pair
    b.world.one_time[b.bot].clear()
    b.world.errors["upload_keys"] = [TransientError("away")]
    await b.hear()
    assert not b.world.one_time[b.bot]
    await b.restart()
    await b.settle()
    assert len(b.world.one_time[b.bot]) == b.policy.bot_one_time_keys
    assert await b.store.wanting(9) == []


async def test_too_many_requests_on_a_claim(pair: Pair) -> None:
    """A 429 fails the send, and the lane's next try goes through in the same session."""
    a, b = pair
    a.world.errors["claim_keys"] = [RateLimitedError("slowly", 3.0)]
    with pytest.raises(RateLimitedError):
        await a.send(a.bot, "x", [b.bot])
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    assert await b.read(event) == "x"
    assert a.total("shares", "sessions") == 1


async def test_a_share_that_fails_half_way_goes_on_there(world: KeyWorld) -> None:
    """Batches that were sent are not sent again."""
    a = await Bridge(world, "a", Policy(share_batch=2, claim_batch=2)).start()
    b = await Bridge(world, "b").start()
    await a.encrypted_room()
    them = await b.join("u1", "u2", "u3", "u4", "u5")
    await a.join("bot")
    sending, calls = world.send_to_device, []

    async def send_to_device(*args: Any) -> None:
        calls.append(sorted(args[3]))
        if len(calls) == 2:
            raise TransientError("away")
        await sending(*args)

    world.send_to_device = send_to_device  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        await a.send(a.bot, "x", them)
    event = await a.send(a.bot, "x", them)
    users = sorted(owner.user for owner in them)
    assert [len(one) for one in calls] == [2, 2, 2, 1] and calls[0] + calls[2] + calls[3] == users
    await b.hear()
    assert await b.read(event) == "x" and b.total("to_device", "room_key") == 1
    for bridge in (a, b):
        await bridge.kill()


async def test_a_server_that_does_not_answer_stops_nobody(pair: Pair) -> None:
    """Its users are asked about again later; the others read meanwhile."""
    a, b = pair
    gone = Owner("@x:gone", "D")  # type: ignore[arg-type]
    a.world.silent.add("gone")
    event = await a.send(a.bot, "x", [b.bot, gone])
    await a.send(a.bot, "y", [b.bot, gone])
    assert a.world.count("query_keys") == 1
    a.clock.ms += 400_000
    await a.send(a.bot, "z", [b.bot, gone])
    assert a.world.calls[-1][2] == [gone.user]
    await b.hear()
    assert await b.read(event) == "x"


async def test_a_large_room_of_whom_some_have_no_keys(pair: Pair) -> None:
    """All who have keys get the session's in a few requests; those who have none delay nobody, and are told."""
    a, b = pair
    owners = await b.join(*(f"u{number}" for number in range(50)))
    for owner in owners[:10]:
        a.world.one_time.pop(owner)
        a.world.fallback.pop(owner)
    before = len(a.world.calls)
    event = await a.send(a.bot, "x", owners)
    calls = [name for name, _, _ in a.world.calls[before:]]
    assert sorted(calls) == ["claim_keys", "query_keys", "send_to_device", "send_to_device"]
    assert (a.total("shares", "given"), a.total("shares", "no_olm")) == (40, 10)
    await a.send(a.bot, "y", owners)
    assert len(a.world.calls) - before == len(calls)
    await b.hear()
    assert await b.read(event) == "x"


async def test_many_at_once_use_each_index_once(pair: Pair) -> None:
    """Sends at the same time share the key once, and get one index each."""
    a, b = pair
    events = await asyncio.gather(*(a.send(a.bot, str(number), [b.bot]) for number in range(20)))
    assert sorted(message_index(one["content"]["ciphertext"]) for one in events) == list(range(20))
    assert a.total("shares", "given") == 1
    await b.hear()
    assert [await b.read(one) for one in events] == [str(number) for number in range(20)]


async def test_a_cancelled_send_leaves_a_working_session(pair: Pair) -> None:
    """Wherever it is cancelled, the next message is read."""
    a, b = pair
    for steps in range(1, 12):
        await a.machine.discard(a.bot, ROOM)
        task = asyncio.ensure_future(a.send(a.bot, "x", [b.bot]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        event = await a.send(a.bot, str(steps), [b.bot])
        await b.hear()
        assert await b.read(event) == str(steps)


async def test_a_replayed_event_is_refused(pair: Pair) -> None:
    """The same ciphertext as another event, or at another time, is refused; the same event again is not."""
    a, b = pair
    events = [await a.send(a.bot, str(number), [b.bot]) for number in range(3)]
    await b.hear()
    for event in events:
        assert await b.read(event) == await b.read(event)
    assert await refused(b, {**events[0], "event_id": "$again"}) is Reason.REPLAY
    assert await refused(b, {**events[2], "origin_server_ts": 1}) is Reason.REPLAY
    b.store.later([])
    await b.store.rooms()  # what was handed to `later` is committed
    await b.restart()
    assert await refused(b, {**events[1], "event_id": "$again"}) is Reason.REPLAY
    assert await b.read(events[1]) == "1"


async def test_an_event_is_bound_to_sender_room_and_form(pair: Pair) -> None:
    """Sent on by somebody else, into another room, damaged or in another algorithm, it is refused."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    content = event["content"]
    assert await refused(b, {**event, "sender": "@mallory:test"}) is Reason.SENDER
    for damaged, reason in (
        ({**content, "ciphertext": content["ciphertext"][:-8] + "AAAAAAAA"}, Reason.BAD_SIGNATURE),
        ({**content, "ciphertext": "AAAA"}, Reason.BAD_MESSAGE),
        ({**content, "ciphertext": 5}, Reason.DAMAGED),
        ({**content, "session_id": ""}, Reason.DAMAGED),
        ({**content, "algorithm": "m.olm.v1.curve25519-aes-sha2"}, Reason.ALGORITHM),
        ({}, Reason.ALGORITHM),
    ):
        assert await refused(b, {**event, "content": damaged}) is reason
    with pytest.raises(MissingKeyError):
        await b.read({**event, "room_id": "!other:test"})
    # The homeserver cannot move a session to another room: its room is in what is encrypted.
    for row in await b.store.inbound(ROOM, session(event)):
        b.store.rows[type(row), "!other:test", row.session, row.sender_key] = type(row)(
            "!other:test",  # type: ignore[arg-type]
            row.session,
            row.sender_key,
            row.sender,
            row.value,
            row.received_at,
            row.used_at,
        )
    await b.restart()
    assert await refused(b, {**event, "room_id": "!other:test"}) is Reason.ROOM
    assert await b.read(event) == "x"


async def test_a_stranger_cannot_take_a_sessions_place(pair: Pair) -> None:
    """Mallory has the key and gives it as his own first: the session's owner is still read, Mallory never as her."""
    a, b = pair
    mallory = await Bridge(a.world, "m").start()
    await mallory.join("bot")
    event = await a.send(a.bot, "x", [b.bot, mallory.bot])
    await mallory.hear()
    (found,) = await mallory.machine._inbounds.find(ROOM, session(event))
    # The owner's message to the victim is held back; Mallory's own comes first, with the same session.
    held = a.world.queue.pop(b.prefix)
    ours = await mallory.machine.accounts.ready(mallory.bot)
    target = read_device(a.world.devices[b.bot.user][b.bot.device], b.bot.user, b.bot.device, "")
    assert target is not None
    row = next(one for one in a.store.all(type(found.row)) if one.session == session(event))
    key = a.machine._inbounds.found(row).session
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": ROOM,
        "session_id": session(event),
        "session_key": key.export(0),
        "sender_key": ours.account.curve25519,
        "sender_claimed_ed25519_key": ours.account.ed25519,
        "forwarding_curve25519_key_chain": [],
    }
    messages, _ = await mallory.machine._pairwise.encrypted(ours, [target], "m.forwarded_room_key", lambda _: content)
    await a.world.send_to_device(mallory.bot, "m.room.encrypted", "t", messages)
    await b.hear()
    assert b.total("to_device", "trust") == 1 and await b.store.inbound(ROOM, session(event)) == []
    a.world.queue[b.prefix] = held
    await b.hear()
    assert await b.read(event) == "x"
    assert await refused(b, {**event, "sender": mallory.bot.user, "event_id": "$m"}) is Reason.SENDER
    await mallory.kill()


async def test_a_wedged_session_is_replaced(pair: Pair) -> None:
    """A message that does not decrypt brings a new session, once in an hour, and the next key is read."""
    a, b = pair
    await a.send(a.bot, "1", [b.bot])
    await b.hear()
    await b.send(b.bot, "2", [a.bot])
    await a.hear()
    await a.send(a.bot, "3", [b.bot])
    # The receiver's disk comes back from a backup without its sessions.
    for key in [key for key in b.store.rows if key[0].__name__ == "OlmSessionRow"]:
        del b.store.rows[key]
    await b.restart()
    b.clock.ms += HOUR
    await a.machine.discard(a.bot, ROOM)
    lost = await a.send(a.bot, "4", [b.bot])
    await b.hear()
    assert b.total("to_device", "unknown_session") == 1 and b.total("to_device", "unwedged") == 1
    with pytest.raises(MissingKeyError):
        await b.read(lost)
    await a.hear()
    assert a.total("to_device", "dummy") == 1
    await a.machine.discard(a.bot, ROOM)
    event = await a.send(a.bot, "5", [b.bot])
    await b.hear()
    assert await b.read(event) == "5"


async def test_a_key_that_comes_while_the_bridge_stops_is_no_error(pair: Pair) -> None:
    """Where no task can be begun any more, what is to be asked or taken back is dropped and counted."""
    _, b = pair
    await b.tasks.close(0)
    requests = b.machine._requests
    for _ in range(3):
        requests.arrived(ROOM, "session")
    assert (b.total("requests", "dropped"), requests._running) == (3, 0)


async def test_a_missing_key_is_asked_for_once_and_given(pair: Pair) -> None:
    """The device that was to have the key asks its sender and gets it; after a restart it does not ask twice."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    a.world.queue.pop(b.prefix)  # the key is lost on its way
    with pytest.raises(MissingKeyError) as caught:
        await b.read(event)
    assert await b.machine.ask_for(caught.value, event)
    await b.restart()
    await b.machine.devices.current([a.bot.user])
    assert not await b.machine.ask_for(caught.value, event)
    await a.hear()
    assert a.total("requests", "answered") == 1
    await b.hear()
    assert b.arrived == [(ROOM, session(event))]
    assert await b.read(event) == "x"
    # It is taken back, and who asks once more within an hour is not answered.
    assert b.store.rows and not await b.store.requests(ROOM, session(event))
    assert a.world.queue[a.prefix][-1]["content"]["action"] == "request_cancellation"


async def test_keys_are_given_only_to_who_had_them(pair: Pair) -> None:
    """Somebody who was never to read, or a device that was left out, asks in vain."""
    a, b = pair
    (carl,) = await b.join("carl")
    event = await a.send(a.bot, "x", [b.bot])
    await a.machine.devices.current([carl.user])  # known, and still nobody who was to read
    for device in ("BRIDGE", "OTHER"):
        content = {
            "action": "request",
            "request_id": device,
            "requesting_device_id": device,
            "body": {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session(event)},
        }
        a.world.put(carl.user, a.bot.user, "BRIDGE", "m.room_key_request", content)
    a.world.put(b.bot.user, a.bot.user, "BRIDGE", "m.room_key_request", {**content, "requesting_device_id": "OTHER"})
    await a.hear()
    assert a.total("requests", "refused") == 3 and a.total("requests", "answered") == 0


async def test_strangers_who_ask_for_keys_cost_nothing(pair: Pair) -> None:
    """Who was given nothing, and devices that nobody has, are refused before shares are read or anybody is asked."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    read: list[object] = []
    shares = a.store.shares

    async def counted(room: RoomId, session: str) -> Any:
        read.append(session)
        return await shares(room, session)

    a.store.shares = counted  # type: ignore[method-assign]

    def ask(user: str, device: str) -> None:
        body = {"algorithm": MEGOLM, "room_id": event["room_id"], "session_id": session(event)}
        content = {"action": "request", "body": body, "request_id": str(a.clock.ms), "requesting_device_id": device}
        a.world.put(user, a.bot.user, a.bot.device, "m.room_key_request", content)

    asked = a.world.count("query_keys")
    ask("@eve:test", "D")
    ask(b.bot.user, "MADE_UP")
    await a.hear()
    assert not read and a.world.count("query_keys") == asked and a.total("requests", "refused") == 2
    for number in range(600):
        ask(b.bot.user, f"D{number}")
    ask(b.bot.user, b.bot.device)
    await a.hear()
    assert not read and a.total("requests", "answered") == 0
    a.clock.ms += 3_600_000
    ask(b.bot.user, b.bot.device)
    await a.hear()
    assert read and a.total("requests", "answered") == 1


async def test_a_late_key_follows_a_withheld_one(pair: Pair) -> None:
    """A note that the key is withheld is told, with its reason, and forgotten when the key comes all the same."""
    a, b = pair
    a.policy = Policy(send=Trust.VERIFIED)
    await a.restart()
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    with pytest.raises(MissingKeyError) as caught:
        await b.read(event)
    assert caught.value.withheld == "m.unverified"
    assert b.withheld == [(ROOM, session(event), a.bot.user)] and not b.arrived
    master = (await a.machine.devices.known(b.bot.user)).master
    await a.machine.devices.change(b.bot.user, confirm=master)
    later = await a.send(a.bot, "y", [b.bot])
    assert session(later) == session(event)
    await b.hear()
    assert await b.read(later) == "y"


async def test_what_trust_is_wanted_of_senders(pair: Pair) -> None:
    """Events of devices below the level are refused; of one that is not listed (any more) they wait."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    assert (await b.decrypted(event)).trust is Trust.PINNED
    b.policy = Policy(receive=Trust.CROSS_SIGNED)
    await b.restart()
    assert await b.read(event) == "x"
    listed = b.world.devices.pop(a.bot.user)
    for answers in (True, False):  # a list without it, then a server that does not answer and a database without any
        b.world.tell_changed(a.bot.user)
        b.take()
        b.arrived.clear()
        if not answers:
            b.world.silent.add("test")
            b.store.rows = {key: row for key, row in b.store.rows.items() if key[0].__name__ != "TrackedRow"}
            await b.restart()
        with pytest.raises(MissingKeyError) as caught:
            await b.read(event)
        assert not caught.value.listed and not b.arrived
        asked = b.world.count("send_to_device")
        assert not await b.machine.ask_for(caught.value, event) and b.world.count("send_to_device") == asked
    b.world.silent.clear()
    b.world.devices[a.bot.user] = listed
    b.world.tell_changed(a.bot.user)
    b.take()
    assert b.arrived == [(ROOM, session(event))]
    assert await b.read(event) == "x"
    b.world.cross.pop(a.bot.user)
    b.world.tell_changed(a.bot.user)
    b.take()
    assert await refused(b, event) is Reason.TRUST


async def test_who_waits_for_a_list_is_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of made-up senders, whose devices nobody lists, so many are remembered, and no name of those beyond."""
    _, b = pair
    monkeypatch.setattr("bridge_core.crypto.senders._MOST", 5)
    senders = b.machine.senders
    for number in range(50):
        senders._wait(UserId(f"@u{number}:x"), (ROOM, f"s{number}"))
    assert len(senders._waiting) == 5
    senders.changed([UserId("@u0:x")])
    senders._wait(UserId("@u9:x"), (ROOM, "s9"))
    assert UserId("@u9:x") in senders._waiting and len(senders._waiting) == 5


async def test_lists_that_nobody_tells_of_are_asked_for_again(world: KeyWorld) -> None:
    """What waits for a device to be listed is tried again by the clock, and more than one message at a time."""
    a, b = await Bridge(world, "a").start(), await Bridge(world, "b", Policy(receive=Trust.UNSIGNED)).start()
    for one in (a, b):
        await one.encrypted_room()
        await one.join("bot")
    events = []
    for _ in range(2):
        events.append(await a.send(a.bot, "x", [b.bot]))
        await a.machine.discard(a.bot, ROOM)
    await b.hear()
    b.clock.ms += 5
    listed = world.devices.pop(a.bot.user)
    for event in events:
        with pytest.raises(MissingKeyError):
            await b.read(event)
    world.devices[a.bot.user] = listed
    with pytest.raises(MissingKeyError):
        await b.read(events[0])  # nobody has told of it
    world.changed.clear()
    b.arrived.clear()
    watching = asyncio.create_task(b.machine.senders.watch())
    while len(b.arrived) < 2:
        await asyncio.sleep(0)
    watching.cancel()
    assert {session for _, session in b.arrived} == {session(event) for event in events}
    assert [await b.read(event) for event in events] == ["x", "x"]
    for one in (a, b):
        await one.kill()


async def test_a_device_nobody_has_told_of_is_asked_for_once(pair: Pair) -> None:
    """Homeservers tell of a new device after its first message at times: its owner is asked about again, once."""
    a, b = pair
    listed = b.world.devices.pop(a.bot.user)
    assert not (await b.machine.devices.current([a.bot.user]))[a.bot.user].devices
    b.world.devices[a.bot.user] = listed
    b.clock.ms += 5
    event = await a.send(a.bot, "x", [b.bot])
    b.world.changed.clear()
    await b.hear()
    found = await b.decrypted(event)
    assert (found.trust, found.device) == (Trust.PINNED, a.bot.device)
    b.clock.ms += 5
    del b.world.devices[a.bot.user]
    b.world.tell_changed(a.bot.user)
    event = await a.send(a.bot, "y", [b.bot])
    await b.hear()
    assert (await b.decrypted(event)).device == ""
    asked = b.world.count("query_keys")
    for text in ("1", "2", "3"):
        event = await a.send(a.bot, text, [b.bot])
        # It was theirs when it was listed: logged out since, or put away by a homeserver, which a list cannot tell.
        assert (await b.decrypted(event)).trust is Trust.UNSIGNED
    assert b.world.count("query_keys") == asked
    await b.machine.devices.change(a.bot.user, block=[a.bot.device])
    assert await refused(b, event) is Reason.TRUST


async def test_a_device_that_was_never_listed_waits(pair: Pair) -> None:
    """A session in somebody's name of a device that their homeserver has never listed is not believed, nor refused."""
    a, b = pair
    event = await a.send(a.bot, "x", [b.bot])
    await b.hear()
    listed = b.world.devices.pop(a.bot.user)
    b.store.rows = {key: row for key, row in b.store.rows.items() if key[0].__name__ != "TrackedRow"}
    await b.restart()
    with pytest.raises(MissingKeyError) as caught:
        await b.read(event)
    assert not caught.value.listed
    b.world.devices[a.bot.user] = listed
    b.world.tell_changed(a.bot.user)
    b.take()
    assert await b.read(event) == "x"
    b.policy = Policy(receive=Trust.UNKNOWN)
    del b.world.devices[a.bot.user]
    b.store.rows = {key: row for key, row in b.store.rows.items() if key[0].__name__ != "TrackedRow"}
    await b.restart()
    assert (await b.decrypted(event)).trust is Trust.UNKNOWN


async def test_ghosts_speak_by_the_bot_where_that_is_wanted(world: KeyWorld) -> None:
    """With `bot` no ghost gets keys of its own."""
    a = await Bridge(world, "a", Policy(per_ghost=False)).start()
    b = await Bridge(world, "b").start()
    await b.join("bot")
    await a.encrypted_room()
    event = await a.send(a.ghost("ann"), "x", [b.bot])
    assert set(world.devices) == {a.bot.user, b.bot.user}
    await b.hear()
    # Just what clients warn of: the session is not of the event's sender.
    assert await refused(b, event) is Reason.SENDER
    b.policy = Policy(receive=Trust.MISMATCHED)
    await b.restart()
    found = await b.decrypted(event)
    assert (found.event["content"]["body"], found.trust) == ("x", Trust.MISMATCHED)
    for bridge in (a, b):
        await bridge.kill()


async def test_idle_accounts_are_forgotten(world: KeyWorld) -> None:
    """As many accounts as the policy says stay in memory, and those that were forgotten speak on in their session."""
    a = await Bridge(world, "a", Policy(loaded_accounts=3)).start()
    b = await Bridge(world, "b").start()
    await b.join("bot")
    await a.encrypted_room()
    for number in range(8):
        await a.send(a.ghost(f"g{number}"), "x", [b.bot])
    assert len(a.machine.accounts) <= 3
    sessions = a.total("shares", "sessions")
    event = await a.send(a.ghost("g0"), "again", [b.bot])
    assert a.total("shares", "sessions") == sessions == 8
    await b.hear()
    assert await b.read(event) == "again"
    for bridge in (a, b):
        await bridge.kill()


async def test_sweeping_asks_the_store(pair: Pair) -> None:
    """The policy's ages become times."""
    a, _ = pair
    await a.machine.sweep()
    now, policy = a.clock.ms, a.policy
    assert a.store.swept == (now - policy.max_age, now - policy.max_unused, now - policy.forget)
