"""What users may do."""

from enum import IntEnum
from typing import Protocol

from bridge_core.api.ids import UserId


class Permission(IntEnum):
    """From nothing to everything."""

    BLOCKED = 0
    RELAY = 1
    USER = 2
    ADMIN = 3


class Permissions(Protocol):
    """The rules."""

    def of(self, user: UserId) -> Permission:
        """What a user may do. Nobody is let in by the absence of a rule."""
