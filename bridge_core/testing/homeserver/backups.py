"""Backups of keys (client-server API, "Server-side key backups"), as Synapse keeps them."""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bridge_core.testing.homeserver.accounts_api import json_of
from bridge_core.testing.homeserver.caller import identify
from bridge_core.testing.homeserver.failure import MatrixError, not_found
from bridge_core.testing.homeserver.world import World

__all__ = ["Backup", "BackupsApi"]

_KEY = {"first_message_index": int, "forwarded_count": int, "is_verified": bool, "session_data": dict}


@dataclass(slots=True)
class Backup:
    """One version: sessions by room, and how often they changed."""

    algorithm: str
    auth_data: dict[str, Any]
    rooms: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    etag: int = 0

    @property
    def count(self) -> int:
        """How many sessions there are."""
        return sum(len(sessions) for sessions in self.rooms.values())

    def put(self, room: str, session: str, new: dict[str, Any]) -> None:
        """Takes a session that is not there, or better than what is there."""
        there = self.rooms.setdefault(room, {}).get(session)
        if there is None or _is_better(new, there):
            self.rooms[room][session] = new
            self.etag += 1


class BackupsApi:
    """Handlers return what is sent as JSON."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: "web.UrlDispatcher", wrap: Any) -> None:
        """Adds the routes."""
        base = "/_matrix/client/v3/room_keys"
        for method, path, handler in (
            ("POST", "version", self.make),
            ("GET", "version", self.version),
            ("DELETE", "version/{version}", self.remove),
            ("PUT", "keys", self.put),
            ("GET", "keys", self.keys),
            ("GET", "keys/{room}/{session}", self.key),
        ):
            router.add_route(method, f"{base}/{path}", wrap(handler))

    async def make(self, request: web.Request) -> dict[str, Any]:
        body, (user, backups) = await json_of(request), self._mine(request)
        if not isinstance(body.get("algorithm"), str) or not isinstance(body.get("auth_data"), dict):
            raise MatrixError(400, "M_MISSING_PARAM", "algorithm or auth_data is missing")
        # The numbers of versions are not given again.
        version = self._world.backup_versions[user] = self._world.backup_versions.get(user, 0) + 1
        backups[str(version)] = Backup(body["algorithm"], body["auth_data"])
        return {"version": str(version)}

    async def version(self, request: web.Request) -> dict[str, Any]:
        _, backups = self._mine(request)
        version, backup = _current(backups)
        return {
            "version": version,
            "algorithm": backup.algorithm,
            "auth_data": backup.auth_data,
            "count": backup.count,
            "etag": str(backup.etag),
        }

    async def remove(self, request: web.Request) -> dict[str, Any]:
        _, backups = self._mine(request)
        if backups.pop(request.match_info["version"], None) is None:
            raise not_found("Unknown backup version")
        return {}

    async def put(self, request: web.Request) -> dict[str, Any]:
        body, (_, backups), wanted = await json_of(request), self._mine(request), request.query.get("version", "")
        current, backup = _current(backups)
        if wanted not in backups:
            raise not_found(f"Version {wanted!r} not found")
        if wanted != current:
            raise MatrixError(403, "M_WRONG_ROOM_KEYS_VERSION", "Wrong room_keys version", current_version=current)
        for room, of_room in body["rooms"].items():
            for session, key in of_room["sessions"].items():
                if any(type(key.get(name)) is not kind for name, kind in _KEY.items()):
                    raise MatrixError(400, "M_INVALID_PARAM", f"not the data of a key: {session}")
                backup.put(room, session, key)
        return {"etag": str(backup.etag), "count": backup.count}

    async def keys(self, request: web.Request) -> dict[str, Any]:
        backup = self._asked(request)
        return {"rooms": {room: {"sessions": sessions} for room, sessions in backup.rooms.items()}}

    async def key(self, request: web.Request) -> dict[str, Any]:
        found = self._asked(request).rooms.get(request.match_info["room"], {}).get(request.match_info["session"])
        if found is None:
            raise not_found("No room_keys found")
        return found

    def _asked(self, request: web.Request) -> Backup:
        _, backups = self._mine(request)
        backup = backups.get(request.query.get("version", ""))
        if backup is None:
            raise not_found("Unknown backup version")
        return backup

    def _mine(self, request: web.Request) -> tuple[str, dict[str, Backup]]:
        user = identify(self._world, request).user
        return user, self._world.backups.setdefault(user, {})


def _current(backups: dict[str, Backup]) -> tuple[str, Backup]:
    if not backups:
        raise not_found("No backup found")
    version = max(backups, key=int)
    return version, backups[version]


def _is_better(new: dict[str, Any], old: dict[str, Any]) -> bool:
    if new["is_verified"] and not old["is_verified"]:
        return True
    return bool(
        new["first_message_index"] < old["first_message_index"] or new["forwarded_count"] < old["forwarded_count"]
    )
