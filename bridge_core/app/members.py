"""Builds what keeps memberships right between networks and rooms, and runs what of it works beside the lanes."""

import asyncio

from bridge_core.api.host import Clock
from bridge_core.engine.acts import Acts
from bridge_core.engine.conversion import Conversion
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_members import MatrixMemberships
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.reconciler import MemberReconciler
from bridge_core.engine.remote_members import RemoteMemberships
from bridge_core.engine.roomevents import RoomEvents
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.status import Status
from bridge_core.engine.translation import Translation
from bridge_core.engine.wishes import Wishes
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner


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
    ) -> None:
        self.remote = RemoteMemberships(names, networks, portals, ghosts, members, rooms, matrix, wishes, gate, status)
        self.remote.add_to(conversion, acts)
        self.matrix = MatrixMemberships(
            names, networks, portals, ghosts, members, matrix, wishes, gate, permissions, status, clock
        )
        self.matrix.add_to(translation, room_events)
        worked = metrics.counter("memberships", "Memberships of ghosts brought about beside the lanes.", ["end"])
        self._reconciler = MemberReconciler(wishes, portals, ghosts, matrix, gate, clock, faults, worked, rate)
        self._tasks = tasks
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin with what is still to be done."""
        self._running.append(self._tasks.spawn(self._reconciler.run(), "members"))

    def stop(self) -> None:
        """End it: it never ends by itself, and what is left is done at the next start."""
        for task in self._running:
            task.cancel()
