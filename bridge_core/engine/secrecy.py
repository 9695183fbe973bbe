"""Which rooms are encrypted: what is said in one of them is not said again where homeservers can read it."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import orjson

from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, SendRequest

ENCRYPTION: Final = "m.room.encryption"
MEGOLM: Final = "m.megolm.v1.aes-sha2"
"""The algorithm of encrypted rooms: there is no other."""
CLEAR: Final = frozenset({"m.reaction", "m.room.redaction", "m.room.encrypted"})
"""What is not encrypted anywhere: homeservers have to read it (client-server API, "m.room.encrypted")."""
ONLY: Final = "dev.matrix_bridge.only"
"""In what the bot says: the one user who may be able to read it."""
_MARK: Final = ONLY.encode()
_ROOMS: Final = 5_000
_PLAIN: Final = 100_000
_BELIEVED: Final = 600.0
"""Seconds: events that tell of a change may be late, by as much as the homeserver has to send before them."""


def only_for(request: SendRequest) -> UserId | None:
    """For whom alone a request of the bot's is; None for nearly all."""
    if _MARK not in request.body:
        return None
    found = orjson.loads(request.body).get(ONLY)
    return UserId(found) if isinstance(found, str) else None


class Plain:
    """Rooms that were found not to be encrypted a short while ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[RoomId, float] = {}

    def __contains__(self, room: object) -> bool:
        until = self._until.get(room)  # type: ignore[call-overload]
        return until is not None and self._clock.monotonic() < until

    def add(self, room: RoomId) -> None:
        """It was found so now."""
        self._until.pop(room, None)
        if len(self._until) >= _PLAIN:
            del self._until[next(iter(self._until))]
        self._until[room] = self._clock.monotonic() + _BELIEVED

    def was(self, room: RoomId) -> bool:
        """Whether it was found so last, however long ago."""
        return room in self._until

    def discard(self, room: RoomId) -> None:
        """It may be encrypted now."""
        self._until.pop(room, None)

    def clear(self) -> None:
        """Any of them may be."""
        self._until.clear()


async def encryption_in(matrix: MatrixSide, room: RoomId, *viewers: UserId) -> Mapping[str, Any] | None:
    """The room's m.room.encryption as the first of `viewers` who is in the room sees it; None where it is not set.

    Who has left is shown the room as it was then (Synapse): that it is encrypted is true for ever, that it is not is
    no answer. Raises as the Matrix side, MatrixRejectedError (403) too where none of them is in the room.
    """
    for viewer in viewers:
        try:
            member = await matrix.state(room, "m.room.member", viewer, viewer=viewer)
            content = await matrix.state(room, ENCRYPTION, viewer=viewer)
        except MatrixRejectedError as error:
            if error.status != 403 or viewer == viewers[-1]:
                raise
            continue
        if content is not None or (member is not None and member.get("membership") == "join"):
            return content
    raise MatrixRejectedError("M_FORBIDDEN", "nobody of ours is in the room to see whether it is encrypted", 403)


class Secrecy:
    """Asks the homeserver about each room; a room that is encrypted stays so (Matrix, end-to-end encryption)."""

    def __init__(self, matrix: MatrixSide, clock: Clock) -> None:
        self._matrix = matrix
        self._encrypted: OrderedDict[RoomId, None] = OrderedDict()
        self._plain = Plain(clock)
        self._changes = 0

    async def why(self, source: RoomId, room: RoomId) -> str:
        """Why what is said in `source` may not be repeated in `room`, in words for who said it; empty when it may.

        Raises as the Matrix side does, while that cannot be known: fail closed.
        """
        if await self._is(source) and not await self._is(room):
            return "the room it was said in is encrypted, and that one is not"
        return ""

    async def changed(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: a room is encrypted from now on."""
        if not event["state_key"]:
            self._changes += 1
            self._remember(RoomId(event["room_id"]))

    async def _is(self, room: RoomId) -> bool:
        if room in self._encrypted:
            return True
        if room in self._plain:
            return False
        changes = self._changes
        encrypted = await encryption_in(self._matrix, room, self._matrix.bot) is not None
        if encrypted:
            self._remember(room)
        elif changes == self._changes:  # else the answer may be older than what came meanwhile
            self._plain.add(room)
        return encrypted or room in self._encrypted

    def _remember(self, room: RoomId) -> None:
        self._plain.discard(room)
        self._encrypted[room] = None
        if len(self._encrypted) > _ROOMS:
            self._encrypted.popitem(last=False)
