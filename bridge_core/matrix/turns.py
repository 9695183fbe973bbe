"""Joins of a user and changes of their profile take turns: Synapse gives a join the profile that it began with.

A profile that changes while a join is under way is told to the rooms the user is in already, and not to that one: the
ghost would stand there under an old name or without its picture for ever (measured on Synapse).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

__all__ = ["Turns"]


class _Turn:
    """One user's: joins that are under way, and whether the profile is being changed."""

    __slots__ = ("__weakref__", "changed", "changing", "joining")

    def __init__(self) -> None:
        self.joining = 0
        self.changing = False
        self.changed = asyncio.Condition()


class Turns:
    """Joins of one user run together; a change of their profile runs alone. Users do not wait for each other."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    @asynccontextmanager
    async def joining(self, user: str) -> AsyncIterator[None]:
        """While a join is under way."""
        turn = self._turn(user)
        async with turn.changed:
            await turn.changed.wait_for(lambda: not turn.changing)
            turn.joining += 1
        try:
            yield
        finally:
            async with turn.changed:
                turn.joining -= 1
                turn.changed.notify_all()

    @asynccontextmanager
    async def changing(self, user: str) -> AsyncIterator[None]:
        """While the profile is being changed."""
        turn = self._turn(user)
        async with turn.changed:
            await turn.changed.wait_for(lambda: not turn.changing and turn.joining == 0)
            turn.changing = True
        try:
            yield
        finally:
            async with turn.changed:
                turn.changing = False
                turn.changed.notify_all()

    def _turn(self, user: str) -> _Turn:
        turn = self._turns.get(user)
        if turn is None:
            turn = self._turns[user] = _Turn()
        return turn
