"""What users may do: the configured rules, and what denies it to some of them."""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, Protocol

from bridge_core.api.ids import UserId

_CACHED: Final = 20_000


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


class Denials(Protocol):
    """Something that denies the bridge to users whatever the configuration allows them: bans, policy lists."""

    @property
    def any(self) -> bool:
        """Whether there is anything against anybody."""

    def denies(self, user: UserId) -> str:
        """What is against a user or ghost, in words that follow "is"; empty for nothing. From memory."""


class RuledPermissions:
    """The configured permissions, over which every denial wins. Answers are kept until `changed`.

    `configured` says what the configuration allows. Its admins cannot be denied anything: they would lose the means to
    take it back.
    """

    def __init__(self, configured: Callable[[UserId], Permission]) -> None:
        self.configured = configured
        self._denials: Sequence[Denials] = ()
        self._levels: dict[UserId, Permission] = {}
        self._denied: dict[UserId, str] = {}
        self._denying: bool | None = None
        self._told: tuple[Callable[[], None], ...] = ()

    def add(self, denials: Denials) -> None:
        """Ask this one too."""
        self._denials = (*self._denials, denials)
        self._denying = None

    @property
    def denying(self) -> bool:
        """Whether anything is denied to anybody. Does not block."""
        if self._denying is None:
            self._denying = any(one.any for one in self._denials)
        return self._denying

    def changed(self) -> None:
        """What was answered before may not hold any more."""
        self._denying = None
        self._levels.clear()
        self._denied.clear()
        for told in self._told:
            told()

    def on_change(self, told: Callable[[], None]) -> None:
        """Call this at each change. It must not block."""
        self._told = (*self._told, told)

    def of(self, user: UserId) -> Permission:
        """As `Permissions.of`."""
        level = self._levels.get(user)
        if level is None:
            level = Permission.BLOCKED if self.denied(user) else self.configured(user)
            if len(self._levels) >= _CACHED:
                self._levels.clear()
            self._levels[user] = level
        return level

    def denied(self, user: UserId) -> str:
        """Why a user, or the person behind a ghost, is denied everything; empty when they are not. Does not block."""
        reason = self._denied.get(user)
        if reason is None:
            reason = ""
            if self.configured(user) is not Permission.ADMIN:
                reason = next((why for one in self._denials if (why := one.denies(user))), "")
            if len(self._denied) >= _CACHED:
                self._denied.clear()
            self._denied[user] = reason
        return reason
