"""Takes secrets back that users wrote in rooms."""

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import EventId, RoomId
from bridge_core.engine import requests
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names

log = structlog.get_logger(__name__)


class Erasing:
    """Redacts as the bot."""

    def __init__(self, names: Names, matrix: MatrixSide) -> None:
        self._names = names
        self._matrix = matrix

    async def erase(self, room: RoomId, event: EventId) -> bool:
        """Redact an event now; twice does no harm. False when the bot may not, or the homeserver does not answer."""
        txn = self._names.send_id("erase", room, event)
        bot = self._matrix.bot
        request = requests.build(
            room, "m.room.redaction", txn, bot, None, {"reason": "it held a secret"}, redacts=event
        )
        try:
            await self._matrix.send(request, 0)
        except BridgeError as error:
            log.info("secret_not_erased", room=room, error=str(error))
            return False
        return True
