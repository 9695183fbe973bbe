"""Whom an adapter names for the rooms of its chats: invited, put out again, and tried again where that failed."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.portals import INVITE, PortalIndex, own_rooms
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

_CHANGES: Final = "member_changes"
"""Option: who is still to be invited or put out, each with whether they come, when it is due (ms), and the tries."""
_AT_ONCE: Final = 8
_PATIENCE: Final = 10.0
"""Seconds for one change: the server of an invited user may be dead, and a conversation waits for this."""
_RETRY: Final = (60_000, 86_400_000)
"""Milliseconds until a change is tried again: first, doubled each time, and longest."""
_REASON: Final = "no member of this chat any more"


@dataclass(frozen=True, slots=True)
class _Change:
    comes: bool
    due: int = 0
    tries: int = 0


class NamedMembers:
    """Brings the rooms that the bridge made to the members that were named last.

    Who came by another way (invited by people of the room, say) was never named and stays; rooms that were there before
    the bridge are left to their own people. Changes are stored before they are tried, and go when they are done.
    """

    def __init__(self, portals: PortalIndex, matrix: MatrixSide, clock: Clock) -> None:
        self._portals = portals
        self._matrix = matrix
        self._clock = clock
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def name(self, row: PortalRow, members: Sequence[UserId]) -> None:
        """These are to be in the portal's rooms, and who was named before and is not now is to be out of them.

        From memory where that is so. Who cannot be invited, or not be put out because the room's power levels forbid
        it, is warned of once and tried again by later calls. Raises TransientError or RateLimitedError while somebody
        could still read on: the next call tries that again.
        """
        if self._is_so(row, members):
            return
        async with self._turn(row):
            row = self._portals.by_id(row.id) or row
            wanted, before = list(dict.fromkeys(members)), row.options.get(INVITE, [])
            if wanted != before:
                changes = _changes(row)
                if row.rooms or self._portals.is_making(row):
                    changes |= {user: _Change(True) for user in wanted if user not in before}
                    changes |= {user: _Change(False) for user in before if user not in wanted}
                row = await self._portals.set_options(row, {INVITE: wanted, _CHANGES: _packed(changes)})
            await self._carry_out(row)

    async def room_is_made(self, row: PortalRow) -> PortalRow:
        """A room is about to be made, with nobody in it: stored, that all who were named are to come."""
        async with self._turn(row):
            row = self._portals.by_id(row.id) or row
            expected = {user: _Change(True) for user in row.options.get(INVITE, ())}
            return await self._portals.set_option(row, _CHANGES, _packed(expected))

    async def room_is_there(self, row: PortalRow, room: RoomId) -> None:
        """The room was made, and is not the portal's yet. Raises nothing of the homeserver: who fails comes later."""
        async with self._turn(row):
            try:
                await self._carry_out(self._portals.by_id(row.id) or row, (room,))
            except (TransientError, RateLimitedError) as error:
                log.info("members_put_off", network=row.network, chat=row.chat, error=str(error))

    def _is_so(self, row: PortalRow, members: Sequence[UserId]) -> bool:
        if row.options.get(INVITE, []) != list(members):
            return False
        changes = row.options.get(_CHANGES)
        return not changes or not any(one.due <= self._clock.now_ms() for one in _changes(row).values())

    async def _carry_out(self, row: PortalRow, made: tuple[RoomId, ...] = ()) -> None:
        now = self._clock.now_ms()
        changes = _changes(row)
        due = {user: one for user, one in changes.items() if one.due <= now}
        rooms = made or own_rooms(row)
        if not due or not rooms:
            return
        free = asyncio.Semaphore(_AT_ONCE)
        failed: list[BridgeError] = []

        async def one_of(user: UserId, change: _Change) -> tuple[UserId, _Change | None]:
            async with free:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        for room in rooms:
                            await self._change(room, user, change)
                except (BridgeError, TimeoutError) as error:
                    words = error if isinstance(error, BridgeError) else TransientError("it took too long")
                    if not change.comes and not isinstance(words, RejectedError):
                        failed.append(words)
                        return user, change
                    return user, self._later(row, user, change, words)
                return user, None

        for user, left in await asyncio.gather(*(one_of(user, change) for user, change in due.items())):
            if left is None:
                del changes[user]
            else:
                changes[user] = left
        await self._portals.set_option(row, _CHANGES, _packed(changes))
        if failed:
            raise failed[0]

    async def _change(self, room: RoomId, user: UserId, change: _Change) -> None:
        if change.comes:
            await self._matrix.invite(room, user)
            return
        await self._matrix.kick(room, user, _REASON)
        log.info("member_removed", room=room, user=user)

    def _later(self, row: PortalRow, user: UserId, change: _Change, error: BridgeError) -> _Change:
        about = {"network": row.network, "chat": row.chat, "user": user, "error": str(error)}
        if change.tries == 0 and change.comes:
            log.warning("member_not_invited", **about)
        elif change.tries == 0:
            log.warning("member_not_removed", **about)
        wait = min(_RETRY[0] << min(change.tries, 20), _RETRY[1])
        if isinstance(error, RateLimitedError):
            wait = int(error.retry_after * 1000)
        return _Change(change.comes, self._clock.now_ms() + wait, change.tries + 1)

    def _turn(self, row: PortalRow) -> asyncio.Lock:
        lock = self._turns.get(row.id)
        if lock is None:
            lock = self._turns[row.id] = asyncio.Lock()
        return lock


def _changes(row: PortalRow) -> dict[UserId, _Change]:
    kept: Mapping[str, Sequence[Any]] = row.options.get(_CHANGES) or {}
    return {UserId(user): _Change(bool(one[0]), int(one[1]), int(one[2])) for user, one in kept.items()}


def _packed(changes: Mapping[UserId, _Change]) -> dict[str, list[Any]] | None:
    return {user: [one.comes, one.due, one.tries] for user, one in changes.items()} or None
