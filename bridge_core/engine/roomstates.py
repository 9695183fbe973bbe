"""State of rooms as an act: brought about in its lane's order, and only where it is not so already."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from bridge_core.api.ids import RoomId
from bridge_core.engine import requests
from bridge_core.engine.acts import Acts
from bridge_core.engine.matrix_ports import MatrixSide, SendRequest
from bridge_core.engine.requests import Prepared

KIND: Final = "room_state"


class RoomStates:
    """Makes wishes for the state of rooms, and performs them as the bot."""

    def __init__(self, matrix: MatrixSide, acts: Acts) -> None:
        self._matrix = matrix
        acts.add(KIND, self._perform)

    def wish(self, room: RoomId, event_type: str, content: Mapping[str, Any], key: str = "") -> Prepared:
        """The state event is to have this content."""
        return requests.act(KIND, room, self._matrix.bot, {"key": key, "content": content}, subject=event_type)

    async def _perform(self, request: SendRequest) -> None:
        wished = orjson.loads(request.body)
        await self._matrix.set_state(request.room, request.type, wished["key"], wished["content"], request.sender)
