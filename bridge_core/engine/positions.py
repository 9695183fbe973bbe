"""Which message somebody has read who has read up to an event that is none: a membership, a reaction, a notice."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from bridge_core.api.ids import EventId, RoomId
from bridge_core.engine.translation import MESSAGE_TYPES

_ROOMS: Final = 20_000
_EVENTS: Final = 50_000
_MESSAGES: Final = frozenset((*MESSAGE_TYPES, "m.room.encrypted"))


class Positions:
    """The order of the latest events, as the homeserver tells them. In memory only: after a start it is learnt anew."""

    def __init__(self) -> None:
        self._last: OrderedDict[RoomId, EventId] = OrderedDict()
        self._before: OrderedDict[EventId, EventId] = OrderedDict()

    def passed(self, event: Mapping[str, Any]) -> None:
        """The next event of a room, our own ones included. Does not block: the hot path."""
        room, event_id = RoomId(event["room_id"]), EventId(event["event_id"])
        last = self._last.get(room)
        if last is not None and last != event_id:
            self._before[event_id] = last
            if len(self._before) > _EVENTS:
                self._before.popitem(last=False)
        if event["type"] in _MESSAGES and "state_key" not in event:
            self._last[room] = event_id
            if len(self._last) > _ROOMS:
                self._last.popitem(last=False)

    def before(self, event: EventId) -> EventId | None:
        """The last message ahead of an event; None when that is not known."""
        return self._before.get(event)
