"""Devices that cannot read what the bridge says: how often, and in what words, a room is told of them."""

from typing import cast

from bridge_core.api.ids import RoomId
from bridge_core.engine.skipped import SkippedDevices
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues
from tests.unit.crypto.world import HandClock

ROOM = RoomId("!r:hs")
DAY = 86_400_000


class Kept:
    """Named values in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], bytes | None] = {}

    async def get(self, namespace: str, key: str) -> bytes | None:
        return self.values.get((namespace, key))

    async def put(self, namespace: str, key: str, value: bytes | None) -> None:
        self.values[namespace, key] = value


class Said:
    """What the room was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def say(self, room: RoomId, text: str, *, key: str) -> None:
        self.texts.append(text)


def made() -> tuple[SkippedDevices, Said, HandClock]:
    said, clock = Said(), HandClock()
    return SkippedDevices(cast(KeyValues, Kept()), cast(Status, said), clock), said, clock


async def test_a_room_is_told_once_a_day() -> None:
    """However many devices come to a room, it is told of them once a day; of those of today another day."""
    skipped, said, clock = made()
    for number in range(50):
        await skipped.name(ROOM, [("@mallory:hs", f"D{number}")])
    assert len(said.texts) == 1
    await skipped.name(ROOM, [("@bob:hs", "KEYLESS")], keyless=True)
    assert len(said.texts) == 2 and "no keys left" in said.texts[1]
    clock.ms += DAY
    await skipped.name(ROOM, [("@mallory:hs", "D0")])
    assert len(said.texts) == 2
    await skipped.name(ROOM, [("@mallory:hs", "D1")])
    assert len(said.texts) == 3 and "@mallory:hs (D1)" in said.texts[2]


async def test_nobody_speaks_by_the_name_of_a_device() -> None:
    """Names of devices that are words or addresses are not said, and long ones are cut."""
    skipped, said, _ = made()
    await skipped.name(ROOM, [("@a:hs", "come to evil.example"), ("@b:hs", "evil.example"), ("@c:hs", "A" * 255)])
    (text,) = said.texts
    assert "evil" not in text
    assert text.endswith(f"@a:hs (a device), @b:hs (a device), @c:hs ({'A' * 20})")
