"""The section `permissions` made ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping

from bridge_core.config.globs import is_glob
from bridge_core.config.masks import Masks
from bridge_core.config.policy import Permission


class Rules:
    """Permissions by mask made ready: the closest mask counts, but for `blocked`, which beats all others."""

    def __init__(self, permissions: Mapping[str, Permission], domain: str) -> None:
        self._permissions = permissions
        self._masks = Masks(permissions, domain)

    def of(self, user_id: str) -> Permission:
        """What a user may do; who is not named, or is no user, is blocked."""
        found = [self._permissions[mask] for _, mask in self._masks.naming(user_id)]
        return Permission.BLOCKED if not found or Permission.BLOCKED in found else found[0]

    def admins(self) -> list[str]:
        """The users who are named one by one as admins."""
        named = [mask for mask, level in self._permissions.items() if level is Permission.ADMIN]
        return [mask for mask in named if mask.startswith("@") and not is_glob(mask)]
