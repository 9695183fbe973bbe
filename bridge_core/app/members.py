"""Builds what keeps memberships right between networks and rooms, and runs what of it works beside the lanes."""

import asyncio
import contextlib

import structlog

from bridge_core.api.events import RemotePower
from bridge_core.api.host import Clock
from bridge_core.engine.acts import Acts
from bridge_core.engine.commands.members import MemberCommands
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.conversion import Conversion
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_members import MatrixMemberships
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.openness import Openness
from bridge_core.engine.own_members import OwnMemberships
from bridge_core.engine.permissions import Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.power import Powers
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.reconciler import MemberReconciler
from bridge_core.engine.remote_members import RemoteMemberships
from bridge_core.engine.roomevents import RoomEvents
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues, PortalRow
from bridge_core.engine.translation import Translation
from bridge_core.engine.wishes import Wishes
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)


class Memberships:
    """All of it. `start` when the homeserver is there, `stop` before the tasks' owner is closed."""

    def __init__(
        self,
        names: Names,
        networks: Networks,
        portals: PortalIndex,
        ghosts: GhostPool,
        members: Members,
        rooms: RoomMaker,
        matrix: MatrixSide,
        wishes: Wishes,
        gate: Gate,
        status: Status,
        conversion: Conversion,
        acts: Acts,
        clock: Clock,
        tasks: TaskOwner,
        metrics: Metrics,
        faults: FaultPoints,
        rate: float,
        permissions: Permissions,
        translation: Translation,
        room_events: RoomEvents,
        kv: KeyValues,
        commands: Commands,
        puppets: DoublePuppets,
    ) -> None:
        own = OwnMemberships(portals, rooms, matrix, gate, status, puppets, permissions)
        self.remote = RemoteMemberships(names, networks, portals, ghosts, own, matrix, wishes, gate, status)
        self.remote.add_to(conversion, acts)
        MemberCommands(commands, portals, self.remote, self.fill)
        self.matrix = MatrixMemberships(
            names, networks, portals, ghosts, members, matrix, wishes, gate, permissions, status, puppets, clock
        )
        self.matrix.add_to(translation, room_events)
        worked = metrics.counter("memberships", "Memberships of ghosts brought about beside the lanes.", ["end"])
        self._reconciler = MemberReconciler(wishes, portals, ghosts, matrix, gate, clock, faults, worked, rate)
        changed = metrics.counter("power_changes", "Changes of rooms' power levels that networks told of.", ["end"])
        self.powers = Powers(names, networks, portals, ghosts, matrix, kv, clock, faults, changed)
        self.powers.add_to(conversion, translation)
        self.openness = Openness(portals, matrix, members, self.powers)
        conversion.guard_audience(self.openness.read)
        self._networks = networks
        self._members = members
        self._clock = clock
        portals.watch(self._changed)
        self._tasks = tasks
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin with what is still to be done."""
        self._running.append(self._tasks.spawn(self._reconciler.run(), "members"))
        self._running.append(self._tasks.spawn(self.powers.run(), "powers"))

    def _changed(self, before: PortalRow, now: PortalRow | None) -> None:
        for room in set(before.rooms) - set(now.rooms if now is not None else ()):
            self._members.forget(room)  # the bot may leave it, and see nobody come and go from then on
        if now is not None and set(now.rooms) - set(before.rooms):
            with contextlib.suppress(RuntimeError):  # the bridge stops: the network's next list does it
                self._tasks.start(self.fill(now), "new-room")

    async def fill(self, portal: PortalRow) -> None:
        """Make the rooms of a portal like what its network knows of the chat: its people, and their powers.

        What cannot be learned now comes with the network's next list.
        """
        network = self._networks.get(portal.network)
        if network is None or network.main is None:
            return
        try:
            info = await network.main.chat_info(portal.chat)
            if info is not None:
                await self.openness.found(portal, info)
            if info is not None and info.members is not None:
                await self.remote.compare(portal, info.members, self._clock.now_ms())
            if info is not None and info.powers:
                await self.powers.tell(portal, RemotePower(portal.chat, info.powers, receiver=portal.receiver))
        except Exception as error:  # whatever an adapter makes of it: the room is there
            log.info("room_not_filled", network=portal.network, chat=portal.chat, error=str(error) or repr(error))

    def stop(self) -> None:
        """End it: it never ends by itself, and what is left is done at the next start."""
        for task in self._running:
            task.cancel()
