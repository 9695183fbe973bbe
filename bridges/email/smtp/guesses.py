"""How often passwords were guessed wrong, by peer and by account: guessing gets slow, nobody is locked out for good."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from bridge_core.api.host import Clock
from bridges.email.smtp.masks import masks

_FREE: Final = 5
"""Wrong guesses of one peer that cost nothing."""
_FREE_ACCOUNT: Final = 20
"""Of one account, from wherever: more, since others could otherwise keep its owner out."""
_FIRST: Final = 10.0
_LONGEST: Final = 900.0
_REMEMBERED: Final = 20_000
_FORGET: Final = 3600.0


@dataclass(slots=True)
class _Tries:
    wrong: int
    last: float


class Guesses:
    """In memory, bounded: the longest unseen is forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def wait(self, peer: str, user: str) -> float:
        """Seconds until this peer may try this account again; 0: now.

        Who has given the right password from there before waits for the peer's errors only, not for those of others.
        """
        longest = self._left(_of_peer(peer), _FREE)
        if _pair(peer, user) not in self._known:
            longest = max(longest, self._left(_of_account(user), _FREE_ACCOUNT))
        return longest

    def wrong(self, peer: str, user: str) -> None:
        """A wrong password was given."""
        for key in (_of_peer(peer), _of_account(user)):
            tries = self._tries.pop(key, None) or _Tries(0, 0.0)
            if self._clock.monotonic() - tries.last > _FORGET:
                tries.wrong = 0
            tries.wrong += 1
            tries.last = self._clock.monotonic()
            self._tries[key] = tries
            if len(self._tries) > _REMEMBERED:
                self._tries.popitem(last=False)

    def unknown(self, peer: str, user: str) -> None:
        """It could not be told whether the password was right: the guess that was counted is taken back."""
        for key in (_of_peer(peer), _of_account(user)):
            tries = self._tries.get(key)
            if tries is not None and tries.wrong > 0:
                tries.wrong -= 1

    def right(self, peer: str, user: str) -> None:
        """The right password was given: it was no guess, and what this peer did before is forgiven."""
        self.unknown(peer, user)
        self._tries.pop(_of_peer(peer), None)
        self._known.pop(_pair(peer, user), None)
        self._known[_pair(peer, user)] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _left(self, key: str, free: int) -> float:
        tries = self._tries.get(key)
        if tries is None or tries.wrong < free:
            return 0.0
        pause = min(_FIRST * 2.0 ** min(tries.wrong - free, 10), _LONGEST)
        return max(0.0, tries.last + pause - self._clock.monotonic())


def _of_peer(peer: str) -> str:
    return f"peer {masks(peer)[0] if peer else ''}"


def _of_account(user: str) -> str:
    return f"account {user.casefold()[:254]}"


def _pair(peer: str, user: str) -> str:
    return f"{_of_peer(peer)} {_of_account(user)}"
