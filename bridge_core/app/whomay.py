"""Puts together who may do what: permissions, bans, and the checks at the gate."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge_core.api.host import Clock
from bridge_core.api.ids import RemoteUserId, UserId
from bridge_core.app.engine import Engine
from bridge_core.config import Config, Rules
from bridge_core.config.masks import Masks
from bridge_core.engine.bans import Bans
from bridge_core.engine.commands.denying import DenyingCommands
from bridge_core.engine.commands.policies import PolicyCommands
from bridge_core.engine.denied import DeniedPeople
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.permissions import Permission, RuledPermissions
from bridge_core.engine.policies import Policies
from bridge_core.engine.policyrules import RULE_TYPES, TooBroad
from bridge_core.engine.stops import Stops
from bridge_core.engine.store_ports import KeyValues
from bridge_core.observe.tasks import TaskOwner


@dataclass(frozen=True, slots=True)
class Configured:
    """Permissions as the configuration has them."""

    rules: Rules

    def of(self, user: UserId) -> Permission:
        """What a user may do."""
        return Permission[self.rules.of(user).name]


class WhoMay:
    """All that says who may do what. `join` the engine, then `load` before anybody is asked about."""

    def __init__(self, config: Config, names: Names, kv: KeyValues, clock: Clock) -> None:
        rules = config.rules()
        self._protected = [(names.bot, "the bridge's own bot"), *((UserId(one), one) for one in rules.admins())]
        self.permissions = RuledPermissions(Configured(rules).of)
        self.bans = Bans(kv, clock, config.homeserver.domain, self._spared, self.permissions.changed)
        self.permissions.add(self.bans)
        self._people = DeniedPeople(self.permissions, names)
        self._names = names
        self._kv = kv
        self._clock = clock

    def join(self, engine: Engine, matrix: MatrixSide, tasks: TaskOwner) -> None:
        """Take part in the engine: the checks at its gate, and the commands that decide."""
        self.stops = Stops(self._kv, engine.portals, engine.status, self._clock, tasks)
        self.policies = Policies(
            self._kv,
            matrix,
            self._clock,
            TooBroad(self._names.server, (user for user, _ in self._protected), self._ghosts_called(engine)),
            lambda room: (
                f"#{engine.rooms.alias(portal)}:{self._names.server}" for portal in engine.portals.in_room(room)
            ),
            self.permissions.changed,
        )
        self.permissions.add(self.policies)
        for event_type in RULE_TYPES:
            engine.room_events.on(event_type, self.policies.changed)
        engine.on_redaction.append(lambda room: tasks.start(self.policies.reread(room), "policy-list"))
        engine.on_meeting.append(lambda: tasks.start(self.policies.refresh(), "policy-lists"))
        PolicyCommands(engine.commands, self.policies, matrix)
        for check in (self._people, self.stops, self.policies):
            engine.gate.add(check)
        DenyingCommands(engine.commands, self.bans, self.stops, engine.networks, engine.portals, matrix)

    def _ghosts_called(self, engine: Engine) -> Callable[[str], list[UserId]]:
        """The ghosts that a person of this name would have, one for each network."""
        return lambda name: [self._names.ghost(network.id, RemoteUserId(name)) for network in engine.networks]

    def _spared(self, masks: Masks) -> str:
        """Whom the masks name of those who must never be banned; empty for none."""
        return next((whom for user, whom in self._protected if masks.naming(user)), "")

    async def load(self) -> None:
        """Read what was decided at run time."""
        await self.bans.load()
        await self.stops.load()
        await self.policies.load()
