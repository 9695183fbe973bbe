"""EDUs as a hostile server may make them: each is left out by itself, and the next one counts."""

from pathlib import Path
from typing import Any

import pytest

from tests.scripted import Script
from tests.unit.engine.test_signals import ALICE, Scene

BAD: list[dict[str, Any]] = [
    {"type": "m.receipt"},
    {"type": "m.receipt", "room_id": None, "content": {}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"$e": None}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"$e": {"m.read": [ALICE]}}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"$e": {"m.read": {ALICE: "now"}}}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"$e\0": {"m.read": {ALICE: {"ts": 1}}}}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"$" + "e" * 5000: {"m.read": {ALICE: {"ts": 1}}}}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"": {"m.read": {ALICE: {"ts": 1}}}}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"$e": {"m.read": {"no user": {"ts": "x", "thread_id": 7}}}}},
    {"type": "m.receipt", "room_id": "ROOM", "content": {"$e": {"m.read": {ALICE: {"ts": True, "thread_id": "\0"}}}}},
    {"type": "m.typing", "room_id": "ROOM", "content": {"user_ids": {ALICE: True}}},
    {"type": "m.typing", "room_id": "ROOM", "content": {"user_ids": [None, 1, "", "\0", ["x"]]}},
    {"type": "m.typing", "content": {"user_ids": [ALICE]}},
    {"type": "m.presence", "content": {"presence": "online"}},
    {"type": "m.presence", "sender": ALICE, "content": {"presence": ["online"]}},
    {"type": "m.presence", "sender": 5, "content": {"presence": "online", "status_msg": {}}},
    {"type": "m.unknown", "content": {}},
]


async def test_malformed_signals_stop_nothing(tmp_path: Path) -> None:
    """No EDU, whatever its shape, keeps a receipt after it from being told, or is told itself."""
    script = Script()
    script.provided = True
    async with Scene(tmp_path, script, net={"presence": True}) as at:
        event = await at.say("two")
        for edu in BAD:
            at.signals.take([{**edu, **({"room_id": at.room} if edu.get("room_id") == "ROOM" else {})}])
        at.read(event)
        await at.idle()
        assert [receipt.target.id for receipt in at.told] == ["two"]


@pytest.mark.parametrize("count", [20_000])
async def test_a_flood_of_signals_is_bounded(tmp_path: Path, count: int) -> None:
    """Receipts of any number of users at once fill a bounded queue; what does not fit is counted."""
    script = Script()
    script.provided = True
    async with Scene(tmp_path, script) as at:
        readers = {f"@user{number}:evil.example": {"ts": 1} for number in range(count)}
        content = {"$e": {"m.read": readers}}
        at.signals.take([{"type": "m.receipt", "room_id": at.room, "content": content}])
        assert at.signals.busy() <= 10_001
        assert at.count("receipt", "dropped") == count - 10_000
        typing = {"user_ids": list(readers)}
        at.signals.take([{"type": "m.typing", "room_id": at.room, "content": typing}])
        await at.idle()
        assert sum(len(one.started) for one in at.told if hasattr(one, "started")) <= 100
