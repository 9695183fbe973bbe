"""What the encryption benchmarks stand on: the stub's key endpoints, and people who read and write."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest

from benchmarks.key_peers import ROTATION, BridgeDevice, Speaker, household, talks
from benchmarks.processes import BenchmarkError
from benchmarks.stub_homeserver import StubHomeserver
from benchmarks.stub_keys import DeviceKeys
from bridge_core.crypto.keyobjects import claimed_key, read_cross_key, read_device

BOT = "@bot:hs.test"
ROOM = "!r:hs.test"


def test_a_household_has_keys_that_are_believed() -> None:
    """Devices are signed by themselves and by their owner; each one-time key is given once, then the fallback key."""
    keys = DeviceKeys()
    for user, device, body, identity in household("@a:hs.test", 2, once=1)[1]:
        keys.upload(user, device, body)
        if identity is not None:
            keys.sign(user, identity)
    found = keys.query({"@a:hs.test": []})
    master = read_cross_key(found["master_keys"]["@a:hs.test"], "@a:hs.test", "master")
    signer = read_cross_key(
        found["self_signing_keys"]["@a:hs.test"],
        "@a:hs.test",
        "self_signing",
        master,
    )
    devices = found["device_keys"]["@a:hs.test"]
    read = [read_device(value, "@a:hs.test", name, signer) for name, value in devices.items()]
    assert [one is not None and one.signed for one in read] == [True, True]
    given = [
        claimed_key(keys.claim({"@a:hs.test": {"DEVICE0": ""}})["one_time_keys"]["@a:hs.test"]["DEVICE0"], read[0])
        for _ in range(3)
    ]
    assert all(given)
    assert given[0] != given[1] == given[2]


def test_what_people_say_is_read_once_and_in_order() -> None:
    """All messages of several sessions are read with the keys that come in the same transactions, and none without."""
    keys = DeviceKeys()
    (bot,), ((user, name, body, _),) = household(BOT, 1)
    keys.upload(user, name, body)
    (person,), _ = household("@a:hs.test", 1)
    answer = {**keys.query({BOT: []}), **keys.claim({BOT: {name: ""}})}
    speaker = Speaker(person, ROOM, BridgeDevice.read(BOT, answer))
    said = talks([speaker], ROTATION + 50, itertools.count(1))
    events = [(ROOM, e["sender"], orjson.dumps(e["content"]).decode()) for talk in said for e in talk.events]
    assert sum(len(talk.to_device) for talk in said) == 2
    with pytest.raises(BenchmarkError):
        bot.read(events)
    for talk in said:
        bot.hear(talk.to_device)
    tally = bot.read(events)
    assert (tally.count, tally.doubled, tally.reordered, tally.other) == (ROTATION + 50, 0, 0, 0)
    assert bot.read([*events, events[0]]).doubled == 1


def _asked(stub: StubHomeserver, method: str, path: str, data: Any = None, query: str = "") -> Any:
    reply = stub.handle(method, f"/_matrix/client/v3/{path}", query, orjson.dumps(data) if data is not None else b"")
    return orjson.loads(reply.body)


def test_the_stub_keeps_gives_and_counts() -> None:
    """Keys come back as they were uploaded, messages to devices are counted, of watched users kept until taken."""
    stub = StubHomeserver("hs.test", "bot")
    of_bot = f"user_id={BOT}&device_id=D"
    uploaded = _asked(stub, "POST", "keys/upload", {"device_keys": {"x": 1}, "one_time_keys": {"k": 2}}, of_bot)
    assert uploaded == {"one_time_key_counts": {"signed_curve25519": 1}}
    assert _asked(stub, "POST", "keys/query", {"device_keys": {BOT: []}})["device_keys"] == {BOT: {"D": {"x": 1}}}
    assert _asked(stub, "POST", "keys/claim", {"one_time_keys": {BOT: {"D": ""}}})["one_time_keys"] == {
        BOT: {"D": {"k": 2}}
    }
    assert stub._about_keys("watch", {"users": ["@a:hs.test"]}) == {}
    messages = {"messages": {"@a:hs.test": {"A": {"n": 1}}, "@b:hs.test": {"B": {}, "C": {}}}}
    assert _asked(stub, "PUT", "sendToDevice/m.room.encrypted/t1", messages) == {}
    kept = {"@a:hs.test": [{"type": "m.room.encrypted", "sender": BOT, "content": {"n": 1}}]}
    assert stub._about_keys("to_device", {}) == {"inboxes": kept, "sent": {"m.room.encrypted": 3}}
    assert stub._about_keys("to_device", {}) == {"inboxes": {}, "sent": {"m.room.encrypted": 3}}
    for _ in range(2):
        _asked(
            stub, "PUT", "rooms/!r%3Ahs.test/send/m.room.encrypted/t1", {"ciphertext": "x"}, "user_id=%40a%3Ahs.test"
        )
    assert stub.tally.count == 1
    assert [event[:2] for event in stub._about_keys("sealed", {})["events"]] == [(ROOM, "@a:hs.test")]
