"""Which links went out with which message, so that taking the message back takes the files back as well."""

from typing import Final, Protocol

import orjson

from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixOutgoing
from bridge_core.engine.store_ports import KeyValues

NAMESPACE: Final = "links"
"""Of the rows, which are forgotten once the links have expired: see `remembered_at`."""
_AT: Final = 8


class Revocations(Protocol):
    """Files whose links work no more."""

    async def revoke(self, link: str, at: int) -> None:
        """Return when committed."""


class LinkLedger:
    """Remembers links by event, and revokes them."""

    def __init__(self, kv: KeyValues, revocations: Revocations, clock: Clock) -> None:
        self._kv = kv
        self._revocations = revocations
        self._clock = clock

    async def remember(self, message: MatrixOutgoing) -> None:
        """Return when it is committed which files go out with a message: before it is sent, whatever becomes of it."""
        if isinstance(message, MatrixMessage | MatrixEdit) and message.content.attachments:
            sources = [attachment.source for attachment in message.content.attachments]
            value = self._clock.now_ms().to_bytes(_AT, "big") + orjson.dumps(sources)
            await self._kv.put(NAMESPACE, _key(message.room, message.event_id), value)

    async def revoke(self, room: RoomId, event: EventId) -> None:
        """End the links of a message that was taken back. Whoever redacted it: the room has allowed that."""
        stored = await self._kv.get(NAMESPACE, _key(room, event))
        for source in orjson.loads(stored[_AT:]) if stored else ():
            await self._revocations.revoke(source, self._clock.now_ms())


def remembered_at(value: bytes) -> int:
    """When the links of a row went out last, in milliseconds."""
    return int.from_bytes(value[:_AT], "big")


def _key(room: RoomId, event: EventId) -> str:
    return f"{room} {event}"
