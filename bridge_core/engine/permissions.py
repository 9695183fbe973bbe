"""Who may do what: levels by user, server and wildcard. A block wins over everything; else the nearest rule counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from bridge_core.api.ids import UserId


class Permission(IntEnum):
    """From nothing to everything."""

    BLOCKED = 0
    RELAY = 1
    USER = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Permissions:
    """The rules: keys are `@user:server`, `server`, or `*`."""

    rules: Mapping[str, Permission]

    def of(self, user: UserId) -> Permission:
        """What a user may do. Nobody is let in by the absence of a rule."""
        _, _, server = user.partition(":")
        found = [self.rules[key] for key in (user, server, "*") if key in self.rules]
        if not found or Permission.BLOCKED in found:
            return Permission.BLOCKED
        return found[0]
