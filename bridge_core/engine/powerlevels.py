"""What a room's power levels are to become: pure, and careful with what is not the bridge's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

MAX_BYTES: Final = 60_000
"""Of the content: an event has 65,536 at most, and its envelope takes some of them."""
_LOWEST: Final = -100


@dataclass(frozen=True, slots=True)
class RoomPower:
    """What a room says of powers now. `endless` are those above all levels: its creators since room version 12.

    `levels` is None where the room has no such event: then nothing but its creator has power.
    """

    levels: Mapping[str, Any] | None
    endless: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PowerWish:
    """What a network says: these users have these levels (0: none), and with `complete` no other of its people has any.

    `given` are the levels that the bridge gave Matrix users before: only those may it take again.
    """

    users: Mapping[str, int]
    complete: bool = False
    given: Mapping[str, int] = field(default_factory=dict)
    speaking: int | None = None
    """The power that saying something is to take, at most the bridge's own."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The content to set (None: it is so already), what is given to Matrix users then, and whether it did not fit."""

    content: dict[str, Any] | None
    given: Mapping[str, int]
    too_large: bool = False


class NoPowerError(Exception):
    """The bridge may not change the room's powers."""


def level_of(content: Mapping[str, Any], user: str) -> int:
    """A user's level by the content of the event alone."""
    default = _number(content.get("users_default"), 0)
    users = content.get("users")
    return _number(users.get(user), default) if isinstance(users, Mapping) else default


def reconciled(room: RoomPower, wish: PowerWish, bot: str, cap: int, ghost: Callable[[str], bool]) -> Reconciled:
    """What to set. `ghost` says whose entries are the network's own people. Raises NoPowerError.

    Nobody is raised above `cap` or the bridge; nobody at or above the bridge is touched; a Matrix user is lowered only
    from what the bridge gave them; every other entry stays as it is. Where the event would be too large, what lowers
    is done all the same.
    """
    levels = room.levels
    if levels is None or not isinstance(levels.get("users", {}), Mapping):
        raise NoPowerError("the room has no power levels that can be read")
    endless = bot in room.endless
    own = level_of(levels, bot)
    events = levels.get("events")
    state_default = _number(levels.get("state_default"), 50)
    needed = _number(events.get("m.room.power_levels"), state_default) if isinstance(events, Mapping) else state_default
    if not endless and own < needed:
        raise NoPowerError(f"changing powers takes {needed} there, and the bridge has {own}")
    if wish.speaking is not None and (endless or wish.speaking <= own):
        levels = {**levels, "events_default": wish.speaking}
    change = _Change(levels, room.endless | {bot}, None if endless else own, cap, wish.given, ghost)
    wished = dict(wish.users)
    if wish.complete:
        present = levels.get("users", {})
        wished |= {user: 0 for user in (*present, *wish.given) if user not in wished and change.is_theirs(user)}
    content, given = change.made(wished)
    if len(orjson.dumps(content)) <= MAX_BYTES:
        return Reconciled(content if content != room.levels else None, given)
    lowered = {user: level for user, level in wished.items() if level < level_of(levels, user)}
    content, given = change.made(lowered)
    fits = len(orjson.dumps(content)) <= max(MAX_BYTES, len(orjson.dumps(levels)) - 1)
    return Reconciled(
        content if fits and content != room.levels else None, given if fits else wish.given, too_large=True
    )


class _Change:
    def __init__(
        self,
        levels: Mapping[str, Any],
        untouchable: frozenset[str],
        own: int | None,
        cap: int,
        given: Mapping[str, int],
        ghost: Callable[[str], bool],
    ) -> None:
        self._levels = levels
        self._untouchable = untouchable
        self._own = own
        self._cap = cap if own is None else min(cap, own)
        self._given = given
        self._ghost = ghost
        self._default = _number(levels.get("users_default"), 0)

    def is_theirs(self, user: str) -> bool:
        """Whether a list that names them not takes their power."""
        return self._ghost(user) or user in self._given

    def made(self, wished: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, int]]:
        """The content with all that may be done of it, and what is given then."""
        users, given = dict(self._levels.get("users", {})), dict(self._given)
        for user, level in wished.items():
            target = self._allowed(user, level)
            if target is None:
                continue
            if not self._ghost(user):
                given.pop(user, None)
                if target > self._default:
                    given[user] = target
            if target == self._default:
                users.pop(user, None)
            else:
                users[user] = target
        return {**self._levels, "users": users}, given

    def _allowed(self, user: str, level: int) -> int | None:
        """The level to set; None to leave them alone."""
        if user in self._untouchable:
            return None
        present = level_of(self._levels, user)
        if self._own is not None and present >= self._own:
            return None
        if level > 0:
            target = max(min(level, self._cap), self._default)
        else:
            target = self._default if level == 0 else max(level, _LOWEST)
        if self._ghost(user):
            return target
        if present > self._cap or (target < present and self._given.get(user) != present):
            return None
        return target if target != present else None


def _number(value: object, default: int) -> int:
    # Old rooms may have numbers as texts.
    if isinstance(value, str) and value.strip().lstrip("+-").isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
