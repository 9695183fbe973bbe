"""Which rooms are encrypted: what is said in one of them is not said again where homeservers can read it."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from bridge_core.api.ids import RoomId
from bridge_core.engine.matrix_ports import MatrixSide

ENCRYPTION: Final = "m.room.encryption"
_ROOMS: Final = 5_000


class Secrecy:
    """Asks the homeserver once for each room; a room that is encrypted stays so (Matrix, end-to-end encryption)."""

    def __init__(self, matrix: MatrixSide) -> None:
        self._matrix = matrix
        self._encrypted: OrderedDict[RoomId, bool] = OrderedDict()
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
            self._remember(RoomId(event["room_id"]), True)

    async def _is(self, room: RoomId) -> bool:
        known = self._encrypted.get(room)
        if known is None:
            changes = self._changes
            known = await self._matrix.state(room, ENCRYPTION) is not None
            if changes == self._changes:  # else the answer may be older than what came meanwhile
                self._remember(room, known)
        return known

    def _remember(self, room: RoomId, encrypted: bool) -> None:
        self._encrypted[room] = encrypted
        if len(self._encrypted) > _ROOMS:
            self._encrypted.popitem(last=False)
