"""Devices that cannot read what the bridge says: how often, and in what words, a room is told of them."""

from typing import cast

from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.roomadmins import RoomAdmins
from bridge_core.engine.skipped import SkippedDevices
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues
from tests.unit.crypto.world import HandClock

ROOM = RoomId("!r:hs")
DESK, OTHER, OWNER = RoomId("!desk:hs"), RoomId("!other:hs"), UserId("@owner:hs")
NEXT = RoomId("!next:hs")
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
        self.mentions: list[tuple[str, ...]] = []
        self.desk: dict[str, str] = {}

    async def say(self, room: RoomId, text: str, *, key: str, mentions: tuple[UserId, ...] = ()) -> None:
        if room in (DESK, NEXT):
            self.desk.setdefault(key, text)
            return
        self.texts.append(text)
        self.mentions.append(mentions)


class Admins:
    """One who looks after every room, and has a desk."""

    desk = DESK

    async def of(self, room: RoomId) -> tuple[UserId, ...]:
        return (OWNER,)

    async def desks(self, admins: tuple[UserId, ...]) -> dict[UserId, RoomId]:
        return {OWNER: self.desk}


def made(admins: Admins | None = None) -> tuple[SkippedDevices, Said, HandClock]:
    said, clock = Said(), HandClock()
    looked = cast(RoomAdmins, admins or Admins())
    return SkippedDevices(cast(KeyValues, Kept()), cast(Status, said), looked, clock), said, clock


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


async def test_the_rooms_admins_are_told() -> None:
    """The notice mentions who looks after the room; each desk of theirs is told once for all rooms with the same."""
    admins = Admins()
    skipped, said, _ = made(admins)
    for room in (ROOM, OTHER):
        await skipped.name(room, [("@nina:hs", "NINA")])
    assert said.mentions == [(OWNER,), (OWNER,)]
    (words,) = said.desk.values()
    assert words.startswith(f"These devices cannot read what the bridge says in {ROOM}, since")
    admins.desk = NEXT
    await skipped.name(RoomId("!third:hs"), [("@nina:hs", "NINA")])
    assert len(said.desk) == 2
