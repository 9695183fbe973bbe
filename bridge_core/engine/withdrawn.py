"""What was taken back before it was sent: it must not be sent any more, wherever it waits."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from bridge_core.api.ids import EventId, RoomId
from bridge_core.api.matrix import MessageRef
from bridge_core.engine.ports import Journal, Write
from bridge_core.engine.store_ports import KeyValues
from bridge_core.engine.translation import redacted_by

NAMESPACE: Final = "plain.withdrawn"
REASON: Final = "redacted before it was sent"


def event_key(event: str) -> bytes:
    """The journal's dedupe key of an event of Matrix."""
    return blake2b(b"event\x1f" + event.encode("utf-8", "replace"), digest_size=16).digest()


class Withdrawn:
    """Marks of events whose redaction is still in its lane, behind them. Stored with the redaction, in one commit."""

    def __init__(self, kv: KeyValues, journal: Journal) -> None:
        self._kv = kv
        self._journal = journal
        self._marks: set[str] = set()

    async def load(self) -> None:
        """Read the marks once, at start."""
        self._marks.update(await self._kv.items(NAMESPACE, ""))

    def taken_back(self, event: Mapping[str, Any]) -> tuple[Write, ...]:
        """What is to be committed with a redaction; nothing for other events. It counts at once. Does not block."""
        redacted = redacted_by(event)
        if redacted is None:
            return ()
        key = _key(RoomId(event["room_id"]), redacted)
        self._marks.add(key)
        return (self._kv.write(NAMESPACE, key, b""),)

    def is_taken_back(self, event: Mapping[str, Any]) -> bool:
        """Whether an event was redacted: before it came here, or its redaction waits behind it. From memory."""
        unsigned = event.get("unsigned")
        if isinstance(unsigned, Mapping) and "redacted_because" in unsigned:
            return True
        return bool(self._marks) and _key(RoomId(event["room_id"]), EventId(event["event_id"])) in self._marks

    def has(self, room: RoomId, message: MessageRef) -> bool:
        """Whether a message that crossed is being taken back. From memory."""
        return bool(self._marks) and _key(room, message.event_id) in self._marks

    def ended(self, event: Any) -> tuple[Write, ...]:
        """What is to be committed with the end of an event: a redaction's mark goes. Does not block."""
        if not self._marks or not isinstance(event, Mapping):
            return ()
        redacted = redacted_by(event)
        if redacted is None:
            return ()
        key = _key(RoomId(event["room_id"]), redacted)
        if key not in self._marks:
            return ()
        self._marks.discard(key)
        return (self._kv.write(NAMESPACE, key, None),)

    async def withdraw(self, event: EventId) -> bool:
        """End the dead letter of an event, if it is one: nobody may send it any more. Whether there was one."""
        return await self._journal.withdraw(event_key(event), REASON)


def _key(room: RoomId, event: EventId) -> str:
    return f"{room} {event}"
