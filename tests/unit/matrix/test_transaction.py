"""Reading transactions."""

import hashlib
import json
import threading
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.matrix import salvage
from bridge_core.matrix.transaction import BadTransactionError, read_transaction, receive_transaction

GOOD = {"type": "t", "room_id": "!r", "sender": "@a:b", "event_id": "$e", "content": {}}


def read(**whole: Any) -> Any:
    """A transaction with these keys."""
    return read_transaction("1", json.dumps(whole).encode())


def test_the_digest_is_of_the_body() -> None:
    """Two bodies under one id are told apart: Synapse on SQLite numbers from 1 again after a restart."""
    body = orjson.dumps({"events": [GOOD]})
    first, second = read_transaction("1", body), read_transaction("1", b'{"events":[]}')
    assert first.digest == hashlib.sha256(body).digest() != second.digest


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "x",
        [],
        {},
        {**GOOD, "type": None},
        {**GOOD, "room_id": ["!r"]},
        {**GOOD, "sender": {}},
        {**GOOD, "event_id": 7},
        {**GOOD, "event_id": ""},
        {**GOOD, "event_id": "$" + "e" * 300},
        {**GOOD, "room_id": "!r\0"},
        {**GOOD, "content": "x"},
        {**GOOD, "state_key": 7},
        {key: value for key, value in GOOD.items() if key != "sender"},
    ],
    ids=repr,
)
def test_one_bad_event_costs_no_other(bad: object) -> None:
    """It is left out and counted."""
    txn = read(events=[GOOD, bad, {**GOOD, "event_id": "$f"}])
    assert ([event["event_id"] for event in txn.events], txn.skipped) == (["$e", "$f"], 1)


def test_a_tombstone_without_state_key_is_a_message() -> None:
    """The class of matrix-appservice-bridge's forged tombstone: what is state is told by `state_key` alone."""
    (event,) = read(events=[{**GOOD, "type": "m.room.tombstone"}]).events
    assert "state_key" not in event


def test_ephemeral_events_come_once() -> None:
    """With both registration flags Synapse sends each under two names."""
    typing = {"type": "m.typing", "room_id": "!r", "content": {"user_ids": []}}
    both = {"ephemeral": [typing], "de.sorunome.msc2409.ephemeral": [typing]}
    assert read(events=[], **both).ephemeral == [typing]
    assert read(**{"de.sorunome.msc2409.ephemeral": [typing, 7]}).ephemeral == [typing]


def test_encryption_extensions_under_each_name() -> None:
    """To-device, device lists, counts and fallback types, stable or unstable, in both spellings of the counts."""
    message = {"type": "m.x", "sender": "@a:b", "to_user_id": "@c:d", "to_device_id": "D", "content": {}}
    counts = {"@c:d": {"D": {"signed_curve25519": 5}}}
    for name in ("device_one_time_keys_count", "device_one_time_key_counts"):
        txn = read(
            **{
                "de.sorunome.msc2409.to_device": [message],
                "org.matrix.msc3202.device_lists": {"changed": ["@x:y"], "left": []},
                f"org.matrix.msc3202.{name}": counts,
                "org.matrix.msc3202.device_unused_fallback_key_types": {"@c:d": {"D": []}},
            }
        )
        assert (txn.to_device, txn.otk_counts) == ([message], counts)
        assert txn.device_lists["changed"] == ["@x:y"]
        assert txn.fallback_types == {"@c:d": {"D": []}}
    assert read(events=[], device_one_time_keys_count=counts, device_lists=7).device_lists == {}


