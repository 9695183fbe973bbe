"""Messages that disappear: the timer of each chat, and the one task that takes them out of the rooms when due."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.events import RemoteInfo, RemoteMessage
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.api.info import ChatInfo
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, SendRequest
from bridge_core.engine.names import Names
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry, Write
from bridge_core.engine.requests import ID_KEY, Prepared, act
from bridge_core.engine.roomstates import KIND
from bridge_core.engine.store_ports import Expiring, ExpiringRow, PortalRow
from bridge_core.engine.translation import MESSAGE_TYPES
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

TIMER: Final = "expiry"
"""Option of a portal: after how many milliseconds messages disappear from its rooms."""
TIMER_EVENT: Final = "com.beeper.disappearing_timer"
"""State of a room, and part of a message: after which time it disappears, as clients of other bridges read it."""
LONGEST: Final = 10 * 366 * 86_400_000
"""Milliseconds of the longest timer there is."""
_BATCH: Final = 50
_RETRY: Final = 15.0
_IDLE: Final = 3_600.0
_PUT_OFF: Final = 60_000
"""Milliseconds until a message that could not be taken back is tried again."""


class Expiry:
    """Owns the timers and the task. A redaction that is done twice does no harm, so nothing is lost or doubled."""

    def __init__(
        self,
        names: Names,
        portals: PortalIndex,
        store: Expiring,
        matrix: MatrixSide,
        clock: Clock,
        tasks: TaskOwner,
        faults: FaultPoints,
    ) -> None:
        self._names = names
        self._portals = portals
        self._store = store
        self._matrix = matrix
        self._clock = clock
        self._tasks = tasks
        self._faults = faults
        self._nearer = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    # Timers

    def beginning(self, portal: PortalRow, info: ChatInfo | None) -> Sequence[tuple[str, str, Mapping[str, Any]]]:
        """What a new room begins with. Does not block, raises nothing."""
        timer = info.expiry if info is not None else None
        if not timer or not 0 < timer <= LONGEST:
            return ()
        self._tasks.start(self._portals.set_option(portal, TIMER, timer), "timer")
        return ((TIMER_EVENT, "", timer_content(timer)),)

    async def changed(self, portal: PortalRow, info: RemoteInfo) -> list[Prepared]:
        """The network changed a chat's timer: so do its rooms. Messages from now on disappear after it."""
        if info.expiry is None or not 0 <= info.expiry <= LONGEST:
            return []
        portal = await self._portals.set_option(portal, TIMER, info.expiry or None)
        wish = {"key": "", "content": timer_content(info.expiry)}
        return [act(KIND, room, self._matrix.bot, wish, subject=TIMER_EVENT) for room in portal.rooms]

    async def set_in(self, event: Mapping[str, Any]) -> None:
        """Somebody with the power to set a room's state changed its timer."""
        timer = timer_of(event["content"])
        for portal in self._portals.in_room(RoomId(event["room_id"])):
            await self._portals.set_option(portal, TIMER, timer or None)

    # Messages

    def of_remote(self, portal: PortalRow, event: RemoteMessage, entry: Entry) -> tuple[int, int]:
        """After how long a message of the network disappears (0: never), and when."""
        timer = event.expiry if event.expiry is not None else portal.options.get(TIMER, 0)
        if not 0 < timer <= LONGEST:
            return 0, 0
        said = min(event.timestamp or entry.received_at, entry.received_at)
        return timer, said + timer

    def of_edit(self, portal: PortalRow, entry: Entry) -> int:
        """When an edit of the network disappears, 0 for never: it holds what its message said."""
        return entry.received_at + int(timer) if (timer := portal.options.get(TIMER)) else 0

    def over(self, due: int) -> bool:
        """Whether a message would have disappeared already."""
        return 0 < due <= self._clock.now_ms()

    def of_matrix(self, portal: PortalRow, event: Mapping[str, Any]) -> tuple[Write, ...]:
        """What is to be remembered of an event of Matrix that has ended: it disappears too, whether it crossed or not.

        Does not block.
        """
        timer = portal.options.get(TIMER)
        if not timer or event["type"] not in MESSAGE_TYPES:
            return ()
        due = self._clock.now_ms() + int(timer)
        row = ExpiringRow(RoomId(event["room_id"]), EventId(event["event_id"]), self._matrix.bot, due)
        return (self.remember(row),)

    def remember(self, row: ExpiringRow) -> Write:
        """The row to be committed with the end of a message. Does not block."""
        self._nearer.set()
        return self._store.write(row)

    # The task

    def start(self) -> None:
        """Begin with what is due, also from before."""
        if self._running is None:
            self._running = self._tasks.spawn(self._run(), "expiry")

    def stop(self) -> None:
        """End it: what is left is done at the next start."""
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self._due()
                delay = await self._until_next()
            except RateLimitedError as error:
                delay = min(error.retry_after, 10 * _RETRY)
            except BridgeError as error:
                log.info("expiry_postponed", error=str(error))
                delay = _RETRY
            except Exception:
                log.exception("expiry_failed")
                delay = _RETRY
            else:
                await self._wait(delay)
                continue
            await self._clock.sleep(delay)

    async def _due(self) -> None:
        while rows := await self._store.due(self._clock.now_ms(), _BATCH):
            for row in rows:
                try:
                    await self._remove(row)
                except (TransientError, RateLimitedError):
                    # The others go first when it is its turn again: one room that cannot be had keeps nothing there.
                    await self._store.postpone(row.room, row.event, self._clock.now_ms() + _PUT_OFF)
                    raise

    async def _until_next(self) -> float:
        self._nearer.clear()  # what comes from here on ends the wait
        following = await self._store.next_due()
        if following is None:
            return _IDLE
        return min(max((following - self._clock.now_ms()) / 1000, 0.01), _IDLE)

    async def _wait(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._nearer.wait()
        except TimeoutError:
            return

    async def _remove(self, row: ExpiringRow) -> None:
        self._faults.hit("expiry.before")
        try:
            try:
                await self._redact(row, row.sender)
            except MatrixRejectedError as error:
                # It left, or was thrown out: the bot has the power in rooms of its own.
                if row.sender == self._matrix.bot or error.errcode != "M_FORBIDDEN":
                    raise
                await self._redact(row, self._matrix.bot)
        except RejectedError as error:
            log.warning("message_not_expired", room=row.room, error=str(error))
        self._faults.hit("expiry.after")
        await self._store.remove(row.room, row.event)

    async def _redact(self, row: ExpiringRow, sender: UserId) -> None:
        device = await self._matrix.ensure_registered(sender)
        txn = self._names.send_id("expired", row.room, row.event, sender)
        body = orjson.dumps({"reason": "disappeared", ID_KEY: txn})
        request = SendRequest(row.room, "m.room.redaction", txn, sender, device, body, redacts=row.event)
        await self._matrix.send(request, 0)


def mark(content: dict[str, Any], timer: int) -> None:
    """Tell clients that a message will disappear."""
    content[TIMER_EVENT] = timer_content(timer)


def timer_content(timer: int) -> dict[str, Any]:
    """The state event's content, also for no timer (0)."""
    return {"type": "after_send", "timer": timer} if timer else {}


def timer_of(content: Mapping[str, Any]) -> int:
    """The milliseconds in it; 0 for everything that is no timer."""
    timer = content.get("timer")
    known = isinstance(timer, int) and not isinstance(timer, bool) and 0 < timer <= LONGEST
    return int(str(timer)) if known else 0
