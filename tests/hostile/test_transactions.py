"""Transactions made to hurt: what is readable of them is handled once, and none of them stops the queue."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import Harness
from tests.invariants.scenes import Events, balances, event, put_transaction
from tests.scripted import Script


def _nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


async def test_depth_that_can_be_read_and_not_written_stops_nothing(bridge: Harness, script: Script) -> None:
    """Content 300 levels deep is read but cannot be stored as it came: the text is delivered all the same, once."""
    room = await bridge.portal_room("net", "lobby")
    deep = event(room, 1)
    deep["content"]["x"] = orjson.loads(_nested(300))
    body = json.dumps({"events": [event(room, 0), deep, event(room, 2)]}).encode()
    assert (await put_transaction(bridge, "deep", body))[0] == 200
    found = (await balances(bridge))["net", 0]
    assert (script.texts(), found.delivered) == ([f"pushed {number}" for number in range(3)], 3)


@pytest.mark.parametrize("depth", [100, 253, 254, 1000, 1100, 20_000])
async def test_any_depth_is_answered(bridge: Harness, script: Script, depth: int) -> None:
    """However deep one event is, the transaction is answered 200 and what stands beside that event is delivered."""
    room = await bridge.portal_room("net", "lobby")
    text = json.dumps({"events": [event(room, 1), {**event(room, 2), "content": "HERE"}, event(room, 3)]})
    assert (await put_transaction(bridge, "d", text.replace('"HERE"', _nested(depth)).encode()))[0] == 200
    await bridge.settled()
    assert [text for text in script.texts() if text != "pushed 2"] == ["pushed 1", "pushed 3"]


@pytest.mark.parametrize(
    "text",
    ["\\ud800", "\\udfff x", "\\u0000", "\\u202e", "\\r\\nQUIT", "\\ufeff", "\\u001f"],
)
async def test_odd_characters_cost_no_other_event(bridge: Harness, script: Script, text: str) -> None:
    """Half a surrogate pair, NUL, or a line break in a body: the events around it arrive, the books balance."""
    room = await bridge.portal_room("net", "lobby")
    whole = json.dumps({"events": [event(room, 1), event(room, 2), event(room, 3)]})
    assert (await put_transaction(bridge, "s", whole.replace("pushed 2", text).encode()))[0] == 200
    await balances(bridge)
    assert [one for one in script.texts() if one.startswith("pushed")] == ["pushed 1", "pushed 3"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"events":7}', b'{"events":{}}', b"\xff\xfe", b'{"events":[]}' * 2],
    ids=repr,
)
async def test_what_is_no_transaction_is_refused(bridge: Harness, body: bytes) -> None:
    """400 and nothing stored; the next transaction is taken."""
    status, answer = await put_transaction(bridge, "x", body)
    assert (status, answer["errcode"][:2]) == (400, "M_")
    assert (await put_transaction(bridge, "x", b'{"events":[]}'))[0] == 200


async def test_a_wrong_token_stores_nothing(bridge: Harness, script: Script) -> None:
    """403 before the body is looked at."""
    room = await bridge.portal_room("net", "lobby")
    status, answer = await put_transaction(bridge, "x", orjson.dumps({"events": [event(room, 1)]}), token="guess")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    await bridge.settled()
    assert script.sent == []


_leaf = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=6)
_any = st.recursive(
    _leaf
    | st.sampled_from(["$pushed1", "@alice:hs.test", "@_net_bob:hs.test", "m.replace", "m.text", "join", "x" * 999]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
_CONTENT = [
    "body",
    "format",
    "formatted_body",
    "msgtype",
    "m.new_content",
    "m.relates_to",
    "m.mentions",
    "url",
    "file",
    "info",
    "filename",
    "redacts",
    "reason",
    "membership",
    "displayname",
    "avatar_url",
    "key",
    "geo_uri",
    "m.in_reply_to",
    "rel_type",
    "event_id",
    "org.matrix.msc3381.poll.start",
]
_content = st.dictionaries(
    st.sampled_from(_CONTENT),
    _any | st.dictionaries(st.sampled_from(_CONTENT), _any, max_size=4),
    max_size=6,
)
_types = st.sampled_from(
    [
        "m.room.message",
        "m.room.redaction",
        "m.reaction",
        "m.room.member",
        "m.sticker",
        "m.room.encrypted",
        "m.room.tombstone",
        "m.poll.start",
        "m.room.power_levels",
        "m.room.create",
        "m.bridge",
    ]
) | st.text(min_size=1, max_size=8)
_odd = st.fixed_dictionaries(
    {"type": _types, "content": _content},
    optional={
        "sender": st.sampled_from(["@alice:hs.test", "@x:else.where", "@", "alice", "@_net_bob:else.where"]),
        "state_key": st.sampled_from(["", "@alice:hs.test", "@_net_bob:hs.test", "@bridgebot:hs.test", "@", "x" * 300]),
        "origin_server_ts": _leaf,
        "redacts": _any,
        "unsigned": _any,
        "prev_content": _any,
    },
)


async def test_no_event_can_crash_the_bridge(bridge: Harness, script: Script) -> None:
    """Wrong types in every field, in both directions of reference: everything ends counted, and the bridge works on."""
    room = await bridge.portal_room("net", "lobby")
    failed: list[str] = []
    batches: list[list[dict[str, Any]]] = []

    @settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
    )
    @given(st.lists(_odd, min_size=1, max_size=12))
    def collect(odd: list[dict[str, Any]]) -> None:
        batches.append(odd)

    collect()
    # In one loop, since a bridge lives in one: the strategy only makes the examples.
    for number, batch in enumerate(batches):
        events = [{**event(room, number * 100 + place), **odd} for place, odd in enumerate(batch)]
        body = json.dumps({"events": events}).encode("utf-8")
        status, _ = await put_transaction(bridge, f"h{number}", body)
        if status != 200:
            failed.append(f"{status} for {body!r}")
    assert failed == []
    await bridge.settled()
    found = await balances(bridge)
    assert [key for key, balance in found.items() if balance.pending or balance.waiting] == []
    assert not any(balance.dead for balance in found.values()), "internal errors: see the log"
    bridge.alice.send(room, "still here")
    await bridge.until(lambda: "still here" in script.texts())


async def test_events_for_rooms_nobody_bridges_are_counted(bridge: Harness, script: Script) -> None:
    """Rooms we know nothing of, and ids that are none: ignored, in the books, no lane stays busy."""
    rooms = ["!no:where", "not a room", "!" + "x" * 254, "!a\nb:c", "\u202e", "!\x1f\x1f:x"]
    await bridge.running.engine.intake.accept(Events([event(room, number) for number, room in enumerate(rooms)]))
    found = (await balances(bridge))["_bridge", 0]
    assert (found.accepted, found.ignored) == (len(rooms), len(rooms))
    assert script.sent == []
