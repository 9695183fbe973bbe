"""Rooms whose own state the bridge has not looked at yet: those that were bridged before it knew what to look for.

What changes in a room later its events tell. So each room is looked at once for each thing that matters, beside the
messages and at a bounded rate; where a network has to allow public logs, nothing crosses before that.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.errors import RateLimitedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId
from bridge_core.engine.doublebridges import DoubleBridges
from bridge_core.engine.gate import Check
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import LOOKED, PortalIndex
from bridge_core.engine.publicity import Publicity
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

_READERS: Final = "r"
"""Looked for: whether anybody can read the room without being in it."""
_BRIDGES: Final = "b"
"""Looked for: whether another bridge is there."""
_UNSEEN: Final = "the bridge is not let see who can read this room, and that network does not allow public logs"
_AGAIN: Final = (1.0, 60.0)
"""Seconds until a room is tried again that could not be looked at: first and longest."""


class RoomSurvey(Check):
    """All rooms to be looked at. `rate` is rooms per second, `wake` lets lanes try again."""

    def __init__(
        self,
        networks: Networks,
        portals: PortalIndex,
        publicity: Publicity,
        doubles: DoubleBridges,
        clock: Clock,
        rate: float,
        wake: Callable[[], None],
    ) -> None:
        self._networks = networks
        self._portals = portals
        self._publicity = publicity
        self._doubles = doubles
        self._clock = clock
        self._interval = 1 / rate
        self._wake = wake
        self._waiting: OrderedDict[RoomId, None] = OrderedDict()
        self._unknown: set[RoomId] = set()
        """Rooms of which it must be known who can read them before anything crosses."""
        self._unseen: set[RoomId] = set()
        """Those of them that none of ours can look into: they are closed until somebody can."""
        self._more = asyncio.Event()

    def load(self) -> None:
        """Find out which rooms are to be looked at, once the portals are there. Does not block."""
        for portal in self._portals.all():
            for room in portal.rooms:
                self._put(portal, room)
        self._portals.watch(self._changed)

    def waiting(self) -> int:
        """How many rooms are still to be looked at."""
        return len(self._waiting)

    def room(self, room: RoomId) -> str:
        """As `Check.room`. Whoever asks has this room looked at next."""
        if self._unknown and room in self._unknown:
            self._waiting[room] = None
            self._waiting.move_to_end(room, last=False)
            self._more.set()
            raise TransientError("it is not known yet who can read this room")
        if self._unseen and room in self._unseen:
            self._waiting[room] = None
            self._more.set()
            return _UNSEEN
        return ""

    async def run(self) -> None:
        """Look at one room after another, for ever."""
        delay = _AGAIN[0]
        while True:
            await self._more.wait()
            if not self._waiting:
                self._more.clear()
                continue
            room = next(iter(self._waiting))
            pause = self._interval
            try:
                await self._look(room)
                delay = _AGAIN[0]
            except (TransientError, RateLimitedError) as error:
                log.info("room_not_looked_at", room=room, error=str(error))
                self._waiting.move_to_end(room)
                pause = max(delay, error.retry_after if isinstance(error, RateLimitedError) else 0.0)
                delay = min(delay * 2, _AGAIN[1])
            except Exception:
                # Whatever it is, it concerns this room: it stays closed where it must be known, and the others go on.
                log.exception("room_look_failed", room=room)
                self._waiting.pop(room, None)
            await self._clock.sleep(pause)

    async def _look(self, room: RoomId) -> None:
        portals = self._portals.in_room(room)
        asked = self._all_wanted(room)
        if portals:
            wanted = {what for _, what in asked}
            seen = True
            if _READERS in wanted:
                seen = await self._publicity.look(room)
                (self._unseen.discard if seen else self._unseen.add)(room)
            if _BRIDGES in wanted:
                seen = await self._doubles.look(room) and seen
            if seen:  # else the bot is not in it: whoever wants to cross and the next start have it looked at again
                for portal in portals:
                    await self._looked(portal, room)
        else:
            await self._publicity.forget(room)
            await self._doubles.forget(room)
            self._unseen.discard(room)
        if self._all_wanted(room) - asked:
            return  # a chat came into the room meanwhile: it is looked at once more, and stays closed where it was
        self._waiting.pop(room, None)
        if room in self._unknown:
            self._unknown.discard(room)
            self._wake()

    async def _looked(self, portal: PortalRow, room: RoomId) -> None:
        wanted = self._wanted(portal, room)
        if wanted:
            await self._portals.set_for_room(portal, LOOKED, room, lambda before: f"{before or ''}{wanted}")

    def _all_wanted(self, room: RoomId) -> frozenset[tuple[int, str]]:
        """What is still to be looked for in a room, and for the sake of which of its chats."""
        return frozenset(
            (portal.id, what) for portal in self._portals.in_room(room) for what in self._wanted(portal, room)
        )

    def _wanted(self, portal: PortalRow, room: RoomId) -> str:
        """What is still to be looked for in a room for the sake of one of its chats."""
        looked = portal.options.get(LOOKED, {}).get(room, "")
        wanted = _READERS if not self._publicity.allowed(portal.network) else ""
        wanted += _BRIDGES if not self._doubles.allowed(portal.network) else ""
        return "".join(what for what in wanted if what not in looked)

    def _put(self, portal: PortalRow, room: RoomId) -> None:
        wanted = self._wanted(portal, room)
        if wanted:
            self._waiting[room] = None
            self._more.set()
        if _READERS in wanted:
            self._unknown.add(room)

    def _changed(self, before: PortalRow, now: PortalRow | None) -> None:
        """A watcher of portals. A room that goes on as another one is looked at before anything crosses there."""
        there = frozenset(now.rooms if now is not None else ())
        gone = [room for room in before.rooms if room not in there]
        for room in gone:
            if not self._portals.in_room(room):
                self._waiting[room] = None  # what is kept of it goes
                self._more.set()
        if now is not None and gone:
            for room in there - frozenset(before.rooms):
                self._put(now, room)
