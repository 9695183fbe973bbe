"""What each reaction of Matrix was, so that a network can be told which one is taken off: its event is empty then.

Kept in the message map, under an event id and a message id that no event and no message has.
"""

from typing import Any, Final

from bridge_core.api.ids import EventId, MessageId, RoomId
from bridge_core.engine.ports import Write
from bridge_core.engine.store_ports import Messages

_NOTE: Final = "~reacted"


def reaction_note(messages: Messages, portal: int, event: dict[str, Any], at: int) -> Write:
    """The row that remembers a reaction that has arrived on the network."""
    relation = event["content"]["m.relates_to"]
    what = MessageId(f"{_NOTE}\x1f{relation['event_id']}\x1f{relation['key']}")
    return messages.write(portal, what, 0, RoomId(event["room_id"]), _mark(event["event_id"]), event["sender"], at)


async def noted_reaction(messages: Messages, portal: int, room: RoomId, event: EventId) -> tuple[EventId, str] | None:
    """The event that a reaction was on, and its key; None for what was no reaction."""
    for row in await messages.by_event(room, _mark(event)):
        note, _, rest = row.message.partition("\x1f")
        target, separator, key = rest.partition("\x1f")
        if row.portal == portal and note == _NOTE and separator:
            return EventId(target), key
    return None


def _mark(event: str) -> EventId:
    return EventId(f"{_NOTE}{event}")
