"""Whom a room keeps out: the banned, and users of servers that its access list denies.

The bot speaks for people who are not in a room; it must not become their way round a room's own bans.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from bridge_core.api.ids import RoomId, UserId
from bridge_core.config.globs import Glob
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.members import Members

SERVER_ACL: Final = "m.room.server_acl"
_PEOPLE: Final = 10_000
_ROOMS: Final = 500
_PATTERNS: Final = 2_000
_PORT: Final = re.compile(r":\d{1,5}$")
_LITERAL: Final = re.compile(r"^(\[.*\]|\d{1,3}(\.\d{1,3}){3})$")


class Barred:
    """Answers from memory where it has asked before; what changes in a room makes it ask anew."""

    def __init__(self, matrix: MatrixSide, members: Members) -> None:
        self._matrix = matrix
        self._members = members
        self._banned: OrderedDict[tuple[RoomId, UserId], bool] = OrderedDict()
        self._lists: OrderedDict[RoomId, Mapping[str, Any]] = OrderedDict()
        self._changes = 0

    async def why(self, room: RoomId, user: UserId) -> str:
        """Why a room does not want what a user says, in words for them; empty when it does not mind.

        Raises TransientError while that cannot be known: fail closed.
        """
        try:
            if user not in await self._members.of(room) and await self._is_banned(room, user):
                return "you are banned there"
            if not allows(await self._list(room), user.partition(":")[2]):
                return "your homeserver is not let in there"
        except MatrixRejectedError:
            return "the bridge is not let in there"
        return ""

    def changed(self, room: RoomId, user: UserId, content: Mapping[str, Any]) -> None:
        """A membership event came in. Does not block."""
        self._changes += 1
        if (room, user) in self._banned:
            self._banned[room, user] = content.get("membership") == "ban"

    async def listed(self, event: Mapping[str, Any]) -> None:
        """A room has another access list."""
        self._changes += 1
        self._lists.pop(RoomId(event["room_id"]), None)

    async def _is_banned(self, room: RoomId, user: UserId) -> bool:
        known = self._banned.get((room, user))
        if known is not None:
            return known
        changes = self._changes
        content = await self._matrix.state(room, "m.room.member", user) or {}
        banned = content.get("membership") == "ban"
        if changes == self._changes:  # else the answer may be older than what came meanwhile
            self._banned[room, user] = banned
            if len(self._banned) > _PEOPLE:
                self._banned.popitem(last=False)
        return banned

    async def _list(self, room: RoomId) -> Mapping[str, Any]:
        known = self._lists.get(room)
        if known is None:
            changes = self._changes
            known = await self._matrix.state(room, SERVER_ACL) or {}
            if changes == self._changes:
                self._lists[room] = known
                if len(self._lists) > _ROOMS:
                    self._lists.popitem(last=False)
        return known


def allows(content: Mapping[str, Any], server: str) -> bool:
    """Whether a server access list lets a server in. Source: Matrix client-server API, m.room.server_acl."""
    if not content:
        return True
    host = _PORT.sub("", server.lower())
    if content.get("allow_ip_literals") is False and _LITERAL.match(host):
        return False
    if _any(content.get("deny"), host):
        return False
    return _any(content.get("allow"), host)


def _any(patterns: object, host: str) -> bool:
    if not isinstance(patterns, list):
        return False
    for text in patterns[:_PATTERNS]:
        try:
            if isinstance(text, str) and Glob.parse(text).matches(host):
                return True
        except ValueError:
            continue
    return False
