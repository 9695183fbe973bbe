"""Lanes: entries of one lane are handled in order, lanes at the same time; one task per lane that has work.

A lane holds a bounded window of entries in memory; the rest stays in the journal and is loaded when its turn comes.
What is handled, and how, is the handler's; when to try again, and when to give up, is decided here.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.network import Accepted
from bridge_core.engine.payload import VERSION
from bridge_core.engine.ports import Delivery, Direction, Entry, Journal, NewEntry
from bridge_core.engine.precedence import Precedence, is_past, later_of
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Bounds of the lanes. Times are seconds."""

    window: int = 256
    """Entries of one lane that are always held in memory, and that are loaded at once."""
    held: int = 16_384
    """Entries of all lanes held in memory: while there are fewer, a lane may hold more than its window."""
    batch: int = 64
    """Entries whose deliveries are committed together before the first of them is tried."""
    retry_window: float = 3 * 24 * 3600.0
    """How long an entry is tried before it is dead-lettered."""
    first_delay: float = 0.5
    max_delay: float = 30.0
    longest_asked: float = 600.0
    """The longest that another side's wish to wait is followed: a stranger must not put a lane to sleep for ever."""
    wake_every: float = 1.0
    """Waking all lanes at once happens at most this often, or back-off would mean nothing on a busy server."""


@dataclass(slots=True)
class Planned:
    """An entry with the deliveries that are to be made for it, in order. None at all: it was ignored, and why."""

    entry: Entry
    deliveries: Sequence[Delivery] = ()
    stored: bool = False
    """The deliveries are in the journal already (found there after a restart)."""
    ignored: str = ""
    kept: bool = False
    """It leaves the lane and stays in the journal: whoever keeps it has it handled again by `Lanes.replayed`."""


class LaneHandler(Protocol):
    """What is done with the entries of one direction."""

    async def plan(self, entries: Sequence[Entry]) -> list[Planned]:
        """Plan a prefix of the entries, at least one, without any effect that a crash could double.

        An error of the contract (TransientError, RateLimitedError) concerns the first entry.
        """

    async def perform(self, planned: Planned) -> None:
        """Make the deliveries of one entry and settle each. Errors as for `plan`; those settled are not made again."""

    async def postponed(self, entries: Sequence[Entry]) -> None:
        """These were planned and wait now: what was recorded about attempts not made is to be taken back."""

    async def abandon(self, entry: Entry, reason: str) -> None:
        """Settle what is still open of the entry as dead."""


@dataclass(slots=True)
class Lane:
    """One lane's window: `last` is the highest id ever put into it, `highest` the highest id offered."""

    name: str
    queue: deque[Entry] = field(default_factory=deque)
    on_disk: bool = False
    last: int = 0
    highest: int = 0
    running: bool = False
    failures: int = 0
    again: list[tuple[Entry, BridgeError]] = field(default_factory=list)
    """Entries that were handed over and did not arrive, and why: they go first now."""
    replayed: list[int] = field(default_factory=list)
    """Dead entries that wait again, by an admin's hand: to be taken from the journal."""
    loaded: frozenset[int] = frozenset()
    """Ids that came from the journal lately: one that is offered only now must not be taken twice."""


