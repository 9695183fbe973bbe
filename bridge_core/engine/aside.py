"""What is kept aside until its key comes: by room and session, and who gives way where there is no place left."""

import asyncio
from collections import Counter as Counts
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bridge_core.api.ids import EventId, RoomId, UserId

__all__ = ["REDACTION", "Kept", "KeptRoom", "KeptSession", "about", "gives_way"]

REDACTION: Final = "m.room.redaction"


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry's event. `stays`: it gives way to nobody; `edits`: what it edits, which later edits wait for."""

    event: EventId
    sender: UserId
    stays: bool = False
    edits: EventId | None = None


@dataclass(slots=True)
class KeptSession:
    """What waits for one key of one room: the senders of those in front of their lanes, and what is kept, by entry."""

    came: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: list[UserId] = field(default_factory=list)
    kept: dict[int, Kept] = field(default_factory=dict)
    oldest: int = 0


@dataclass(slots=True)
class KeptRoom:
    """`events` are those kept, with the session that each waits for."""

    sessions: dict[str, KeptSession] = field(default_factory=dict)
    events: dict[EventId, str] = field(default_factory=dict)

    def edited(self, before: int, sender: UserId, target: EventId) -> str | None:
        """The session that an edit of `target` by `sender` waits for, of those that came before this entry."""
        for name, session in self.sessions.items():
            for entry, kept in session.kept.items():
                if kept.edits == target and kept.sender == sender and entry < before:
                    return name
        return None


def gives_way(rooms: Mapping[RoomId, KeptRoom], sender: UserId) -> tuple[RoomId, str, int] | None:
    """The oldest entry of who has most places in these rooms, where that is more than the sender would have.

    So nobody who fills them all can have others refused. Costs a look at each entry.
    """
    counts: Counts[UserId] = Counts()
    first: dict[UserId, tuple[int, RoomId, str]] = {}
    for name, room in rooms.items():
        for session, found in room.sessions.items():
            for entry, kept in found.kept.items():
                counts[kept.sender] += 1
                if not kept.stays and entry < first.get(kept.sender, (entry + 1,))[0]:
                    first[kept.sender] = (entry, name, session)
    greediest = max(first, key=lambda user: counts[user], default=None)
    if greediest is None or counts[greediest] <= counts[sender] + 1:
        return None
    entry, name, session = first[greediest]
    return name, session, entry


def about(event: Mapping[str, Any]) -> EventId | None:
    """The event that one changes, if it does."""
    content = event["content"]
    if event["type"] == REDACTION:
        target = content.get("redacts", event.get("redacts"))
    else:
        relates = content.get("m.relates_to")
        if not isinstance(relates, Mapping) or relates.get("rel_type") not in ("m.replace", "m.annotation"):
            return None
        target = relates.get("event_id")
    return EventId(target) if isinstance(target, str) else None
