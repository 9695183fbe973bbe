"""A bridge whose encryption is off, in rooms that are encrypted: nothing crosses there, either way."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId
from bridge_core.app.engine import Engine
from bridge_core.crypto.rows import RoomRow
from bridge_core.engine.commands import Answer, Call, Command
from bridge_core.engine.commands.encryption import TOPIC
from bridge_core.engine.gate import Check
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.permissions import Permission
from bridge_core.engine.secrecy import MEGOLM, Plain, encryption_in
from bridge_core.engine.store_ports import PortalRow
from bridge_core.observe.tasks import TaskOwner
from bridge_core.store.crypto import SealedCryptoStore

log = structlog.get_logger(__name__)

_RETRY: Final = (1.0, 300.0)
_STATUS: Final = (
    "Encryption is off (encryption.mode). In bridged rooms that are encrypted nothing crosses, either way; elsewhere I "
    "cannot read what is said encrypted."
)
_OFF: Final = "this room is encrypted, and the bridge's encryption is off"


class Unencrypted(Check):
    """Asks about a room when its encryption is set, something encrypted is said there, and when it is bridged.

    Else no room is asked about: without encryption plain rooms cost nothing. `load` before the lanes.
    """

    def __init__(
        self, engine: Engine, matrix: MatrixSide, store: SealedCryptoStore, clock: Clock, tasks: TaskOwner
    ) -> None:
        self._portals = engine.portals
        self._matrix = matrix
        self._store = store
        self._tasks = tasks
        self._clock = clock
        self._wake = engine.wake
        self._rooms: set[RoomId] = set()
        self._plain = Plain(clock)
        self._asking: set[RoomId] = set()
        engine.gate.add(self)
        words = "whether rooms are encrypted, and how"
        engine.commands.add(Command("encryption status", "", words, Permission.ADMIN, _status, TOPIC))
        engine.on_encryption.append(lambda event: self.changed(RoomId(event["room_id"]), event["content"]))
        engine.decrypting.unread = self.seen
        engine.rooms.when_bridged(self.bridged)

    async def load(self) -> None:
        """Read which rooms were known to be encrypted. Raises as the store."""
        self._rooms.update(row.room for row in await self._store.rooms())

    def room(self, room: RoomId) -> str:
        """As `Check.room`. Raises TransientError while the homeserver is asked."""
        if room in self._asking:
            raise TransientError("it is not known yet whether this room is encrypted")
        return _OFF if room in self._rooms else ""

    def changed(self, room: RoomId, content: Mapping[str, Any]) -> None:
        """The room's m.room.encryption has come in, of whatever content. Does not block."""
        self._plain.discard(room)
        self._begin(room, set_there=True)

    def seen(self, room: RoomId) -> None:
        """Something encrypted was said there, as anybody can in any room. Does not block."""
        self._begin(room, set_there=False)

    async def bridged(self, portal: PortalRow, room: RoomId) -> None:
        """A room that was there is bridged now. Raises as the Matrix side."""
        await self._learn(room)

    def _begin(self, room: RoomId, *, set_there: bool) -> None:
        if room in self._rooms or room in self._asking or room in self._plain or not self._portals.in_room(room):
            return
        self._asking.add(room)
        self._tasks.start(self._ask(room, set_there=set_there), "room-encryption")

    async def _ask(self, room: RoomId, *, set_there: bool) -> None:
        try:
            await self._asked(room, set_there=set_there)
        finally:  # whatever happens: nothing waits for an answer that nobody looks for
            self._asking.discard(room)
            self._wake()

    async def _asked(self, room: RoomId, *, set_there: bool) -> None:
        delay = _RETRY[0]
        while True:
            try:
                await self._learn(room)
            except RejectedError:
                # Nobody of ours may look. What its state was set to has come to us all the same.
                if set_there:
                    self._rooms.add(room)
                return
            except BridgeError as error:
                log.info("room_encryption_not_known", room=room, error=str(error), retry_in=delay)
                await self._clock.sleep(delay)
                delay = min(delay * 2, _RETRY[1])
            else:
                self._plain.add(room)
                return

    async def _learn(self, room: RoomId) -> None:
        content = await encryption_in(self._matrix, room, self._matrix.bot)
        if content is not None and room not in self._rooms:
            self._rooms.add(room)
            log.warning("room_encrypted_and_encryption_off", room=room)
            if content.get("algorithm") == MEGOLM:
                await self._store.commit([RoomRow(room, orjson.dumps(dict(content)))])


async def _status(call: Call) -> Answer:
    return Answer(_STATUS, {"mode": "off"})
