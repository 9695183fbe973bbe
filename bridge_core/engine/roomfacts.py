"""What the other side of a chat should know of a Matrix room before it agrees to being bridged with it."""

from collections.abc import Callable

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.api.info import RoomFacts
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.privacy import VISIBILITY

_UNSET = "shared"
"""Who reads the history of a room that does not say (Matrix specification, history visibility)."""


class RoomReader:
    """Looks at a room as it is now. `ours`: who is the bot or a ghost, and not counted."""

    def __init__(self, matrix: MatrixSide, ours: Callable[[UserId], bool]) -> None:
        self._matrix = matrix
        self._ours = ours

    async def facts(self, room: RoomId) -> RoomFacts:
        """How many are there and who reads what; not known in a room that the bot is not in. Raises TransientError."""
        try:
            members = await self._matrix.members(room)
            content = await self._matrix.state(room, VISIBILITY) or {}
        except RejectedError:
            return RoomFacts()
        people = sum(not self._ours(user) for user in members)
        return RoomFacts(people, str(content.get("history_visibility", _UNSET)))
