"""In which order and how fast connections of users are opened; without clock and timers, which `scheduler` has.

Nobody waits for anybody else's troubles: who has to wait for a time of their own, and whose address is held, stands
aside, and the next one goes. Times are seconds of a monotonic clock.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum, StrEnum
from heapq import heapify, heappop, heappush
from math import inf


class Urgency(IntEnum):
    """Who goes first. Among equals it is who was active last."""

    NOW = 0
    """Their message is there: the relay speaks meanwhile."""
    ACTIVE = 1
    """They lost a connection that they used lately."""
    LATER = 2
    """They lost one that they did not use for long."""


class Stage(StrEnum):
    """How far somebody's connection is."""

    WAITING = "waiting"
    OPENING = "opening"
    OPEN = "open"
    GONE = "gone"


class Turn:
    """One connection of one user, from waiting for it to its end. `go` is called when it may be opened."""

    __slots__ = ("address", "go", "number", "stage", "urgency", "used_at")

    def __init__(self, address: str, urgency: Urgency, used_at: float, go: Callable[[], None]) -> None:
        self.address = address
        self.urgency = urgency
        self.used_at = used_at
        self.go = go
        self.number = 0
        self.stage = Stage.WAITING

    def __lt__(self, other: "Turn") -> bool:
        return (self.urgency, -self.used_at, self.number) < (other.urgency, -other.used_at, other.number)


