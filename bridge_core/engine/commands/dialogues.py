"""Questions that the bridge asks in a management room: the user's next message there is the answer, no command."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.engine.commands.command import Answer

_MOST: Final = 1_000

Reply = Callable[[Mapping[str, Any], str], Awaitable[Answer]]
"""Takes the event that answers and its text; says what comes next. May ask again by calling `ask`."""

Cancel = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Asked:
    reply: Reply
    cancel: Cancel
    until: int


class Dialogues:
    """Who was asked what. At most one question per user, in memory: a restart cancels it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: OrderedDict[UserId, _Asked] = OrderedDict()

    def ask(self, user: UserId, reply: Reply, cancel: Cancel, seconds: float = 600.0) -> None:
        """Let `reply` have the user's next message in their management room, within `seconds`."""
        self._asked.pop(user, None)
        self._asked[user] = _Asked(reply, cancel, self._clock.now_ms() + int(seconds * 1000))
        if len(self._asked) > _MOST:
            self._asked.popitem(last=False)

    def asked(self, user: UserId) -> bool:
        """Whether an answer of the user is waited for."""
        found = self._asked.get(user)
        return found is not None and found.until > self._clock.now_ms()

    def forget(self, user: UserId) -> None:
        """Ask no more."""
        self._asked.pop(user, None)

    async def answer(self, user: UserId, event: Mapping[str, Any], text: str) -> Answer | None:
        """What the answer leads to; None when nothing was asked."""
        if not self.asked(user):
            self._asked.pop(user, None)
            return None
        return await self._asked.pop(user).reply(event, text)

    async def cancel(self, user: UserId) -> bool:
        """Give up what was asked; whether there was anything."""
        found = self._asked.pop(user, None)
        if found is not None:
            await found.cancel()
        return found is not None
