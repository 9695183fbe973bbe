"""Whether a room is encrypted: what is believed of it, and for how long."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import pytest
import pytest_asyncio

from bridge_core.api.errors import BridgeError, TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.encryption import Cipher, RoomEncryption
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, SendRequest
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.readers import Readers
from bridge_core.engine.secrecy import ENCRYPTION, MEGOLM, Secrecy
from bridge_core.matrix.cryptosync import DeviceSync, Watched
from bridge_core.matrix.transaction import Transaction
from bridge_core.observe.tasks import TaskOwner
from tests.unit.crypto.world import HandClock

ROOM, OTHER = RoomId("!r:hs"), RoomId("!other:hs")
GHOST = UserId("@_net_anna:hs")
CONTENT = {"algorithm": MEGOLM}


class Machine:
    """Believes what it is told of rooms."""

    def __init__(self) -> None:
        self.rooms: set[RoomId] = set()
        self.to: list[frozenset[UserId]] = []

    async def encrypt(
        self,
        request: SendRequest,
        members: frozenset[UserId],
        still: Callable[[frozenset[UserId]], frozenset[UserId]],
    ) -> SendRequest:
        self.to += [members, still(members)]
        return request

    def settings(self, room: RoomId) -> object | None:
        return CONTENT if room in self.rooms else None

    async def room_encrypted(self, room: RoomId, content: Mapping[str, Any]) -> bool:
        if content.get("algorithm") != MEGOLM:
            return False
        self.rooms.add(room)
        return True


class Side:
    """A homeserver of which the test says what it shows to whom."""

    bot = UserId("@bot:hs")

    def __init__(self) -> None:
        self.joined: set[UserId] = {self.bot, GHOST}
        self.shows: dict[UserId, Mapping[str, Any] | None] = {}
        self.asked = 0

    async def state(self, room: RoomId, kind: str, key: str = "", viewer: UserId | None = None) -> Any:
        assert viewer is not None
        if kind == "m.room.member":
            return {"membership": "join" if key in self.joined else "leave"}
        assert kind == ENCRYPTION
        self.asked += 1
        return self.shows.get(viewer)


class Leaving:
    """Two who read, of whom one leaves as soon as that was asked."""

    two = frozenset([UserId("@a:hs"), UserId("@b:hs")])

    async def of(self, room: RoomId, viewer: UserId) -> frozenset[UserId]:
        return self.two

    def still(self, room: RoomId, readers: frozenset[UserId]) -> frozenset[UserId]:
        assert room == ROOM
        return readers - {UserId("@b:hs")}


class NoPortals:
    """Nothing is bridged."""

    def in_room(self, room: RoomId) -> tuple[()]:
        return ()


async def no_ghosts(room: RoomId) -> frozenset[UserId]:
    return frozenset()


class Setting:
    """Both who know of rooms, before one homeserver."""

    def __init__(self) -> None:
        self.side, self.clock, self.tasks = Side(), HandClock(), TaskOwner("test")
        self.machine = Machine()
        matrix = cast(MatrixSide, self.side)
        self.rooms = RoomEncryption(
            cast(Cipher, self.machine),
            matrix,
            cast(PortalIndex, NoPortals()),
            cast(Readers, Leaving()),
            lambda user: True,
            {},
            self.tasks,
            lambda: None,
            no_ghosts,
            self.clock,
        )
        self.secrecy = Secrecy(matrix, self.clock)


@pytest_asyncio.fixture
async def at() -> AsyncIterator[Setting]:
    """A setting whose tasks have ended afterwards."""
    made = Setting()
    yield made
    await made.tasks.join(5)


async def test_an_event_is_believed_more_than_an_answer(at: Setting) -> None:
    """Where an event has said so a room is encrypted, though an answer (of another worker) lags behind."""
    assert not await at.rooms.encrypted(ROOM)
    at.rooms.changed(ROOM, CONTENT)
    await at.tasks.join(5)
    assert await at.rooms.encrypted(ROOM)
    assert ROOM not in at.rooms.plain


async def test_only_who_is_there_can_say_that_a_room_is_plain(at: Setting) -> None:
    """Nothing follows from what the bot was shown when it left: whoever speaks is asked, and else nobody knows."""
    at.side.joined = {GHOST}
    at.side.shows = {GHOST: CONTENT}
    with pytest.raises(MatrixRejectedError):
        await at.rooms.encrypted(ROOM)
    assert await at.rooms.secret(ROOM, at.side.bot)
    assert at.rooms.known(ROOM) is None
    assert await at.rooms.encrypted(ROOM, GHOST)
    with pytest.raises(BridgeError):
        await at.secrecy.why(OTHER, ROOM)
    at.side.shows = {at.side.bot: CONTENT}
    assert await at.rooms.encrypted(OTHER, GHOST), "that it was encrypted then holds for ever"


async def test_that_a_room_is_plain_is_not_believed_for_long(at: Setting) -> None:
    """Ten minutes later, or once events are late, it is asked again: the event that tells of a change may come late."""
    for _ in range(2):
        assert not await at.rooms.encrypted(ROOM)
    assert at.side.asked == 1
    at.clock.ms += 600_000
    assert ROOM not in at.rooms.plain
    assert not await at.rooms.encrypted(ROOM) and at.side.asked == 2
    at.rooms.doubt()
    assert at.rooms.known(ROOM) is None
    at.side.shows = {at.side.bot: CONTENT}
    assert await at.rooms.encrypted(ROOM)


async def test_copies_are_not_made_of_what_became_secret(at: Setting) -> None:
    """That a room is plain is believed for ten minutes where things are copied, too."""
    assert await at.secrecy.why(ROOM, OTHER) == ""
    at.side.shows = {at.side.bot: CONTENT}
    assert await at.secrecy.why(ROOM, OTHER) == ""
    at.clock.ms += 600_000
    assert await at.secrecy.why(ROOM, ROOM) == ""
    at.side.shows = {}
    assert "is encrypted" in await at.secrecy.why(ROOM, OTHER)


class Refuses:
    """A sink that takes nothing, and whoever is told that keys were lost by it."""

    async def accept(self, txn: Transaction) -> None:
        raise TransientError("later")

    def lost(self) -> None:
        """It is."""


async def test_where_events_are_refused_no_room_is_plain(at: Setting) -> None:
    """A transaction that is refused comes again later: what is in it, or behind it, may make any room encrypted."""
    assert not await at.rooms.encrypted(ROOM)
    watched = Watched(Refuses(), cast(DeviceSync, Refuses()), at.rooms.doubt, lambda _: None)
    with pytest.raises(TransientError):
        await watched.accept(Transaction("1", b"", [], [], [], {}, {}, {}))
    assert ROOM not in at.rooms.plain


async def test_who_leaves_before_its_turn_is_not_spoken_to(at: Setting) -> None:
    """Who still reads is asked when a message has its turn: then somebody may have left who was to read it."""
    await at.machine.room_encrypted(ROOM, CONTENT)
    request = SendRequest(ROOM, "m.room.message", "t", GHOST, "BRIDGE", b"{}")
    assert await at.rooms.sealed(request) == request
    assert at.machine.to == [Leaving.two, {"@a:hs"}]
