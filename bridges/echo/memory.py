"""What Echo remembers, where it is configured to: the last things said in each chat (`Backfills` of the contract).

Leave this out of a copy whose network keeps no history.
"""

import time
from collections import deque
from dataclasses import replace

from bridge_core.api.events import RemoteEdit, RemoteEvent, RemoteMessage, RemoteReaction, RemoteRedaction
from bridge_core.api.ids import ChatId, MessageId
from bridge_core.api.network import History, Sent
from bridges.echo.further import FurtherEcho


class Archive:
    """The last `size` things said in each chat. `public` chats are those whose past everybody may read."""

    def __init__(self, size: int) -> None:
        self.public: set[ChatId] = set()
        self._size = size
        self._chats: dict[ChatId, deque[RemoteEvent]] = {}

    def keep(self, event: RemoteEvent) -> None:
        """Remember it with its time, if it is something said."""
        if isinstance(event, RemoteMessage | RemoteEdit | RemoteRedaction | RemoteReaction) and event.id is not None:
            at = event.timestamp or time.time_ns() // 1_000_000
            chat = self._chats.setdefault(event.chat, deque(maxlen=self._size))
            chat.append(replace(event, timestamp=at))

    def tell(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        """As `Backfills.history`. A cursor is the id of what was said; behind a forgotten one something is missing."""
        kept = list(self._chats.get(chat, ()))
        cursors = [cursor_of(event) for event in kept]
        missing = None
        start = max(0, len(kept) - limit)
        if after in cursors:
            start = cursors.index(after) + 1
        elif after is not None:
            start, missing = 0, f"Echo remembers only the last {self._size} things since it was started"
        told = kept[start : start + limit]
        behind = start + len(told)
        cursor = cursors[behind - 1] if behind else None
        return History(tuple(told), cursor, behind < len(kept), missing, chat in self.public)


class RemembersEcho(FurtherEcho):
    """The part of a client that remembers what it says."""

    _archive: Archive

    def remembers(self) -> bool:
        """Always."""
        return True

    async def history(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        """What was said after the cursor."""
        return self._archive.tell(chat, after, limit)

    def reached(self, event: RemoteEvent) -> bytes | None:
        """The id of what was said."""
        return cursor_of(event)

    async def _say(self, said: MessageId, event: RemoteEvent) -> Sent:
        self._archive.keep(event)
        return await super()._say(said, event)


def cursor_of(event: RemoteEvent) -> bytes | None:
    """The cursor behind something said; None for what is not remembered."""
    if isinstance(event, RemoteMessage | RemoteEdit | RemoteRedaction | RemoteReaction) and event.id is not None:
        return event.id.encode()
    return None
