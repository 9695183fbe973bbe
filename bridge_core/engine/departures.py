"""Our users leave rooms that are not bridged any more: beside the lanes, at a bounded rate, and after a crash too."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.errors import RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

_NAMESPACE: Final = "plain.departures"
_EVERYBODY: Final = b"everybody"
_GHOSTS: Final = b"ghosts"
_LONGEST: Final = 60.0


class Departures:
    """Rooms to be left. A room that is bridged again meanwhile is not left. `rate`: leaves per second at most."""

    def __init__(
        self,
        kv: KeyValues,
        portals: PortalIndex,
        ghosts: GhostPool,
        matrix: MatrixSide,
        ours: Callable[[str], bool],
        clock: Clock,
        rate: float,
    ) -> None:
        self._kv = kv
        self._portals = portals
        self._ghosts = ghosts
        self._matrix = matrix
        self._ours = ours
        self._clock = clock
        self._interval = 1 / rate
        self._waiting: dict[RoomId, bytes] = {}
        self._noted: dict[RoomId, bytes] = {}
        """Not to be left before `go`: until then a room is bridged, and would be left out."""
        self._anew: set[RoomId] = set()
        """Noted again while they were left: not done with when that is."""
        self._changed = asyncio.Event()

    async def note(self, room: RoomId, *, bot: bool = True) -> None:
        """The room is to be left, by ghosts alone when not `bot`. Returns when it is stored; `go` begins with it."""
        before = self._noted.get(room, self._waiting.get(room))
        how = _EVERYBODY if bot or before == _EVERYBODY else _GHOSTS
        self._noted[room] = how
        await self._kv.put(_NAMESPACE, room, how)

    async def stranded(self, room: RoomId) -> None:
        """A ghost came into a room that is not bridged any more: it was on its way when the others left."""
        try:
            await self.note(room, bot=False)
        finally:
            self.go(room)

    def go(self, room: RoomId) -> None:
        """Leave a room that was noted. Does not block."""
        if (how := self._noted.pop(room, None)) is not None:
            self._waiting[room] = how
            self._anew.add(room)
            self._changed.set()

    async def run(self) -> None:
        """Work until cancelled; first what an earlier process left undone."""
        pause, loaded = 0.5, False
        while True:
            try:
                if not loaded:
                    stored = await self._kv.items(_NAMESPACE, "")
                    self._waiting = {**{RoomId(room): how for room, how in stored.items()}, **self._waiting}
                    loaded = True
                self._changed.clear()
                for room in list(self._waiting):
                    await self._in_turn(room)
                pause = 0.5
                await self._changed.wait()
            except (TransientError, RateLimitedError) as error:
                wait = error.retry_after if isinstance(error, RateLimitedError) else pause
                log.info("departures_wait", error=str(error), seconds=wait)
                await self._clock.sleep(wait)
                pause = min(pause * 2, _LONGEST)
            except Exception:
                log.exception("departures_stumbled")
                await self._clock.sleep(_LONGEST)

    async def _in_turn(self, room: RoomId) -> None:
        self._anew.discard(room)
        try:
            await self._leave(room, bot=self._waiting[room] == _EVERYBODY)
        except Exception:
            # The others have their turn before it is tried again.
            self._waiting[room] = self._waiting.pop(room)
            raise
        if room not in self._anew:
            del self._waiting[room]
            if room not in self._noted:
                await self._kv.put(_NAMESPACE, room, None)

    async def _leave(self, room: RoomId, *, bot: bool) -> None:
        if self._portals.in_room(room):
            return
        for user in sorted(await self._present(room)):
            if self._portals.in_room(room):
                return
            await self._go(room, user)
            await self._clock.sleep(self._interval)
        if bot and not self._portals.in_room(room):
            await self._go(room, self._matrix.bot)

    async def _go(self, room: RoomId, user: UserId) -> None:
        try:
            await self._matrix.leave(room, user)
        except RejectedError as error:
            # A homeserver that knows them no more, say: the others leave all the same.
            log.warning("departure_refused", room=room, user=user, error=str(error))
        else:
            await self._ghosts.left(room, user)

    async def _present(self, room: RoomId) -> set[UserId]:
        known = set(await self._ghosts.known(room))
        try:
            known |= {user for user in await self._matrix.members(room) if self._ours(user)}
        except RejectedError as error:
            # The bot is not there any more: those that are known to be have to do.
            log.info("members_not_seen", room=room, error=str(error))
        return known - {self._matrix.bot}
