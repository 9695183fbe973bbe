"""Who of Matrix is to be able to read what is said in a room from now on: for whom it is encrypted."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.privacy import VISIBILITY

_ROOMS: Final = 1_000
_SEEN: Final = 100_000
_BELIEVED: Final = 3600.0
"""Seconds until members are asked for anew: no event tells of what the resolution of a fork has undone."""
_CLOSED: Final = "joined"
"""The history visibility at which who is only invited may not read what is said before they join."""


class _Room:
    """The members of one room who are not ours, and the same frozen until somebody comes or goes."""

    __slots__ = ("frozen", "invited", "joined", "open", "until")

    def __init__(self, joined: set[UserId], invited: set[UserId], until: float, *, is_open: bool) -> None:
        self.until = until
        self.joined = joined
        self.invited = invited
        self.open = is_open
        self.frozen: frozenset[UserId] | None = None

    def readers(self) -> frozenset[UserId]:
        """The same object until that changes."""
        if self.frozen is None:
            self.frozen = frozenset(self.joined | self.invited if self.open else self.joined)
        return self.frozen


class Readers:
    """Asked of the homeserver once an hour and room, kept right by events, bounded. Users of ours are left out.

    `met` is told of those who are in a room that is new to the bridge, or come into one: as long as no room was shared
    with somebody, no homeserver has told of changes of their devices. It must not block.
    """

    def __init__(
        self,
        matrix: MatrixSide,
        is_ours: Callable[[UserId], bool],
        clock: Clock,
        met: Callable[[Iterable[UserId]], None] = lambda _: None,
    ) -> None:
        self._met = met
        self._seen: set[RoomId] = set()
        """Rooms whose members were met, and nobody has come since that was not met."""
        self._matrix = matrix
        self._clock = clock
        self._is_ours = is_ours
        self._rooms: OrderedDict[RoomId, _Room] = OrderedDict()
        self._asking: dict[RoomId, int] = {}
        self._changed: set[RoomId] = set()
        """Rooms that are being asked about, where somebody came or went meanwhile."""

    async def of(self, room: RoomId, viewer: UserId) -> frozenset[UserId]:
        """Joined members, and invited ones where they may read on. The same object until that changes.

        Raises as the Matrix side does, also where neither the bot nor `viewer` may see the members: fail closed.
        """
        known = self._rooms.get(room)
        if known is None or self._clock.monotonic() >= known.until:
            known = await self._ask(room, viewer)
        else:
            self._rooms.move_to_end(room)
        return known.readers()

    def still(self, room: RoomId, readers: frozenset[UserId]) -> frozenset[UserId]:
        """Those of `readers` who read there still, as far as is known: the same object where nobody came or went."""
        known = self._rooms.get(room)
        return readers if known is None or known.frozen is readers else readers & known.readers()

    def changed(self, room: RoomId, user: UserId, content: Mapping[str, Any]) -> None:
        """A membership event came in, of somebody who is not ours. Does not block: the hot path."""
        if room in self._asking:
            self._changed.add(room)
        known = self._rooms.get(room)
        membership = content.get("membership")
        if known is None:
            if membership == "join":
                self._seen.discard(room)
            return
        if membership == "join" and user not in known.joined:
            self._met((user,))
        # Nothing is lost where it was so already: a new name changes no session.
        for named, there in (("join", known.joined), ("invite", known.invited)):
            if (user in there) is not (membership == named):
                (there.add if membership == named else there.discard)(user)
                known.frozen = None

    def forget(self, room: RoomId) -> None:
        """Ask anew next time: who may read the history, or something else of the room, is not as it was."""
        self._rooms.pop(room, None)
        if room in self._asking:
            self._changed.add(room)

    async def _ask(self, room: RoomId, viewer: UserId) -> _Room:
        self._asking[room] = self._asking.get(room, 0) + 1
        try:
            there = await self._matrix.reading(room, viewer)
            content = await self._matrix.state(room, VISIBILITY, viewer=there.viewer) or {}
        finally:
            self._asking[room] -= 1
            changed = room in self._changed
            if not self._asking[room]:
                del self._asking[room]
                self._changed.discard(room)
        ours = self._is_ours
        known = _Room(
            {user for user in there.joined if not ours(user)},
            {user for user in there.invited if not ours(user)},
            self._clock.monotonic() + _BELIEVED,
            is_open=content.get("history_visibility", "shared") != _CLOSED,
        )
        if room not in self._seen:
            self._met(known.joined | known.invited)
        if not changed:  # else the answer may be older than what came meanwhile: the next message asks again
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen.add(room)
            self._rooms[room] = known
            if len(self._rooms) > _ROOMS:
                self._rooms.popitem(last=False)
        return known