class Tokens:
    """A token bucket that nobody waits in: it says when. A rate of 0 is no limit."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = -inf

    def ready_at(self, now: float) -> float:
        """When the next token is there; not after `now` when there is one."""
        if self._rate <= 0:
            return now
        left = self._level(now)
        return now if left >= 1 else now + (1 - left) / self._rate

    def take(self, now: float) -> None:
        """Takes one."""
        if self._rate > 0:
            self._left = self._level(now) - 1
            self._at = now

    def full(self, now: float) -> bool:
        """Whether all tokens are there."""
        return self._rate <= 0 or self._level(now) >= self._burst

    def _level(self, now: float) -> float:
        # What was slept off is not slept again for the rounding of a clock.
        return min(self._burst, self._left + (now - self._at) * self._rate + 1e-9)


class _Lane:
    """What is known of one of our addresses."""

    __slots__ = ("due", "held_until", "one_by_one", "opening", "parked", "tokens", "waits_for_end")

    def __init__(self, rate: float, burst: float) -> None:
        self.tokens = Tokens(rate, burst)
        self.held_until = 0.0
        self.one_by_one = False
        """After a refusal one connection shows whether it is over before others follow."""
        self.waits_for_end = False
        """One that ends makes room for another."""
        self.opening = 0
        self.parked: list[Turn] = []
        """Who of it waits aside. While somebody does, `due` is set, one is opening, or one was put back into the line:
        whatever becomes of those looks at the lane again."""
        self.due: float | None = None
        """When it is looked at next."""

    def forgettable(self, now: float) -> bool:
        """Whether a new one would tell the same."""
        return not (self.one_by_one or self.opening or self.held_until > now) and self.tokens.full(now)


class Schedule:
    """Everybody who waits for a connection, and everybody who has one.

    `most` connections in all, of which `opening` are being opened at once; `waiting` may wait.
    """

    def __init__(
        self,
        *,
        most: int,
        opening: int,
        waiting: int,
        rate: float,
        burst: float,
        address_rate: float = 0,
        address_burst: float = 1,
    ) -> None:
        self._most = most
        self._opening_at_most = opening
        self._waiting_at_most = waiting
        self._tokens = Tokens(rate, burst)
        self._address = (address_rate, address_burst)
        self._held_until = 0.0
        self._ready: list[Turn] = []
        self._unsorted = 0
        self._later: list[tuple[float, int, Turn]] = []
        self._lanes: dict[str, _Lane] = {}
        self._lanes_due: list[tuple[float, int, str]] = []
        self._count = 0
        self.reachable = True
        """Whether it makes sense to try: the observer is connected."""
        self.waiting = 0
        self.opening = 0
        self.open = 0

    def ask(self, turn: Turn, not_before: float = 0.0) -> bool:
        """Takes a new turn into the line; False when the line is as long as it may be."""
        if self.waiting >= self._waiting_at_most:
            return False
        self.waiting += 1
        self._count += 1
        turn.number = self._count
        heappush(self._later, (not_before, turn.number, turn))
        return True

    def hurry(self, turn: Turn, urgency: Urgency, used_at: float) -> None:
        """Who waits spoke again: they come before those who did not."""
        if turn.stage is Stage.WAITING and (urgency, -used_at) < (turn.urgency, -turn.used_at):
            turn.urgency, turn.used_at = urgency, used_at
            self._unsorted += 1

    def due(self, now: float) -> Iterator[Turn]:
        """Whose connection is to be opened now, each counted as being opened from here on."""
        self._wake(now)
        while (turn := self._next(now)) is not None:
            lane = self._lanes[turn.address]
            self._tokens.take(now)
            lane.tokens.take(now)
            turn.stage = Stage.OPENING
            self.waiting -= 1
            self.opening += 1
            lane.opening += 1
            yield turn

    def next_at(self, now: float) -> float | None:
        """When `due` is to be asked again at the latest; None when something else has to happen first."""
        if not self.reachable:
            return None
        times = [heap[0][0] for heap in (self._later, self._lanes_due) if heap]
        if self._ready and self._room():
            times.append(max(self._held_until, self._tokens.ready_at(now)))
        return max(now, min(times)) if times else None

    # What became of a connection

    def opened(self, turn: Turn, now: float) -> None:
        """It is open: the address is welcome."""
        if turn.stage is Stage.OPENING:
            lane = self._ended(turn)
            turn.stage = Stage.OPEN
            self.open += 1
            lane.one_by_one = lane.waits_for_end = False
            self._look(turn.address, now)

    def gone(self, turn: Turn, now: float) -> None:
        """It is closed, was not opened, or is not wanted any more. Idempotent."""
        stage, turn.stage = turn.stage, Stage.GONE
        if stage is Stage.WAITING:
            self.waiting -= 1
            self._unsorted += 1
            if turn.address in self._lanes:  # others may have waited for what becomes of this one
                self._look(turn.address, now)
        elif stage is Stage.OPENING:
            self._ended(turn)
            self._look(turn.address, now)
        elif stage is Stage.OPEN:
            self.open -= 1
            lane = self._lane(turn.address)
            if lane.waits_for_end:
                lane.waits_for_end = False
                lane.held_until = now
            self._look(turn.address, now)

    def hold(self, address: str, until: float, *, or_an_end: bool = False) -> None:
        """Nothing connects from an address until then; then one, and the others once that one is welcome.

        With `or_an_end` the next connection that ends makes room for one before.
        """
        lane = self._lane(address)
        lane.held_until = max(lane.held_until, until)
        lane.one_by_one = True
        lane.waits_for_end = or_an_end
        self._look(address, until)

    def hold_all(self, until: float) -> None:
        """Nothing connects until then."""
        self._held_until = max(self._held_until, until)

    def let_go(self, address: str, now: float) -> None:
        """Ends the hold of an address."""
        self._lane(address).held_until = now
        self._look(address, now)

    def let_all_go(self, now: float) -> None:
        """Ends every hold."""
        self._held_until = now
        for address in list(self._lanes):
            self.let_go(address, now)

    def waiting_by(self, now: float) -> dict[str, int]:
        """How many wait, by what for: `turn` (the rate, or a place), `pause` (a time of their own), `address` (theirs
        is held), `class` (another connection of the address has to end)."""
        counts = {"turn": 0, "pause": 0, "address": 0, "class": 0}
        counts["pause"] = sum(turn.stage is Stage.WAITING for _, _, turn in self._later)
        for lane in self._lanes.values():
            waiting = sum(turn.stage is Stage.WAITING for turn in lane.parked)
            held = lane.held_until > now
            counts["class" if held and lane.waits_for_end else "address" if held else "turn"] += waiting
        counts["turn"] += max(0, self.waiting - sum(counts.values()))
        return counts

    # The line

    def _room(self) -> bool:
        return self.opening < self._opening_at_most and self.opening + self.open < self._most

    def _next(self, now: float) -> Turn | None:
        """The first whom nothing holds; those whose address is held stand aside."""
        while self._ready and self.reachable and self._room():
            if now < self._held_until or self._tokens.ready_at(now) > now:
                return None
            turn = heappop(self._ready)
            if turn.stage is not Stage.WAITING:
                continue
            lane = self._lane(turn.address)
            if lane.one_by_one and lane.opening:
                heappush(lane.parked, turn)  # that one's end looks at the lane
                continue
            free_at = max(lane.held_until, lane.tokens.ready_at(now))
            if free_at <= now:
                return turn
            heappush(lane.parked, turn)
            self._look(turn.address, free_at)
        return None

    def _wake(self, now: float) -> None:
        """Puts those back into the line whose time has come."""
        while self._later and self._later[0][0] <= now:
            turn = heappop(self._later)[2]
            if turn.stage is Stage.WAITING:
                heappush(self._ready, turn)
        if self._unsorted:
            self._ready = [turn for turn in self._ready if turn.stage is Stage.WAITING]
            heapify(self._ready)
            for lane in self._lanes.values():
                if lane.parked:
                    lane.parked = [turn for turn in lane.parked if turn.stage is Stage.WAITING]
                    heapify(lane.parked)
            self._unsorted = 0
        while self._lanes_due and self._lanes_due[0][0] <= now:
            at, _, address = heappop(self._lanes_due)
            due = self._lanes.get(address)
            if due is not None and due.due == at:  # else it was looked at before
                due.due = None
                self._wake_lane(address, due, now)

    def _wake_lane(self, address: str, lane: _Lane, now: float) -> None:
        """Puts as many of an address back as may go now; the others are asked for again."""
        if not lane.parked:
            if lane.forgettable(now):
                del self._lanes[address]
            return
        if lane.one_by_one and lane.opening:
            return
        free_at = max(lane.held_until, lane.tokens.ready_at(now))
        if free_at > now:
            self._look(address, free_at)
            return
        if lane.one_by_one or self._address[0] > 0:
            heappush(self._ready, heappop(lane.parked))
            if lane.parked and not lane.one_by_one:
                self._look(address, now + 1 / self._address[0])
            return
        parked, lane.parked = lane.parked, []
        self._ready += parked
        heapify(self._ready)

    def _look(self, address: str, at: float) -> None:
        """Looks at an address then, or before."""
        lane = self._lane(address)
        if lane.due is None or at < lane.due:
            lane.due = at
            self._count += 1
            heappush(self._lanes_due, (at, self._count, address))

    def _lane(self, address: str) -> _Lane:
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = _Lane(*self._address)
        return lane

    def _ended(self, turn: Turn) -> _Lane:
        """Opening is over, well or not."""
        self.opening -= 1
        lane = self._lane(turn.address)
        lane.opening = max(0, lane.opening - 1)
        return lane
