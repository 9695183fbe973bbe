"""Network -> Matrix: typing and presence. They are worth nothing after some seconds, so no journal holds them.

The newest of a kind waits in memory until the homeserver takes it. What cannot be shown is counted and dropped: nobody
gets a ghost, and no ghost enters a room, for having typed.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import RemoteMessage, RemotePresence, RemoteTyping
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, PortalKey, RoomId, UserId
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.latest import Key, Latest
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.metrics import Counter
from bridge_core.observe.tasks import TaskOwner

LIVE: Final = frozenset((RemoteTyping, RemotePresence))
"""Classes of remote events that are shown at once or never."""
_LONGEST: Final = 60.0
"""Seconds that somebody is shown typing without a further word."""
_STATUS: Final = 1024
"""Characters of what somebody says about themselves."""
_SHOWN: Final = 10_000
"""People whose typing, and whose presence, is remembered as shown."""
_OLD: Final = 10.0
"""Seconds after which a signal that could not be shown is worth nothing."""


class RemoteSignals:
    """Shows typing and presence of people who have ghosts. `presence` are the networks whose presence is shown."""

    def __init__(
        self,
        portals: PortalIndex,
        ghosts: GhostPool,
        gate: Gate,
        matrix: MatrixSide,
        clock: Clock,
        tasks: TaskOwner,
        counter: Counter,
        presence: frozenset[NetworkId],
    ) -> None:
        self._portals = portals
        self._ghosts = ghosts
        self._gate = gate
        self._hidden: Callable[[PortalRow, RoomId], Awaitable[bool]] | None = None
        self._matrix = matrix
        self._clock = clock
        self._presence = presence
        self._queues = Latest("to_matrix", self._show, tasks, counter)
        self._typing: OrderedDict[Key, float] = OrderedDict()
        """Who is shown typing where, and until when."""
        self._present: OrderedDict[Key, RemotePresence] = OrderedDict()

    def hide(self, hidden: Callable[[PortalRow, RoomId], Awaitable[bool]]) -> None:
        """Ask this whether a room may not see now who of a chat types."""
        self._hidden = hidden

    def take(self, network: NetworkId, event: Any) -> None:
        """Take a signal. Never blocks."""
        if isinstance(event, RemoteTyping):
            key: Key = ("typing", event.chat, event.receiver or "", event.sender.id)
        else:
            key = ("presence", event.sender.id)
        self._queues.put(network, key, (event, self._clock.monotonic()))

    def said(self, network: NetworkId, events: Sequence[object]) -> None:
        """These were received: who has said what they typed types no more. Does not block: the hot path."""
        if not self._typing and not self._queues.busy():
            return
        for event in events:
            if isinstance(event, RemoteMessage):
                key = ("typing", event.chat, event.receiver or "", event.sender.id)
                if (network, *key[1:]) in self._typing or self._queues.waits(network, key):
                    self.take(network, RemoteTyping(event.chat, event.sender, 0, event.receiver))

    def busy(self) -> int:
        """How many signals wait."""
        return self._queues.busy()

    async def _show(self, network: NetworkId, key: Key, item: tuple[RemoteTyping | RemotePresence, float]) -> str:
        event, came = item
        if self._clock.monotonic() - came > _OLD:
            return "dropped"
        if event.sender.login is not None:
            return "dropped"  # a Matrix user's own client says it
        if isinstance(event, RemotePresence):
            return await self._show_presence(network, event)
        return await self._show_typing(network, event)

    async def _show_typing(self, network: NetworkId, event: RemoteTyping) -> str:
        portal = self._portals.get(PortalKey(network, event.chat, event.receiver))
        ghost = await self._ghosts.existing(network, event.sender.id)
        if portal is None or ghost is None:
            return "dropped"
        try:
            self._gate.incoming(portal, event.sender)
        except (RejectedError, TransientError):
            return "dropped"
        seconds = min(event.seconds, _LONGEST) if event.seconds > 0 else 0.0
        key = (network, event.chat, event.receiver or "", event.sender.id)
        now = self._clock.monotonic()
        shown = self._typing.get(key, 0.0) - now
        if shown > seconds / 2 if seconds else key not in self._typing:
            return "replaced"  # it is shown so already
        outcome = "dropped"
        for room in portal.rooms:
            if self._hidden is not None and await self._hidden(portal, room):
                continue
            if not self._gate.shut(room) and await self._ghosts.is_in(room, ghost.user):
                await self._type(room, ghost.user, seconds)
                outcome = "passed"
        self._typing.pop(key, None)
        if seconds and outcome == "passed":
            self._typing[key] = now + seconds
            if len(self._typing) > _SHOWN:
                self._typing.popitem(last=False)
        return outcome

    async def _type(self, room: RoomId, user: UserId, seconds: float) -> None:
        await self._matrix.typing(room, user, int(seconds * 1000))

    async def _show_presence(self, network: NetworkId, event: RemotePresence) -> str:
        if network not in self._presence:
            return "dropped"
        ghost = await self._ghosts.existing(network, event.sender.id)
        if ghost is None:
            return "dropped"
        key = (network, event.sender.id)
        last = self._present.get(key)
        if last is not None and (last.presence, last.status) == (event.presence, event.status):
            return "replaced"
        status = event.status[:_STATUS] if event.status is not None else None
        await self._matrix.set_presence(ghost.user, event.presence.value, status)
        self._present[key] = event
        if len(self._present) > _SHOWN:
            self._present.popitem(last=False)
        return "passed"
