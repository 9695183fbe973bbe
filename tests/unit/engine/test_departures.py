"""Rooms that are not bridged any more are left by all of ours, whatever happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.departures import Departures
from tests.unit.matrix.doubles import Clock

BOT = UserId("@bot:hs.test")
A, B = RoomId("!a:hs.test"), RoomId("!b:hs.test")
BOB, CAROL = UserId("@_net_bob:hs.test"), UserId("@_net_carol:hs.test")


class Waiting(Clock):
    """Sleeps in no time, but not before the loop has gone round."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Rooms:
    """A homeserver's rooms and what the bridge knows of them, which is the same here."""

    def __init__(self) -> None:
        self.bot = BOT
        self.inside = {A: {BOT, BOB, CAROL}, B: {BOT, BOB, CAROL}}
        self.bridged = {A, B}
        self.stored: dict[str, bytes] = {}
        self.refused: set[UserId] = set()
        self.gone: list[tuple[RoomId, UserId]] = []
        self.bridged_again_by: UserId | None = None

    def in_room(self, room: RoomId) -> tuple[RoomId, ...]:
        return (room,) if room in self.bridged else ()

    async def known(self, room: RoomId) -> set[UserId]:
        return set(self.inside[room])

    async def members(self, room: RoomId) -> set[UserId]:
        return set(self.inside[room])

    async def leave(self, room: RoomId, user: UserId) -> None:
        if user in self.refused:
            raise RejectedError("no such user")
        self.inside[room].discard(user)
        if user == self.bridged_again_by:
            self.bridged.add(room)

    async def left(self, room: RoomId, user: UserId) -> None:
        self.gone.append((room, user))

    async def put(self, namespace: str, key: str, value: bytes | None) -> None:
        if value is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = value

    async def items(self, namespace: str, prefix: str) -> dict[str, bytes]:
        return dict(self.stored)


@pytest.fixture(name="rooms")
def _rooms() -> Rooms:
    return Rooms()


@pytest.fixture(name="departures")
async def _departures(rooms: Rooms) -> AsyncIterator[Departures]:
    double = rooms
    departures = Departures(double, double, double, double, lambda user: True, Waiting(), 10.0)  # type: ignore[arg-type]
    task = asyncio.create_task(departures.run())
    yield departures
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _passes() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_room_that_ends_later_is_not_forgotten_for_one_that_ends_now(
    rooms: Rooms, departures: Departures
) -> None:
    """Each room is left when its own bridging has ended, and stays noted until then."""
    await departures.note(B)
    await departures.note(A)
    rooms.bridged.remove(A)
    departures.go(A)
    await _passes()
    assert rooms.inside == {A: set(), B: {BOT, BOB, CAROL}}
    assert list(rooms.stored) == [B]
    rooms.bridged.remove(B)
    departures.go(B)
    await _passes()
    assert rooms.inside[B] == set()
    assert rooms.stored == {}


async def test_a_room_that_is_bridged_again_meanwhile_is_not_left_by_the_others(
    rooms: Rooms, departures: Departures
) -> None:
    """Whoever has not left by then stays, and so does the bot."""
    await departures.note(A)
    rooms.bridged.remove(A)
    rooms.bridged_again_by = BOB
    departures.go(A)
    await _passes()
    assert rooms.inside[A] == {BOT, CAROL}
    assert rooms.gone == [(A, BOB)]


async def test_who_cannot_leave_keeps_nobody(rooms: Rooms, departures: Departures) -> None:
    """The homeserver refuses one of them: the others leave, and other rooms are left as well."""
    rooms.refused.add(BOB)
    rooms.bridged.clear()
    for room in (A, B):
        await departures.note(room)
        departures.go(room)
    await _passes()
    assert rooms.inside == {A: {BOB}, B: {BOB}}
    assert rooms.stored == {}


async def test_ghosts_alone_leave_where_the_bot_stays(rooms: Rooms, departures: Departures) -> None:
    """Of a room that went on as another one the bot reads what comes late; once all are to leave, it does too."""
    await departures.note(A, bot=False)
    rooms.bridged.remove(A)
    departures.go(A)
    await _passes()
    assert rooms.inside[A] == {BOT}
    await departures.note(A)
    await departures.stranded(A)
    await _passes()
    assert rooms.inside[A] == set()