class Lanes:
    """All lanes of one direction."""

    def __init__(
        self,
        direction: Direction,
        journal: Journal,
        handler: LaneHandler,
        clock: Clock,
        tasks: TaskOwner,
        settings: LaneSettings,
    ) -> None:
        self._direction = direction
        self._journal = journal
        self._handler = handler
        self._clock = clock
        self._tasks = tasks
        self._settings = settings
        self._lanes: dict[str, Lane] = {}
        self._started = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._waiting = 0
        self._waking: asyncio.TimerHandle | None = None
        self._woken = 0.0
        self._held = 0
        self._precedence = Precedence()

    async def start(self) -> None:
        """Take up what the journal holds. What is offered before waits for this."""
        for found in await self._journal.open_lanes(self._direction):
            # What was offered already is in the journal too, after what was there before.
            self._open(found.lane).on_disk = True
            self._precedence.found(found.lane)
        self._started = True
        for lane in self._lanes.values():
            self._run(lane)

    def offer(self, entries: Sequence[NewEntry], accepted: Sequence[Accepted], events: Sequence[object]) -> None:
        """Hand over entries that were just committed. Does not block."""
        for new, result, event in zip(entries, accepted, events, strict=True):
            if result.duplicate:
                continue
            lane = self._lanes.get(new.lane)
            if lane is None:
                lane = self._open(new.lane)
            entry = result.entry
            if entry in lane.loaded:
                continue  # it was committed, and read back, before this came to be called
            lane.highest = max(lane.highest, entry)
            full = len(lane.queue) >= self._settings.window and self._held >= self._settings.held
            if entry > lane.last and (lane.on_disk or full):
                lane.on_disk = True  # too many to hold: it is loaded when its turn comes
            else:
                # An id below `last` was accepted at the same time as that one by another caller: either order will do.
                lane.last = max(lane.last, entry)
                self._held += 1
                lane.queue.append(
                    Entry(
                        entry, new.direction, new.network, new.lane, new.payload, VERSION, new.received_at, event=event
                    )
                )
            if not lane.running:
                self._run(lane)

    def again(self, entry: Entry, error: BridgeError) -> None:
        """Handle an entry once more, before all later ones of its lane: what it was handed to did not take it."""
        lane = self._lanes.get(entry.lane)
        if lane is None:
            lane = self._open(entry.lane)
            lane.last = lane.highest = entry.id
        lane.again.append((entry, error))
        if not lane.running:
            self._run(lane)

    def replayed(self, name: str, entries: Sequence[int]) -> None:
        """Handle dead entries that wait again now, in the order of their ids with what waits in their lane."""
        if not self._started:
            return  # the start finds them
        lane = self._lanes.get(name) or self._open(name)
        lane.replayed += entries
        if not lane.running:
            self._run(lane)

    def wake(self) -> None:
        """What lanes wait for has come back: try again now, or soon. Delays that the other side asked for stay."""
        if not self._waiting or self._waking is not None:
            return
        loop = asyncio.get_running_loop()
        self._waking = loop.call_later(max(0.0, self._woken + self._settings.wake_every - loop.time()), self._wake_all)

    def _wake_all(self) -> None:
        self._waking = None
        self._woken = asyncio.get_running_loop().time()
        self._wake.set()
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Begin nothing more; what is being handled goes on until the task owner ends it."""
        self._stopping = True
        self._stopped.set()
        if self._waking is not None:
            self._waking.cancel()
        self._wake_all()

    @property
    def stopping(self) -> bool:
        """Whether nothing more is begun."""
        return self._stopping

    def busy(self) -> int:
        """How many lanes have work."""
        return len(self._lanes)

    def keep(self, name: str, after: int | None = None) -> None:
        """Begin nothing more of a lane behind an entry (None: what is stored by now) until `release`.

        What was said in its chat before that is being fetched, and goes first.
        """
        self._precedence.keep(name, self._journal.last_entry() if after is None else after)

    def release(self, name: str) -> None:
        """Go on with a lane, as soon as its past (see `precedence`) has no more work."""
        self._precedence.release(name)
        self._resume(name)

    def _resume(self, name: str) -> None:
        lane = self._lanes.get(name)
        if lane is not None and not lane.running:
            self._run(lane)

    def _may_go(self, lane: Lane) -> bool:
        """Whether what is next in a lane may be handled now."""
        limit = self._precedence.limit(lane.name)
        if limit is not None and not lane.again:
            return lane.queue[0].id <= limit if lane.queue else lane.on_disk and lane.last < limit
        if is_past(lane.name):
            later = self._lanes.get(later_of(lane.name))
            return later is None or not self._may_go(later)
        return True

    def _open(self, name: str) -> Lane:
        if name not in self._lanes:
            self._precedence.opened(name)
        lane = self._lanes[name] = Lane(name)
        return lane

    def _run(self, lane: Lane) -> None:
        if not self._started or self._stopping or not self._may_go(lane):
            return
        lane.running = True
        self._tasks.start(self._work(lane), f"lane:{self._direction.name.lower()}")

    async def _work(self, lane: Lane) -> None:
        try:
            while not self._stopping and self._may_go(lane):
                if lane.again:
                    await self._take_again(lane)
                elif lane.replayed:
                    await self._take_replayed(lane)
                elif lane.queue:
                    await self._guarded_step(lane)
                elif lane.on_disk:
                    await self._load(lane)
                else:
                    break
        finally:
            lane.running = False
            neighbours = self._precedence.neighbours(lane.name)
            if not (lane.queue or lane.on_disk or lane.again or lane.replayed):
                self._lanes.pop(lane.name, None)
                self._precedence.ended(lane.name)
            for other in neighbours:
                self._resume(other)

    async def _take_again(self, lane: Lane) -> None:
        again, lane.again = lane.again, []
        entries = {entry.id: entry for entry in (*(entry for entry, _ in again), *lane.queue)}
        self._held += len(entries) - len(lane.queue)
        lane.queue = deque(entries[number] for number in sorted(entries))
        entry, error = min(again, key=lambda item: item[0].id)
        try:
            await self._later(lane, entry, error)
        except Exception:
            log.exception("lane_stumbled", lane=lane.name)
            await self._pause(self._settings.max_delay)

    async def _take_replayed(self, lane: Lane) -> None:
        number = min(lane.replayed)
        held = {entry.id for entry in lane.queue}
        if number not in held and not (lane.on_disk and number > lane.last):
            try:
                found = await self._journal.load(self._direction, lane.name, number - 1, 1)
            except Exception as error:
                log.warning("lane_load_failed", lane=lane.name, error=str(error) or repr(error))
                await self._pause(self._settings.max_delay if not isinstance(error, TransientError) else 0.5)
                return
            for entry in found:
                if entry.id != number:
                    continue
                entry.unsettled = len(entry.deliveries)
                lane.queue = deque(sorted((*lane.queue, entry), key=lambda one: one.id))
                lane.last = max(lane.last, entry.id)
                self._held += 1
        lane.replayed.remove(number)

    async def _load(self, lane: Lane) -> None:
        window = self._settings.window
        try:
            entries = await self._journal.load(self._direction, lane.name, lane.last, window)
        except Exception as error:
            # Whatever it is, the lane must not end here: nobody would start it again.
            log.warning("lane_load_failed", lane=lane.name, error=str(error) or repr(error))
            await self._pause(self._settings.max_delay if not isinstance(error, TransientError) else 0.5)
            return
        for entry in entries:
            entry.unsettled = len(entry.deliveries)
        lane.queue.extend(entries)
        lane.loaded = frozenset(entry.id for entry in entries)
        self._held += len(entries)
        if entries:
            lane.last = max(lane.last, entries[-1].id)
        lane.on_disk = len(entries) >= window or lane.highest > lane.last

    async def _guarded_step(self, lane: Lane) -> None:
        try:
            await self._step(lane)
        except Exception:
            # Not even a failure to note a failure may end the lane: nobody would start it again.
            log.exception("lane_stumbled", lane=lane.name)
            await self._pause(self._settings.max_delay)

    async def _step(self, lane: Lane) -> None:
        batch = [lane.queue[index] for index in range(min(len(lane.queue), self._settings.batch))]
        if (limit := self._precedence.limit(lane.name)) is not None:
            batch = [entry for entry in batch if entry.id <= limit]
        head = batch[0]
        try:
            plan = await self._handler.plan(batch)
            fresh = [(item.entry, item.deliveries) for item in plan if item.deliveries and not item.stored]
            if fresh:
                await self._journal.route_many(fresh)
                for entry, deliveries in fresh:
                    entry.routed = True
                    entry.deliveries = list(deliveries)
                    entry.unsettled = len(entry.deliveries)
            for item in plan:
                head = item.entry
                if self._stopping:
                    await self._handler.postponed(batch)
                    return
                await self._handler.perform(item)
                lane.queue.popleft()
                batch.remove(head)
                self._held -= 1
                lane.failures = 0
        except asyncio.CancelledError:
            # What was recorded as attempted and not begun must not look so at the next start.
            await asyncio.shield(self._handler.postponed(batch))
            raise
        except (RateLimitedError, TransientError) as error:
            await self._later(lane, head, error)
        except BridgeError as error:
            await self._give_up(lane, head, str(error))
        except Exception:
            # A bug must not stop the lane: the entry is kept, visible and replayable.
            log.exception("entry_failed", lane=lane.name, entry=head.id)
            await self._give_up(lane, head, "internal error, see the log")

    async def _later(self, lane: Lane, entry: Entry, error: BridgeError) -> None:
        now = self._clock.now_ms()
        if now - entry.received_at > self._settings.retry_window * 1000:
            await self._give_up(lane, entry, f"gave up after the retry window: {error}")
            return
        lane.failures += 1
        if asked := isinstance(error, RateLimitedError):
            delay = min(error.retry_after, self._settings.longest_asked)
        else:
            failures = min(max(lane.failures, entry.attempts), 12)
            delay = min(self._settings.first_delay * 2 ** max(failures - 1, 0), self._settings.max_delay)
        entry.attempts += 1
        entry.next_attempt_at = now + int(delay * 1000)
        reason = str(error)
        log.info("entry_postponed", lane=lane.name, entry=entry.id, attempts=entry.attempts, delay=delay, error=reason)
        try:
            await self._handler.postponed([lane.queue[n] for n in range(min(len(lane.queue), self._settings.batch))])
            await self._journal.postpone(entry, reason, entry.next_attempt_at)
        except TransientError as failure:
            log.warning("postpone_not_stored", entry=entry.id, error=str(failure))
        await self._pause(delay, wakeable=not asked)

    async def _give_up(self, lane: Lane, entry: Entry, reason: str) -> None:
        while True:
            try:
                await self._handler.abandon(entry, reason)
                break
            except BridgeError as error:
                # The entry is not handled once more for that: it waits until its end can be stored.
                log.warning("give_up_put_off", lane=lane.name, entry=entry.id, error=str(error))
                await self._pause(self._settings.first_delay)
                if self._stopping:
                    return
        log.error("entry_dead", lane=lane.name, entry=entry.id, reason=reason)
        if lane.queue and lane.queue[0] is entry:
            lane.queue.popleft()
            self._held -= 1
        lane.failures = 0

    async def _pause(self, delay: float, *, wakeable: bool = True) -> None:
        if self._stopping:
            return
        wake = self._wake if wakeable else self._stopped
        self._waiting += 1
        try:
            async with asyncio.timeout(delay):
                await wake.wait()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1
