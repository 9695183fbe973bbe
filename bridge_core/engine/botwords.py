"""What the bot says besides notices: events about events, and corrections of what it said before."""

from typing import Any, Final, cast

import orjson

from bridge_core.api.ids import EventId, RoomId
from bridge_core.engine import requests
from bridge_core.engine.conversion import Conversion
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.payload import BotCorrection, BotEvent
from bridge_core.engine.ports import Entry, Write
from bridge_core.engine.requests import Prepared
from bridge_core.engine.store_ports import KeyValues

NOTED: Final = "noted"
"""Key-value namespace: which event a notice became, by the key it was said under. JSON: room, event, milliseconds."""


_FORGET: Final = "-"


def forgetting(key: str) -> str:
    """The key of something that, once it is sent, lets what was remembered under `key` be forgotten."""
    return f"{_FORGET}{key}"


def noted(kv: KeyValues, key: str, room: RoomId, event: EventId, at: int) -> Write:
    """The row that remembers which event something became, or forgets it."""
    if key.startswith(_FORGET):
        return kv.write(NOTED, key.removeprefix(_FORGET), None)
    return kv.write(NOTED, key, orjson.dumps([room, event, at]))


class BotSpeech:
    """Converts BotEvent and BotCorrection."""

    def __init__(self, names: Names, matrix: MatrixSide, kv: KeyValues, conversion: Conversion) -> None:
        self._names = names
        self._matrix = matrix
        self._kv = kv
        conversion.add(BotEvent, self._event)
        conversion.add(BotCorrection, self._correction, refers=True)

    async def _event(self, entry: Entry, event: BotEvent) -> list[Prepared]:
        return [await self._prepared(entry, event.room, event.type, orjson.loads(event.content), event.key)]

    async def _correction(self, entry: Entry, event: BotCorrection) -> list[Prepared]:
        """An edit of what was said; said anew where that never arrived. What was remembered of it is forgotten."""
        said: dict[str, Any] = {"msgtype": "m.notice", "body": event.text, "m.mentions": {}}
        stored = await self._kv.get(NOTED, event.key)
        room, earlier, _ = cast("list[Any]", orjson.loads(stored)) if stored else (event.room, None, 0)
        if earlier is None or room != event.room:
            content = {**said, "m.relates_to": {"m.in_reply_to": {"event_id": event.about}}}
        else:
            content = {
                **said,
                "body": f"* {event.text}",
                "m.new_content": said,
                "m.relates_to": {"rel_type": "m.replace", "event_id": earlier},
            }
        return [await self._prepared(entry, event.room, "m.room.message", content, forgetting(event.key))]

    async def _prepared(self, entry: Entry, room: RoomId, kind: str, content: dict[str, Any], key: str) -> Prepared:
        txn = self._names.send_id("bot", room, f"{entry.id}.{entry.received_at}")
        device = await self._matrix.ensure_registered(self._matrix.bot)
        return Prepared(requests.build(room, kind, txn, self._matrix.bot, device, content), noted=key)
