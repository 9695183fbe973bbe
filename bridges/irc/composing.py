"""Who types: told to a channel no more often than the specification allows (IRCv3 typing)."""

import asyncio
from collections.abc import Callable
from typing import Final

from bridge_core.api.ids import ChatId

_PAUSE: Final = 3.0
"""Seconds between two tags to one target, which the specification asks for."""
_REPEAT: Final = 5.0
"""`active` holds for six seconds."""
_LONGEST: Final = 60.0
"""For longer nobody types whose homeserver has not said so again."""
_CHATS_AT_MOST: Final = 16


class _Typing:
    """One user typing in one chat."""

    __slots__ = ("sent_at", "since", "timer", "wanted")

    def __init__(self) -> None:
        self.sent_at: float | None = None
        self.since = 0.0
        self.wanted = False
        self.timer: asyncio.TimerHandle | None = None


class Composing:
    """The typing of one user. `tell` sends a state to a chat; it is called at once or from the loop."""

    __slots__ = ("_chats", "_tell")

    def __init__(self, tell: Callable[[ChatId, str], None]) -> None:
        self._tell = tell
        self._chats: dict[ChatId, _Typing] = {}

    def started(self, chat: ChatId) -> None:
        """The user types: said now, or as soon as three seconds have passed, and again until they stop."""
        typing = self._chats.get(chat)
        if typing is None:
            if len(self._chats) >= _CHATS_AT_MOST:
                return
            typing = self._chats[chat] = _Typing()
        typing.wanted = True
        typing.since = _now()
        if typing.timer is None:
            self._beat(chat, typing)

    def stopped(self, chat: ChatId) -> None:
        """The user does not type any more, or has sent it."""
        typing = self._chats.get(chat)
        if typing is None or not typing.wanted:
            return
        typing.wanted = False
        if typing.timer is not None:
            typing.timer.cancel()
        if typing.sent_at is not None:
            self._tell(chat, "done")
        # Remembered for the rest of the pause: who starts anew at once is told of later.
        typing.timer = asyncio.get_running_loop().call_later(_PAUSE, self._beat, chat, typing)
        typing.sent_at = _now()

    def closed(self) -> None:
        """The connection is gone."""
        for typing in self._chats.values():
            if typing.timer is not None:
                typing.timer.cancel()
        self._chats.clear()

    def _beat(self, chat: ChatId, typing: _Typing) -> None:
        typing.timer = None
        now = _now()
        if not typing.wanted or now - typing.since > _LONGEST:
            if self._chats.get(chat) is typing:
                del self._chats[chat]
            return
        loop = asyncio.get_running_loop()
        wait = 0.0 if typing.sent_at is None else typing.sent_at + _PAUSE - now
        if wait > 0:
            typing.timer = loop.call_later(wait, self._beat, chat, typing)
            return
        typing.sent_at = now
        self._tell(chat, "active")
        typing.timer = loop.call_later(_REPEAT, self._beat, chat, typing)


def _now() -> float:
    return asyncio.get_running_loop().time()
