"""How the network sees our users."""

from typing import Final

from bridge_core.api.ids import UserId
from bridges.irc.codec.masks import Effect, Mask, Who

_FACES_AT_MOST: Final = 100_000


class Faces:
    """Nick, user, host of each of our users, the last that was known of them. Bounded: the oldest is forgotten."""

    def __init__(self) -> None:
        self._faces: dict[UserId, Who] = {}

    def show(self, user: UserId, who: Who) -> None:
        """The network sees a user so."""
        self._faces.pop(user, None)
        self._faces[user] = who
        if len(self._faces) > _FACES_AT_MOST:
            del self._faces[next(iter(self._faces))]

    def of(self, user: UserId) -> Who | None:
        """How a user is seen."""
        return self._faces.get(user)

    def named(self, mask: Mask) -> list[UserId]:
        """The users whom a mask names, for sure."""
        if mask.effect is Effect.OTHER or mask.everybody:
            return []
        return [user for user, who in self._faces.items() if mask.names(who)]
