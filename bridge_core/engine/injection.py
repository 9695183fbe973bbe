"""The bridge's own words in a network's name: put into the chat's lane like what the network says, and as durable."""

from collections.abc import Callable

from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, PortalKey, RoomId
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.payload import Departure, encode
from bridge_core.engine.ports import Direction, Journal, NewEntry
from bridge_core.engine.status import CORE


class Injection:
    """Appends events towards Matrix. `lanes` gives the lanes towards Matrix, which are built later."""

    def __init__(self, journal: Journal, clock: Clock, lanes: Callable[[], Lanes]) -> None:
        self._journal = journal
        self._clock = clock
        self._lanes = lanes

    async def put(self, network: NetworkId, event: RemoteEvent, *, dedupe: bytes | None = None) -> None:
        """Return when it is stored. Raises TransientError when the database cannot be written now."""
        lane = PortalKey(network, event.chat, event.receiver).lane()  # type: ignore[union-attr]
        entry = NewEntry(Direction.TO_MATRIX, network, lane, encode(event), self._clock.now_ms(), dedupe)
        accepted = await self._journal.append([entry], urgent=True)
        self._lanes().offer([entry], accepted, [event])

    async def core(self, room: RoomId, event: Departure) -> None:
        """Append something of the bridge's own, behind what it has said in a room so far. As `put`."""
        entry = NewEntry(Direction.TO_MATRIX, CORE, f"{CORE}\x1f{room}", encode(event), self._clock.now_ms(), None)
        accepted = await self._journal.append([entry], urgent=True)
        self._lanes().offer([entry], accepted, [event])
