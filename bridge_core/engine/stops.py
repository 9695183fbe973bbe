"""Emergency stop: of a network by an admin, of a room by whoever may change it. Stored, and in force at once."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.gate import Check
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues, PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

NAMESPACE: Final = "stops"
MISSED: Final = "stops.missed"
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Stop:
    """Something that is stopped: since when (milliseconds), by whom, and why. `admin`: only admins let it go on."""

    what: str
    by: UserId
    at: int
    reason: str = ""
    admin: bool = False

    @property
    def because(self) -> str:
        """The reason as the end of a sentence."""
        return f": {self.reason}" if self.reason else ""


class Stops(Check):
    """What is stopped. While it is, nothing crosses in either direction: who speaks on Matrix hears so.

    The rooms of a stopped network hear so when the first message from there is refused, and once more, with the time,
    when it goes on: what was said meanwhile is missing there.
    """

    def __init__(self, kv: KeyValues, portals: PortalIndex, status: Status, clock: Clock, tasks: TaskOwner) -> None:
        self._kv = kv
        self._portals = portals
        self._status = status
        self._clock = clock
        self._tasks = tasks
        self._networks: dict[NetworkId, Stop] = {}
        self._rooms: dict[RoomId, Stop] = {}
        self._starting: set[str] = set()
        """What is just being let go on: whoever stops it meanwhile means it."""
        self._missed: set[int] = set()
        """Portals in which something was refused while their network was stopped."""

    async def load(self) -> None:
        """Read what is stopped, before anything crosses."""
        for value in (await self._kv.items(NAMESPACE, "")).values():
            row = orjson.loads(value)
            # An earlier version did not write down who may let it go on. Staff of networks are no Matrix users.
            by_admin = not row["what"].startswith("!") and row["by"].startswith("@")
            self._put(Stop(**{"admin": by_admin, **row}))
        self._missed = {int(number) for number in await self._kv.items(MISSED, "")}

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`."""
        stop = self._networks.get(portal.network)
        if stop is not None:
            raise RejectedError(f"{portal.network} is stopped{stop.because}")

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`."""
        stop = self._networks.get(portal.network)
        if stop is None:
            return
        if portal.id and portal.id not in self._missed:
            self._missed.add(portal.id)
            with contextlib.suppress(RuntimeError):  # the bridge stops
                self._tasks.start(self._note(portal, stop), "stop-noted")
        raise RejectedError(f"{portal.network} is stopped{stop.because}")

    def room(self, room: RoomId) -> str:
        """As `Check.room`."""
        stop = self._rooms.get(room)
        return f"bridging of this room is stopped{stop.because}" if stop is not None else ""

    def all(self) -> list[Stop]:
        """Everything that is stopped, the longest first."""
        return sorted((*self._networks.values(), *self._rooms.values()), key=lambda stop: stop.at)

    async def stop(self, what: NetworkId | RoomId, by: UserId, reason: str = "", *, admin: bool = True) -> Stop:
        """Stop a network or a room (`!...`). In force at once, and still when the bridge comes back.

        Returns when it is stored; stopping again keeps the first time, and an `admin` of the bridge takes over what
        others have stopped. Raises TransientError when it cannot be stored: it is in force until the next start all
        the same.
        """
        known = self._of(what)
        if known is not None and known.admin >= admin and what not in self._starting:
            return known
        at = known.at if known is not None else self._clock.now_ms()
        stop = Stop(what, by, at, reason[:500], admin or (known is not None and known.admin))
        self._put(stop)
        await self._kv.put(NAMESPACE, what, orjson.dumps(asdict(stop)))
        log.warning("bridging_stopped", what=what, by=by)
        return stop

    async def start(self, what: NetworkId | RoomId, by: UserId, *, admin: bool = True) -> Stop:
        """Let it go on, and tell the rooms what they missed.

        Raises RejectedError in words when it was not stopped, when an admin has stopped it and this is none, and when
        somebody stops it meanwhile.
        """
        stop = self._of(what)
        if stop is None:
            raise RejectedError(f"{what} is not stopped")
        if stop.admin and not admin:
            raise RejectedError("an admin of the bridge has stopped it")
        self._starting.add(what)
        try:
            if what in self._networks:
                await self._tell_gaps(NetworkId(what), stop)
            else:
                await self._tell(RoomId(what), stop)
            if self._of(what) is stop:
                await self._kv.put(NAMESPACE, what, None)
            now = self._of(what)
            if now is not None and now is not stop:  # stored after what was just removed, if that was
                raise RejectedError(f"{now.by} has stopped it meanwhile")
        finally:
            self._starting.discard(what)
        self._networks.pop(NetworkId(what), None)
        self._rooms.pop(RoomId(what), None)
        log.warning("bridging_started", what=what, by=by)
        return stop

    def _of(self, what: str) -> Stop | None:
        return self._rooms.get(RoomId(what)) or self._networks.get(NetworkId(what))

    def _put(self, stop: Stop) -> None:
        if stop.what.startswith("!"):
            self._rooms[RoomId(stop.what)] = stop
        else:
            self._networks[NetworkId(stop.what)] = stop

    async def _note(self, portal: PortalRow, stop: Stop) -> None:
        """The first thing was refused in a portal: remember it, and tell its rooms, once."""
        text = f"{portal.network} is stopped{stop.because}. Until it goes on, nothing crosses in either direction."
        try:
            await self._kv.put(MISSED, str(portal.id), b"1")
            for room in portal.rooms:
                await self._status.say(room, text, key=f"stopped\x1f{room}\x1f{stop.what}\x1f{stop.at}")
        except BridgeError as error:
            self._missed.discard(portal.id)
            log.info("stop_not_told", portal=portal.id, error=str(error))

    async def _tell_gaps(self, network: NetworkId, stop: Stop) -> None:
        of_network = [row for row in self._portals.of_network(network) if row.id in self._missed]
        for rows in _pieces(of_network):
            # Each is stored, and said once whatever happens in between, so it may all be done again after a crash.
            await asyncio.gather(*(self._tell(room, stop) for row in rows for room in row.rooms))
            await asyncio.gather(*(self._kv.put(MISSED, str(row.id), None) for row in rows))
            self._missed.difference_update(row.id for row in rows)

    async def _tell(self, room: RoomId, stop: Stop) -> None:
        since, until = (
            datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
            for ms in (stop.at, self._clock.now_ms())
        )
        text = (
            f"Bridging goes on. Messages between {since} and {until} UTC are missing here: it was stopped{stop.because}"
        )
        await self._status.say(room, text, key=f"started\x1f{room}\x1f{stop.what}\x1f{stop.at}")


def _pieces(rows: list[PortalRow]) -> Iterable[list[PortalRow]]:
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
