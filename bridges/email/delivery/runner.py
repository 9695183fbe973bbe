"""Works the queue off: what is due is tried, each try recorded before it is made."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.events import RemoteEvent
from bridge_core.api.host import Clock, Tasks
from bridge_core.api.queues import QueueItem
from bridges.email.codec.addresses import Address
from bridges.email.codec.tokens import Tokens
from bridges.email.config.delivery import Delivery
from bridges.email.delivery.fates import Fates, delayed, failed, recovered
from bridges.email.delivery.rows import Row, State, row_of
from bridges.email.delivery.schedule import next_delay, notices_due
from bridges.email.delivery.shelf import Shelf
from bridges.email.delivery.suppression import Suppressions
from bridges.email.ports import Outcome, OutgoingMail, Reply

log = structlog.get_logger(__name__)
_PAGE: Final = 100
_LANE: Final = 100
"""Rows of one destination that are under way or next."""
_TOTAL: Final = 1000
_DOUBTS: Final = 3
"""Tries of unknown end after which a mail is given up: who has it may have it so many times."""
_PATIENCE: Final = 30.0
"""Seconds between looks at the queue when nothing wakes the runner."""
_LOOKAHEAD: Final = 20
"""Pages that are looked through for mails of other destinations, where one has more than it takes."""


class Carrier(Protocol):
    """What the transport does for the runner."""

    def destination(self, mail: OutgoingMail, recipient: Address, domain: str) -> str:
        """What mails on the same way share."""

    async def deliver(
        self, mail: OutgoingMail, recipients: Sequence[Address], destination: str = ""
    ) -> Mapping[Address, Outcome]:
        """As `Transport.deliver`."""


@dataclass(slots=True)
class Counts:
    """What the runner has done since it was made."""

    tries: int = 0
    sent: int = 0
    failed: int = 0
    deferred: int = 0
    unknown: int = 0
    """Tries of which nobody knows whether they arrived; the mail was or will be sent again."""


@dataclass(slots=True)
class _Lane:
    """What goes to one destination."""

    waiting: deque[Row] = field(default_factory=deque)
    workers: set[asyncio.Task[None]] = field(default_factory=set)


class Runner:
    """The one who takes rows out of the queue. `learnt` is told the id that a relay gave a mail instead of ours."""

    def __init__(
        self,
        shelf: Shelf,
        carrier: Carrier,
        fates: Fates,
        suppressions: Suppressions,
        settings: Delivery,
        tokens: Tokens,
        tasks: Tasks,
        clock: Clock,
        *,
        learnt: Callable[[Row, str], Awaitable[None]] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._shelf = shelf
        self._carrier = carrier
        self._fates = fates
        self._suppressions = suppressions
        self._settings = settings
        self._tokens = tokens
        self._tasks = tasks
        self._clock = clock
        self._learnt = learnt
        self._chance = chance
        self._lanes: dict[str, _Lane] = {}
        self._under_way: set[str] = set()
        self._stopping = False
        self._main: asyncio.Task[None] | None = None
        self.counts = Counts()

    def start(self) -> None:
        """Begin, or go on after a stop."""
        self._stopping = False
        self._main = self._tasks.spawn(self._run(), "email outgoing queue")

    async def stop(self, seconds: float) -> None:
        """Begin nothing new, let what is under way end for so long, and put the rest back."""
        self._stopping = True
        self._shelf.wake.set()
        back = self._emptied()
        if self._main is not None:
            # It ends by itself: cut off in a commit, what it took would look like tries of unknown end.
            await asyncio.wait([self._main], timeout=max(seconds, 1.0))
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)
        back += self._emptied()
        workers = [task for lane in self._lanes.values() for task in lane.workers]
        if workers:
            _, late = await asyncio.wait(workers, timeout=max(seconds, 0.0))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if back:
            now = self._clock.now_ms()
            try:
                await self._shelf.put([(_as_before(row), now) for row in back])
            except BridgeError as error:
                log.warning("outgoing_not_put_back", rows=len(back), error=str(error))

    def _emptied(self) -> list[Row]:
        """What was taken and not begun."""
        rows = [row for lane in self._lanes.values() for row in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._under_way.difference_update(row.id for row in rows)
        return rows

    async def _run(self) -> None:
        while not self._stopping:
            self._shelf.wake.clear()
            try:
                await self.look()
                wait = await self._until_next()
            except BridgeError as error:
                log.warning("outgoing_queue_unavailable", error=str(error))
                wait = 5.0
            try:
                async with asyncio.timeout(wait):
                    await self._shelf.wake.wait()
            except TimeoutError:
                pass

    async def _until_next(self) -> float:
        due = await self._shelf.queue.next_due()
        if due is None:
            return _PATIENCE
        # What is due already and was not taken waits for a free place, which wakes us.
        left = (due - self._clock.now_ms()) / 1000
        return min(max(left, 0.0), _PATIENCE) if left > 0 else 1.0

    async def look(self) -> int:
        """Take what is due and may begin now; returns how many rows. Whoever was taken is tried in the background."""
        taken = 0
        after: QueueItem | None = None
        for _ in range(_LOOKAHEAD):
            if len(self._under_way) >= _TOTAL:
                break
            async with self._shelf.turn:
                items = await self._shelf.queue.due(self._clock.now_ms(), _PAGE, after=after)
                claimed = await self._claim(items)
            for row, destination in claimed:
                self._under_way.add(row.id)
                self._lanes.setdefault(destination, _Lane()).waiting.append(row)
                self._staff(destination)
            taken += len(claimed)
            if len(items) < _PAGE or self._stopping:
                break
            after = items[-1]
            if not claimed and len(self._lanes) == 1:
                break  # All of it goes one way, which is busy.
        return taken

    async def _claim(self, items: list[QueueItem]) -> list[tuple[Row, str]]:
        """Record the tries that are to be made, in one commit."""
        now = self._clock.now_ms()
        lease = now + int(self._settings.lease * 1000)
        changed: list[tuple[Row, int]] = []
        claimed: list[tuple[Row, str]] = []
        over: list[str] = []
        room: dict[str, int] = {}
        for item in items:
            try:
                row = row_of(item)
            except ValueError:
                log.error("outgoing_row_unreadable", row=item.key)
                await self._shelf.set_aside(item)
                continue
            if row.done:
                over.append(item.key)
                continue
            if row.id in self._under_way:
                changed.append((row, lease))
                continue
            destination = self._carrier.destination(row.mail, row.recipient, row.about.mailbox.domain)
            lane = self._lanes.get(destination)
            left = room.setdefault(destination, _LANE - (len(lane.waiting) if lane is not None else 0))
            if left <= 0 or self._stopping:
                continue
            room[destination] = left - 1
            interrupted = row.state is State.TRYING
            if interrupted:
                self.counts.unknown += 1
                log.warning("mail_try_was_cut_off", mail=row.mail.id, row=row.id, attempts=row.attempts)
            if row.state is not State.DROPPING:
                row = replace(
                    row,
                    state=State.TRYING,
                    attempts=row.attempts + 1,
                    tried_at=now,
                    doubts=row.doubts + interrupted,
                )
            changed.append((row, lease))
            claimed.append((row, destination))
        if changed or over:
            await self._shelf.put(changed, over)
        return claimed

    def _staff(self, destination: str) -> None:
        lane = self._lanes[destination]
        busy = sum(len(one.workers) for one in self._lanes.values())
        if (
            len(lane.workers) < min(self._settings.connections, len(lane.waiting))
            and busy < self._settings.connections_total
        ):
            worker = self._tasks.spawn(self._work(destination, lane), f"email to {destination}")
            lane.workers.add(worker)
            worker.add_done_callback(lambda ended: self._left(destination, lane, ended))

    def _left(self, destination: str, lane: _Lane, worker: asyncio.Task[None]) -> None:
        lane.workers.discard(worker)
        if not lane.workers and not lane.waiting and self._lanes.get(destination) is lane:
            del self._lanes[destination]
        # Those that found no free place.
        for name in [name for name, one in self._lanes.items() if one.waiting]:
            self._staff(name)
        self._shelf.wake.set()

    async def _work(self, destination: str, lane: _Lane) -> None:
        while lane.waiting:
            row = lane.waiting.popleft()
            try:
                await self._try(row, destination)
            finally:
                self._under_way.discard(row.id)
            if len(lane.waiting) == _LANE // 2:
                self._shelf.wake.set()

    async def _try(self, row: Row, destination: str) -> None:
        """One try, and its end committed."""
        if row.state is State.DROPPING:
            await self._given_up(row)
            return
        if row.doubts >= _DOUBTS:
            words = f"it was tried {row.doubts} times, and nobody knows whether it arrived"
            await self._given_up(row.answered(Outcome(Reply(0, "4.4.2", words))))
            return
        self.counts.tries += 1
        outcome = await self._outcome(row, destination)
        row = row.answered(outcome)
        code = outcome.reply.code
        if 200 <= code < 300:
            await self._sent(row, outcome)
        elif code >= 500:
            await self._given_up(row)
        else:
            await self._deferred(row, outcome)

    async def _outcome(self, row: Row, destination: str) -> Outcome:
        suppressed = await self._suppressions.find(row.about.mailbox.domain, row.recipient)
        if suppressed is not None:
            return Outcome(Reply(550, "5.7.0", f"it does not take mail: {suppressed.reason}"))
        mail = row.mail
        if mail.sender is not None:
            token = self._tokens.returning(row.id)
            returning = Address(f"{self._settings.bounce_name}+{token}", mail.sender.domain)
            mail = replace(mail, sender=returning)
        try:
            outcomes = await self._carrier.deliver(mail, [row.recipient], destination)
        except RejectedError as error:
            return Outcome(Reply(550, "5.3.0", f"the mail cannot be read any more: {error}"))
        except BridgeError as error:
            return Outcome(Reply(0, "4.3.0", str(error)))
        return outcomes[row.recipient]

    async def _sent(self, row: Row, outcome: Outcome) -> None:
        self.counts.sent += 1
        ended = row.ended(State.SENT)
        if outcome.message_id and self._learnt is not None:
            await self._surely(lambda: self._told_id(row, outcome.message_id))
        await self._surely(lambda: self._commit(ended))
        log.info("mail_sent", mail=row.mail.id, row=row.id, server=row.server, attempts=row.attempts)
        if row.told:
            await self._fates.tell([recovered(row)])

    async def _given_up(self, row: Row) -> None:
        self.counts.failed += 1
        if row.reply is not None:
            await self._surely(lambda: self._noted(row))
        # Told before it is ended: a crash in between tells twice, never not at all.
        await self._surely(lambda: self._tell([failed(row)]))
        await self._surely(lambda: self._commit(row.ended(State.FAILED)))
        log.info("mail_failed", mail=row.mail.id, row=row.id, server=row.server, code=row.reply and row.reply.code)

    async def _deferred(self, row: Row, outcome: Outcome) -> None:
        now = self._clock.now_ms()
        if outcome.unknown:
            self.counts.unknown += 1
            log.warning("mail_fate_unknown", mail=row.mail.id, row=row.id, server=row.server)
        until = row.queued_at + int(self._settings.give_up_after * 1000)
        due = now + int(next_delay(row.attempts, outcome.reply.code, self._chance()) * 1000)
        if now >= until:
            await self._given_up(row)
            return
        self.counts.deferred += 1
        due = min(due, until)
        told = notices_due((now - row.queued_at) / 1000)
        if told > row.told:
            words = datetime.fromtimestamp(until / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
            if await self._fates.tell([delayed(row, words)]):
                row = replace(row, told=told)
        waiting = replace(row, state=State.WAITING)
        await self._shelf.renew(row)
        await self._surely(lambda: self._shelf.put([(waiting, due)]))
        log.info("mail_deferred", mail=row.mail.id, row=row.id, attempts=row.attempts, code=outcome.reply.code)

    async def _commit(self, row: Row) -> None:
        await self._shelf.put([(row, 0)])
        await self._shelf.release(row.about.message, {row.mail.blob})

    async def _told_id(self, row: Row, given: str) -> None:
        assert self._learnt is not None
        await self._learnt(row, given)

    async def _noted(self, row: Row) -> None:
        assert row.reply is not None
        await self._suppressions.note(row.about.mailbox.domain, row.recipient, row.reply)

    async def _tell(self, events: list[RemoteEvent]) -> None:
        if not await self._fates.tell(events):
            raise BridgeError("the journal is full")

    async def _surely(self, act: Callable[[], Awaitable[None]]) -> None:
        """Until it is done: what was handed over must not be handed over again since the store was away for a while.

        Ends with the task, which the connector cancels when it stops: a crash would be no other.
        """
        seconds = 0.5
        while True:
            try:
                return await act()
            except BridgeError as error:
                log.warning("outgoing_end_not_stored", error=str(error))
            await self._clock.sleep(seconds)
            seconds = min(seconds * 2, 30.0)


def _as_before(row: Row) -> Row:
    """A row that was taken, and its try not begun."""
    return row if row.state is State.DROPPING else replace(row, state=State.WAITING, attempts=row.attempts - 1)
