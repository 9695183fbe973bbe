"""Brings about memberships of ghosts that no message waits for: beside the lanes, at a bounded rate."""

import asyncio
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.events import RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import MemberWish, Wish
from bridge_core.engine.wishes import Wishes
from bridge_core.observe.metrics import Counter

log = structlog.get_logger(__name__)

_BATCH: Final = 100
_STOPPED: Final = 300_000
_NOT_KNOWN: Final = 5_000
"""Milliseconds until a room where nothing may cross is looked at again."""
_LONGEST: Final = 60.0
"""Seconds: longest pause while the homeserver or the database is away, and when a wish that failed is tried again."""


class MemberReconciler:
    """One task that works off the wishes, `rate` of them per second at most; after a crash it goes on with them.

    `worked` counts the ends of wishes by `done` and `refused`.
    """

    def __init__(
        self,
        wishes: Wishes,
        portals: PortalIndex,
        ghosts: GhostPool,
        matrix: MatrixSide,
        gate: Gate,
        clock: Clock,
        faults: FaultPoints,
        worked: Counter,
        rate: float,
    ) -> None:
        self._wishes = wishes
        self._portals = portals
        self._ghosts = ghosts
        self._matrix = matrix
        self._gate = gate
        self._clock = clock
        self._faults = faults
        self._worked = worked
        self._interval = 1 / rate
        self._next = 0.0

    async def run(self) -> None:
        """Work until cancelled."""
        pause = 0.5
        loaded = False
        while True:
            try:
                if not loaded:
                    await self._wishes.load()
                    await self._wishes.sweep()
                    loaded = True
                await self._round()
                pause = 0.5
            except (RateLimitedError, TransientError) as error:
                wait = error.retry_after if isinstance(error, RateLimitedError) else pause
                log.info("members_wait", error=str(error), seconds=wait)
                await self._clock.sleep(wait)
                pause = min(pause * 2, _LONGEST)
            except Exception:
                log.exception("members_stumbled")
                await self._clock.sleep(_LONGEST)

    async def _round(self) -> None:
        """What is due now; then wait for more."""
        self._wishes.changed.clear()
        batch = await self._wishes.due(self._clock.now_ms(), _BATCH)
        for wish in batch:
            await self._one(wish)
        if len(batch) == _BATCH:
            return
        if batch:
            await self._wishes.sweep()
        due = await self._wishes.next_due()
        try:
            async with asyncio.timeout(None if due is None else max(0.0, (due - self._clock.now_ms()) / 1000)):
                await self._wishes.changed.wait()
        except TimeoutError:
            return

    async def _one(self, wish: MemberWish) -> None:
        await self._in_time()
        if not self._wishes.holds(wish):
            return
        if wish.wish in (Wish.JOIN, Wish.RETURN) and (wait := self._shut_for(wish.room)):
            # Stopped for now: nobody comes in meanwhile, and nobody else waits for that.
            self._wishes.later(wish, self._clock.now_ms() + wait)
            return
        self._faults.hit("members.before")
        try:
            await self._bring_about(wish)
        except (RateLimitedError, TransientError):
            # The others go first when it is its turn again: one room that cannot be had keeps nobody waiting.
            self._wishes.later(wish, self._clock.now_ms() + int(_LONGEST * 1000))
            raise
        except BridgeError as error:
            log.info("membership_refused", room=wish.room, ghost=wish.user, wish=wish.wish.name, error=str(error))
            self._worked.inc("refused")
        except Exception:
            log.exception("membership_failed", room=wish.room, ghost=wish.user, wish=wish.wish.name)
            self._worked.inc("refused")
        else:
            self._worked.inc("done")
        self._faults.hit("members.after")
        self._wishes.done(wish)

    def _shut_for(self, room: RoomId) -> int:
        """For how many milliseconds nobody comes in now."""
        try:
            return _STOPPED if self._gate.room(room) else 0
        except TransientError:
            return _NOT_KNOWN

    async def _in_time(self) -> None:
        now = self._clock.monotonic()
        if self._next > now:
            await self._clock.sleep(self._next - now)
        self._next = max(self._next, now) + self._interval

    async def _bring_about(self, wish: MemberWish) -> None:
        room, user = wish.room, wish.user
        portal = next((one for one in self._portals.in_room(room) if one.network == wish.network), None)
        if portal is None:
            raise RejectedError("this room is not bridged any more")
        if wish.wish is Wish.LEAVE:
            if self._wishes.begins(wish):
                await self._matrix.leave(room, user)
                await self._ghosts.left(room, user)
        elif wish.wish is Wish.BAN:
            await self._matrix.ban(room, user)
            await self._ghosts.left(room, user)
        elif wish.wish is Wish.UNBAN:
            await self._matrix.unban(room, user)
        else:
            sender = RemoteSender(wish.remote, wish.name)
            self._gate.incoming(portal, sender)
            if wish.wish is Wish.RETURN:
                await self._lift_ban(wish)
            await self._ghosts.ensure(wish.network, sender)
            if self._wishes.begins(wish):
                await self._ghosts.join(room, user)
                if (leave := self._wishes.leaving(room, user)) is not None:
                    self._ghosts.leaves(leave)  # sent off while it came: now it is there, and can leave

    async def _lift_ban(self, wish: MemberWish) -> None:
        try:
            await self._matrix.unban(wish.room, wish.user)
        except MatrixRejectedError as error:
            # Perhaps there is no ban any more: whether the ghost may be there, its join tells.
            log.info("ban_not_lifted", room=wish.room, ghost=wish.user, error=str(error))
