"""Who of Matrix is in which room, and under what name: asked of the homeserver once, kept right by events."""

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names

_SENDERS: Final = 50_000
_ROOMS: Final = 500
_LEARNED: Final = 50_000


class Members:
    """Bounded caches of member names and of whole member lists."""

    def __init__(self, matrix: MatrixSide, names: Names, clock: Clock) -> None:
        self._matrix = matrix
        self._names = names
        self._clock = clock
        self._local = f":{names.server}"
        self._senders: OrderedDict[tuple[RoomId, UserId], MatrixSender] = OrderedDict()
        self._rooms: OrderedDict[RoomId, set[UserId]] = OrderedDict()
        self._joins: OrderedDict[RoomId, dict[UserId, int]] = OrderedDict()
        self._learned: OrderedDict[tuple[RoomId, UserId], int] = OrderedDict()
        """When the bridge learned that somebody of another server is in a room; who drops out is learned of anew."""
        self._asking: dict[tuple[str, RoomId], bool] = {}
        """Rooms being asked about, and whether somebody came or went meanwhile."""

    def known(self, room: RoomId, user: UserId) -> MatrixSender | None:
        """The sender if in memory. Does not block."""
        return self._senders.get((room, user))

    async def sender(self, room: RoomId, user: UserId) -> MatrixSender:
        """A sender under their name in the room; when that cannot be had, under their localpart."""
        found = self._senders.get((room, user))
        if found is not None:
            return found
        try:
            content = await self._matrix.state(room, "m.room.member", user) or {}
        except BridgeError:
            return self._make(user, {})  # not remembered: the next message asks again
        made = self._make(user, content)
        self._remember(room, user, made)
        return made

    def changed(self, room: RoomId, user: UserId, content: Mapping[str, Any], at: int) -> None:
        """A membership event came in that says of itself that it was made `at` this time."""
        joined = content.get("membership") == "join"
        if joined:
            at = self._came(room, user, at)
        else:
            self._learned.pop((room, user), None)
        if joined:
            if (room, user) in self._senders:
                self._remember(room, user, self._make(user, content))
        else:
            self._senders.pop((room, user), None)
        for asking in self._asking:
            if asking[1] == room:
                self._asking[asking] = True
        members = self._rooms.get(room)
        if members is not None:
            (members.add if joined else members.discard)(user)
        joins = self._joins.get(room)
        if joins is None:
            return
        if joined:
            joins.setdefault(user, at)  # a later event of somebody who is there is a new name or picture
        else:
            joins.pop(user, None)

    async def of(self, room: RoomId) -> frozenset[UserId]:
        """All Matrix users joined to the room, without ghosts and bot. Raises as the Matrix side does: fail closed."""
        members = self._rooms.get(room)
        if members is None:
            asking = ("members", room)
            self._asking[asking] = False
            try:
                everybody = await self._matrix.members(room)
            finally:
                changed = self._asking.pop(asking, True)
            members = {user for user in everybody if not self._names.is_ours(user)}
            if not changed:  # else the answer may be older than what came meanwhile: the next call asks again
                self._rooms[room] = members
                if len(self._rooms) > _ROOMS:
                    self._rooms.popitem(last=False)
        return frozenset(members)

    async def joined_at(self, room: RoomId) -> Mapping[UserId, int]:
        """When each Matrix user in the room came, in milliseconds since 1970, without ghosts and bot.

        Nobody counts as having been there earlier than they were. For users of our own homeserver, which stamped it
        itself, it is the time of their present membership event (who changed their name since counts as having come
        then). Another server may stamp its users' events as it likes (CVE-2024-39691), so they came at the later of
        that time and the one at which this bridge learned of them: when it saw their event, or else asked for the
        members. Asked once per room, and kept right by events. Raises as the Matrix side does: fail closed.
        """
        joins = self._joins.get(room)
        if joins is None:
            asking = ("joins", room)
            self._asking[asking] = False
            try:
                everybody = await self._matrix.joins(room)
            finally:
                changed = self._asking.pop(asking, True)
            joins = {
                user: self._came(room, user, at) for user, at in everybody.items() if not self._names.is_ours(user)
            }
            if not changed:
                self._joins[room] = joins
                if len(self._joins) > _ROOMS:
                    self._joins.popitem(last=False)
        return MappingProxyType(dict(joins))

    def forget(self, room: RoomId) -> None:
        """Ask anew next time: what happens there was not, or will not be, seen by the bridge."""
        self._rooms.pop(room, None)
        self._joins.pop(room, None)
        for known in [known for known in self._learned if known[0] == room]:
            del self._learned[known]

    def _came(self, room: RoomId, user: UserId, at: int) -> int:
        """When a member counts as having come, whose membership event says `at` (0: nothing)."""
        if at > 0 and user.endswith(self._local):
            return at
        learned = self._learned.setdefault((room, user), self._clock.now_ms())
        if len(self._learned) > _LEARNED:
            self._learned.popitem(last=False)
        return max(at, learned)

    def _make(self, user: UserId, content: Mapping[str, Any]) -> MatrixSender:
        name = content.get("displayname")
        avatar = content.get("avatar_url")
        localpart = user[1:].partition(":")[0]
        return MatrixSender(
            user,
            name[:255] if isinstance(name, str) and name.strip() else localpart,
            avatar if isinstance(avatar, str) and avatar.startswith("mxc://") else None,
        )

    def _remember(self, room: RoomId, user: UserId, sender: MatrixSender) -> None:
        self._senders[room, user] = sender
        if len(self._senders) > _SENDERS:
            self._senders.popitem(last=False)
