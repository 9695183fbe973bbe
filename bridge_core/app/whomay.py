"""Puts together who may do what: permissions, bans, and the checks at the gate."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bridge_core.api.events import RemoteConsent, RemoteJoinRequest
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RemoteUserId, UserId
from bridge_core.app.engine import Engine
from bridge_core.config import Config, Rules
from bridge_core.config import Network as NetworkConfig
from bridge_core.config.masks import Masks
from bridge_core.engine.bans import Bans
from bridge_core.engine.commands.denying import DenyingCommands
from bridge_core.engine.commands.filters import FilterCommands
from bridge_core.engine.commands.people import PeopleCommands
from bridge_core.engine.commands.policies import PolicyCommands
from bridge_core.engine.consents import Consents
from bridge_core.engine.denied import DeniedPeople
from bridge_core.engine.filters import Filter, Filters, Verdict
from bridge_core.engine.grants import Grants
from bridge_core.engine.joinrequests import JoinRequests
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.newcomers import Newcomers, Waits
from bridge_core.engine.optouts import OptOuts
from bridge_core.engine.permissions import Permission, RuledPermissions
from bridge_core.engine.policies import Policies
from bridge_core.engine.policyrules import RULE_TYPES, TooBroad
from bridge_core.engine.quotas import Quotas
from bridge_core.engine.stops import Stops
from bridge_core.engine.store_ports import KeyValues
from bridge_core.observe.metrics import Metrics
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

    def __init__(
        self, config: Config, networks: Mapping[str, NetworkConfig], names: Names, kv: KeyValues, clock: Clock
    ) -> None:
        rules = config.rules()
        self._protected = [(names.bot, "the bridge's own bot"), *((UserId(one), one) for one in rules.admins())]
        self.permissions = RuledPermissions(Configured(rules).of)
        self.bans = Bans(kv, clock, config.homeserver.domain, self._spared, self.permissions.changed)
        self.permissions.add(self.bans)
        self._config = config
        self._filters = _filters(networks)
        self._waits = {
            NetworkId(name): Waits(one.common.newcomers.user_wait, one.common.newcomers.server_wait)
            for name, one in networks.items()
            if one.common.newcomers.user_wait or one.common.newcomers.server_wait
        }
        self._names = names
        self._letting_go = False
        self._kv = kv
        self._clock = clock

    def allow(self, rules: Rules) -> None:
        """The configuration's permissions are others now: in force at once. Does not block."""
        bot = self._protected[0]
        self._protected[:] = [bot, *((UserId(one), one) for one in rules.admins())]
        self.permissions.configured = Configured(rules).of
        self.permissions.changed()

    def filter(self, networks: Mapping[str, NetworkConfig]) -> None:
        """The configuration's filters of chats are others now. Does not block."""
        self.filters.configure(_filters(networks))

    def join(self, engine: Engine, matrix: MatrixSide, tasks: TaskOwner, metrics: Metrics) -> None:
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
        engine.on_redaction.append(
            lambda room: tasks.start(self.policies.reread(room), "policy-list") if self.policies.follows(room) else None
        )
        engine.on_meeting.append(lambda: tasks.start(self.policies.refresh(), "policy-lists"))
        PolicyCommands(engine.commands, self.policies, matrix)
        self.optouts = OptOuts(self._kv, engine.networks, self._leave(engine.networks))
        self.consents = Consents(engine.portals, self.optouts, engine.status, self._clock)
        engine.conversion.add(RemoteConsent, self.consents.said)
        engine.conversion.add(RemoteJoinRequest, JoinRequests(engine.portals, engine.ghosts, engine.status).asked)
        self.quotas = Quotas(
            self._config.quotas.model_dump(),
            self._config.media.max_size,
            self._kv,
            self.permissions,
            engine.networks,
            engine.portals,
            metrics.counter("quota_exceeded", "What was refused since its user's quota was used up.", ("quota",)),
            self._config.homeserver.domain,
        )
        engine.logins.check(lambda user, network: self.quotas.new_login(user))
        engine.logins.check(Grants(engine.networks).new_login)
        self.newcomers = Newcomers(
            self._waits, self._config.homeserver.domain, self._kv, self.permissions, self._clock, tasks
        )
        self.filters = Filters(self._filters, self._kv)
        FilterCommands(engine.commands, self.filters, engine.networks)
        PeopleCommands(engine.commands, self.optouts, self.quotas, engine.networks)
        metrics.gauge("policy_rules", "Rules of moderation policy lists in force.", self.policies.rules)
        metrics.gauge("bans", "Bans in force.", lambda: len(self.bans.all()))
        metrics.gauge("stops", "Networks and rooms that are stopped.", lambda: len(self.stops.all()))
        engine.translation.hides = lambda user, portal: (
            (row := engine.portals.by_id(portal)) is not None and self.optouts.is_out(user, row.network)
        )
        self.permissions.on_change(lambda: self._let_go_later(engine.networks, tasks))
        people = DeniedPeople(self.permissions, self._names, engine.networks)
        for check in (
            people,
            self.stops,
            self.policies,
            self.optouts,
            self.consents,
            self.newcomers,
            self.quotas,
            self.filters,
        ):
            engine.gate.add(check)
        DenyingCommands(engine.commands, self.bans, self.stops, engine.networks, engine.portals, matrix)

    def _ghosts_called(self, engine: Engine) -> Callable[[str], list[UserId]]:
        """The ghosts that a person of this name would have, one for each network."""
        return lambda name: [self._names.ghost(network.id, RemoteUserId(name)) for network in engine.networks]

    def _leave(self, networks: Networks) -> Callable[[NetworkId, UserId], Awaitable[None]]:
        """Ends a user's provided logins on a network: they are provided again when the user takes part again."""

        async def leave(name: NetworkId, user: UserId) -> None:
            network = networks.get(name)
            for login in network.logins(user) if network is not None else ():
                if login.provided and network is not None:
                    await network.remove(login.id)

        return leave

    def _let_go_later(self, networks: Networks, tasks: TaskOwner) -> None:
        if not self._letting_go:
            self._letting_go = True
            with contextlib.suppress(RuntimeError):  # the bridge stops
                tasks.start(self._let_go(networks), "denied-logins")

    async def _let_go(self, networks: Networks) -> None:
        """End the provided logins of everybody who is denied everything; one task however many rules change at once."""
        await self._clock.sleep(0)
        self._letting_go = False
        leave = self._leave(networks)
        for network in networks:
            for user in {login.user for login in network.logins() if login.provided}:
                if self.permissions.denied(user):
                    await leave(network.id, user)

    def _spared(self, masks: Masks) -> str:
        """Whom the masks name of those who must never be banned; empty for none."""
        return next((whom for user, whom in self._protected if masks.naming(user)), "")

    async def load(self) -> None:
        """Read what was decided at run time."""
        await self.bans.load()
        await self.stops.load()
        await self.policies.load()
        await self.optouts.load()
        await self.quotas.load()
        await self.newcomers.load()
        await self.filters.load()


def _filters(networks: Mapping[str, NetworkConfig]) -> list[Filter]:
    """The configured patterns of chats that may or may not be bridged."""
    return [
        Filter(NetworkId(name), verdict, pattern)
        for name, network in networks.items()
        for verdict in Verdict
        for pattern in getattr(network.common.portal_filter, verdict.value)
    ]
