"""Puts together who may do what: permissions, bans, and the checks at the gate."""

from dataclasses import dataclass

from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.config import Config, Rules
from bridge_core.config.masks import Masks
from bridge_core.engine.bans import Bans
from bridge_core.engine.denied import DeniedPeople
from bridge_core.engine.gate import Check
from bridge_core.engine.names import Names
from bridge_core.engine.permissions import Permission, RuledPermissions
from bridge_core.engine.store_ports import KeyValues


@dataclass(frozen=True, slots=True)
class Configured:
    """Permissions as the configuration has them."""

    rules: Rules

    def of(self, user: UserId) -> Permission:
        """What a user may do."""
        return Permission[self.rules.of(user).name]


class WhoMay:
    """All that says who may do what. `load` it before anybody is asked about."""

    def __init__(self, config: Config, names: Names, kv: KeyValues, clock: Clock) -> None:
        rules = config.rules()
        self._protected = [(names.bot, "the bridge's own bot"), *((UserId(one), one) for one in rules.admins())]
        self.permissions = RuledPermissions(Configured(rules).of)
        self.bans = Bans(kv, clock, config.homeserver.domain, self._spared, self.permissions.changed)
        self.permissions.add(self.bans)
        self.checks: tuple[Check, ...] = (DeniedPeople(self.permissions, names),)

    def _spared(self, masks: Masks) -> str:
        """Whom the masks name of those who must never be banned; empty for none."""
        return next((whom for user, whom in self._protected if masks.naming(user)), "")

    async def load(self) -> None:
        """Read what was decided at run time."""
        await self.bans.load()