@pytest.mark.parametrize(
    "poison",
    [
        b'{"type":"t","content":' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}",
        b'{"type":"t","content":{"body":"\\ud800"}}',
        b'{"type":"t","content":{"body":"\xff"}}',
    ],
    ids=["deep", "half a surrogate pair", "not utf-8"],
)
def test_an_event_no_parser_takes_does_not_stop_the_queue(poison: bytes) -> None:
    """The rest of the transaction is read: answered 400 it would come for ever, and everything behind it wait."""
    good = orjson.dumps({**GOOD, "content": {"body": 'a "quoted, [bracket]" \\'}})
    body = b'{"events":[' + good + b"," + poison + b"," + good + b'],"ephemeral":[]}'
    txn = read_transaction("1", body)
    assert (len(txn.events), txn.skipped) == (2, 1)
    assert txn.events[1]["content"]["body"] == 'a "quoted, [bracket]" \\'


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":[', b"]}"), (b'[["]\\"",{}],[', b"]]")])
def test_depth_of_any_shape_is_skipped(opening: bytes, closing: bytes) -> None:
    """Events behind deep ones are found, whatever the depth is made of; what is cut off in the depth is no JSON."""
    deep = b'{"x":' + opening * 2000 + b"0" + closing * 2000 + b"}"
    body = b'{"events":[' + b",".join([deep, orjson.dumps(GOOD)] * 2) + b"]}"
    txn = read_transaction("1", body)
    assert ([event["event_id"] for event in txn.events], txn.skipped) == (["$e", "$e"], 2)
    with pytest.raises(BadTransactionError):
        read_transaction("1", body[: len(deep) // 2])


@pytest.mark.parametrize("shape", [b"[", b"[]"])
def test_a_large_unreadable_body_takes_few_steps(shape: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred deep events of full size are read in steps by the event, not by the byte."""
    steps = []

    class Counting:
        """A pattern that counts its uses."""

        def __init__(self, pattern: Any) -> None:
            self.pattern = pattern

        def __getattr__(self, name: str) -> Any:
            steps.append(name)
            return getattr(self.pattern, name)

    for name in ("_TOKEN", "_DEEP"):
        monkeypatch.setattr(salvage, name, Counting(getattr(salvage, name)))
    inside = shape * 30000 if shape == b"[" else b"[" * 2000 + b",".join([shape] * 20000)
    deep = b'{"x":' + inside + b"]" * (30000 if shape == b"[" else 2000) + b"}"
    assert read_transaction("1", b'{"events":[' + b",".join([deep] * 100) + b"]}").skipped == 100
    assert len(steps) < 2000


async def test_what_no_parser_takes_is_read_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on meanwhile; what the parser takes is read at once."""
    threads = []

    def noting(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return salvage.salvage(body)

    monkeypatch.setattr("bridge_core.matrix.transaction.salvage", noting)
    good = orjson.dumps(GOOD)
    txn = await receive_transaction("1", b'{"events":[' + good + b',"\xff"]}')
    assert (len(txn.events), txn.skipped) == (1, 1)
    assert threads and threads[0] is not threading.main_thread()
    assert len((await receive_transaction("1", b'{"events":[' + good + b"]}")).events) == 1
    with pytest.raises(BadTransactionError):
        await receive_transaction("1", b"{")


@given(st.binary(max_size=300))
def test_bytes_never_crash(body: bytes) -> None:
    """Any bytes are a transaction or BadTransactionError."""
    try:
        read_transaction("1", body)
    except BadTransactionError as error:
        assert error.errcode in {"M_NOT_JSON", "M_BAD_JSON"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(GOOD)) | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["events", "ephemeral", "to_device", "device_lists", "device_one_time_keys_count"]), JSON
    ),
    st.integers(0, 3),
)
def test_json_never_crashes(whole: dict[str, Any], cut: int) -> None:
    """Any object, whole or cut short; what is accepted has the promised shape."""
    body = json.dumps(whole).encode()
    try:
        txn = read_transaction("1", body[: len(body) - cut])
    except BadTransactionError:
        return
    for event in txn.events:
        assert all(isinstance(event[key], str) for key in ("type", "room_id", "sender", "event_id"))
        assert isinstance(event["content"], dict)
