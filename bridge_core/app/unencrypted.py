"""A bridge whose encryption is off, in rooms that are encrypted: nothing crosses there, either way."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import RoomId
from bridge_core.app.engine import Engine
from bridge_core.crypto.rows import RoomRow
from bridge_core.engine.encryption import MEGOLM
from bridge_core.engine.gate import Check
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.secrecy import encryption_in
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.crypto import SealedCryptoStore

log = structlog.get_logger(__name__)

_OFF: Final = "this room is encrypted, and the bridge's encryption is off"


class Unencrypted(Check):
    """Knows encrypted rooms by what comes in: their state, anything encrypted, and what a room has when it is bridged.

    No room is asked about for its own sake: without encryption plain rooms cost nothing. `load` before the lanes.
    """

    def __init__(self, engine: Engine, matrix: MatrixSide, store: SealedCryptoStore, tasks: TaskOwner) -> None:
        self._portals = engine.portals
        self._matrix = matrix
        self._store = store
        self._tasks = tasks
        self._rooms: set[RoomId] = set()
        engine.gate.add(self)
        engine.on_encryption.append(self.changed)
        engine.decrypting.unread = self.seen
        engine.rooms.when_bridged(self.bridged)

    async def load(self) -> None:
        """Read which rooms were known to be encrypted. Raises as the store."""
        self._rooms.update(row.room for row in await self._store.rooms())

    def room(self, room: RoomId) -> str:
        """As `Check.room`."""
        return _OFF if room in self._rooms else ""

    def changed(self, room: RoomId, content: Mapping[str, Any]) -> None:
        """The room's m.room.encryption has come in, of whatever content. Does not block."""
        self._known(room, content)

    def seen(self, room: RoomId) -> None:
        """Something encrypted was said there. Does not block."""
        self._known(room, {"algorithm": MEGOLM})

    async def bridged(self, portal: PortalRow, room: RoomId) -> None:
        """A room that was there is bridged now. Raises as the Matrix side."""
        content = await encryption_in(self._matrix, room, self._matrix.bot)
        if content is not None:
            self._known(room, content)

    def _known(self, room: RoomId, content: Mapping[str, Any]) -> None:
        if room in self._rooms or not self._portals.in_room(room):
            return
        self._rooms.add(room)
        log.warning("room_encrypted_and_encryption_off", room=room)
        if content.get("algorithm") == MEGOLM:
            self._tasks.start(self._keep(room, content), "room-encryption")

    async def _keep(self, room: RoomId, content: Mapping[str, Any]) -> None:
        try:
            await self._store.commit([RoomRow(room, orjson.dumps(dict(content)))])
        except BridgeError as error:
            log.info("room_encryption_not_kept", room=room, error=str(error))  # the next thing said there tells again
