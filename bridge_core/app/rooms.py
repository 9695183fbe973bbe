"""Puts together what keeps rooms right: what they are called, whether they are bridged, and where they went."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.engine.acts import Acts
from bridge_core.engine.alias_portals import AliasPortals
from bridge_core.engine.avatars import Avatars
from bridge_core.engine.bridgestate import BRIDGE_STATE
from bridge_core.engine.commands import Commands
from bridge_core.engine.commands.relay import RelayCommands
from bridge_core.engine.commands.rooms import RoomCommands
from bridge_core.engine.commands.rules import RuleCommands
from bridge_core.engine.conversion import Conversion
from bridge_core.engine.departures import Departures
from bridge_core.engine.description import Descriptions
from bridge_core.engine.doublebridges import DoubleBridges
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.grants import Grants
from bridge_core.engine.incoming import Incoming
from bridge_core.engine.injection import Injection
from bridge_core.engine.lost_rooms import LostRooms
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.moves import Moves
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.plumbing import Plumbing
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.privacy import VISIBILITY
from bridge_core.engine.private import PrivateChats
from bridge_core.engine.publicity import Publicity
from bridge_core.engine.roomevents import RoomEvents
from bridge_core.engine.roomfacts import RoomReader
from bridge_core.engine.roomrules import RULES_EVENT, RulesOfRooms
from bridge_core.engine.rooms import Describe, RoomMaker
from bridge_core.engine.roomstates import RoomStates
from bridge_core.engine.roomsurvey import RoomSurvey
from bridge_core.engine.spaces import SpaceKind, Spaces
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import Stores
from bridge_core.engine.translation import Translation
from bridge_core.engine.unbridging import Unbridging
from bridge_core.engine.upgrades import Upgrades
from bridge_core.observe.tasks import TaskOwner


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """What is read of the configuration. `join_rules`: the widest of each network's rooms. `admins` are users by name.

    `rate`: memberships per second beside the messages. `by_alias`: networks whose portals are made by their alias.
    """

    join_rules: Mapping[NetworkId, str] = field(default_factory=dict)
    admins: tuple[UserId, ...] = ()
    rate: float = 10.0
    by_alias: frozenset[NetworkId] = frozenset()
    spaces: Mapping[NetworkId, SpaceKind] = field(default_factory=dict)


class RoomFeatures:
    """All of it. `start` when the homeserver is there, `stop` before the tasks' owner is closed."""

    def __init__(
        self,
        names: Names,
        stores: Stores,
        portals: PortalIndex,
        networks: Networks,
        ghosts: GhostPool,
        rooms: RoomMaker,
        matrix: MatrixSide,
        avatars: Avatars,
        acts: Acts,
        status: Status,
        injection: Injection,
        describe: Describe,
        clock: Clock,
        tasks: TaskOwner,
        gate: Gate,
        wake: Callable[[], None],
        settings: RoomSettings,
        faults: FaultPoints,
    ) -> None:
        self._portals, self._networks, self._rooms, self._matrix = portals, networks, rooms, matrix
        self._acts, self._status, self._tasks = acts, status, tasks
        grants = Grants(networks)
        gate.add(grants)
        rooms.guard(grants.room_made)
        self.doubles = DoubleBridges(networks, portals, matrix, stores.kv, status)
        gate.add(self.doubles)
        self.publicity = Publicity(networks, portals, matrix, stores.kv, status, ghosts.known)
        gate.add(self.publicity)
        self.survey = RoomSurvey(networks, portals, self.publicity, self.doubles, clock, settings.rate, wake)
        gate.add(self.survey)
        rooms.look_out(self.doubles.refuse, self.publicity.refuse)
        self.rules = RulesOfRooms(portals, matrix, status)
        rooms.when_bridged(self.rules.bridged)
        facts = RoomReader(matrix, names.is_ours).facts
        self.plumbing = Plumbing(networks, portals, gate, grants, clock, rooms.refuse, facts)
        self.by_alias = AliasPortals(names, networks, self.plumbing, settings.by_alias, clock)
        states = RoomStates(matrix, acts)
        self.descriptions = Descriptions(portals, matrix, avatars, states, injection, describe, settings.join_rules)
        self.departures = Departures(stores.kv, portals, ghosts, matrix, names.is_ours, clock, settings.rate)
        ghosts.watch(self.departures.stranded)
        self.unbridging = Unbridging(portals, rooms, networks, matrix, self.departures, injection)
        rooms.leave_by(self.unbridging.leave)
        self.moves = Moves(portals, rooms, networks, matrix, states, describe, gate, self.unbridging.parting)
        self.upgrades = Upgrades(portals, rooms, matrix, self.departures, status, stores.kv, faults)
        self.lost = LostRooms(
            portals,
            rooms,
            networks,
            matrix,
            stores.users,
            status,
            self.unbridging,
            self.upgrades,
            self.departures,
            settings.admins,
            ghosts.known,
        )
        self.spaces = Spaces(
            names,
            stores.kv,
            portals,
            networks,
            matrix,
            clock,
            settings.spaces,
            settings.join_rules,
            settings.rate,
            faults,
        )
        self._running: list[asyncio.Task[None]] = []

    def add_to(
        self, conversion: Conversion, incoming: Incoming, translation: Translation, room_events: RoomEvents
    ) -> None:
        """Take part in both directions."""
        self.descriptions.add_to(conversion, translation)
        self.moves.add_to(conversion, self._acts)
        self.unbridging.add_to(conversion, self._acts)
        conversion.look(self.lost.elsewhere)
        incoming.look(self.lost.elsewhere)
        room_events.on("m.room.power_levels", self._rooms.powers)
        room_events.on(VISIBILITY, self.publicity.changed)
        room_events.on(RULES_EVENT, self.rules.changed)
        for kind in BRIDGE_STATE:
            room_events.on(kind, self.doubles.told)
        room_events.on("m.room.tombstone", self.upgrades.tombstoned)
        room_events.on("m.room.member", self.upgrades.membership)
        room_events.on("m.room.member", self.lost.membership)

    def add_commands(self, commands: Commands, private: PrivateChats) -> None:
        """What users can tell the bridge to do."""
        RuleCommands(commands, self._portals, self._matrix, self.rules)
        RelayCommands(commands, self._networks, self._portals, self._matrix)
        RoomCommands(
            commands,
            self._networks,
            self._portals,
            self._rooms,
            private,
            self._matrix,
            self.plumbing,
            self.unbridging,
            self._status,
        )

    def start(self) -> None:
        """Begin with what is still to be done."""
        self._running.append(self._tasks.spawn(self.departures.run(), "departures"))
        self._running.append(self._tasks.spawn(self.spaces.run(), "spaces"))
        self._running.append(self._tasks.spawn(self.survey.run(), "room-survey"))

    def stop(self) -> None:
        """End it: it never ends by itself, and what is left is done at the next start."""
        for task in self._running:
            task.cancel()
