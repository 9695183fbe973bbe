"""Power levels of rooms the bridge makes: full content, and the difference room version 12 makes."""

from collections.abc import Mapping
from typing import Any

__all__ = ["creator_is_listed", "full_levels", "merged_levels"]

_DEFAULTS: Mapping[str, Any] = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "kick": 50,
    "redact": 50,
    "invite": 0,
}
_EVENTS: Mapping[str, int] = {
    "m.room.name": 50,
    "m.room.avatar": 50,
    "m.room.topic": 50,
    "m.room.canonical_alias": 50,
    "m.room.power_levels": 100,
    "m.room.history_visibility": 100,
    "m.room.server_acl": 100,
    "m.room.encryption": 100,
    "m.room.tombstone": 100,
}
_NESTED = ("users", "events", "notifications")


def creator_is_listed(room_version: str | None) -> bool:
    """Whether creators stand in `users`: until version 11. From 12 on they have endless power and must not."""
    return room_version is None or (room_version.isdigit() and int(room_version) < 12)


def full_levels(wished: Mapping[str, Any], creator: str, room_version: str | None) -> dict[str, Any]:
    """The complete content for a new room, `wished` laid over the defaults.

    Complete since createRoom's override replaces whole keys: a `users` without the creator would lock it out.
    """
    levels: dict[str, Any] = {**_DEFAULTS, **wished}
    levels["events"] = {**_EVENTS, **wished.get("events", {})}
    levels["users"] = _users(dict(wished.get("users", {})), creator, room_version)
    return levels


def merged_levels(
    current: Mapping[str, Any], wished: Mapping[str, Any], creator: str, room_version: str | None
) -> dict[str, Any]:
    """`current` with `wished` laid over it; users and events that are there already stay."""
    levels = {**current, **wished}
    for key in _NESTED:
        there = current.get(key)
        if isinstance(there, Mapping) or key in wished:
            levels[key] = {**(there if isinstance(there, Mapping) else {}), **wished.get(key, {})}
    levels["users"] = _users(levels.get("users", {}), creator, room_version)
    return levels


def _users(users: dict[str, Any], creator: str, room_version: str | None) -> dict[str, Any]:
    if creator_is_listed(room_version):
        users.setdefault(creator, 100)
    else:
        users.pop(creator, None)
    return users
