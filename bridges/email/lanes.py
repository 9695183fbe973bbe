"""Whose turn it is: mails of one mailbox go one after the other in the order they came, those of others at once."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bridges.email.spooled import Waiting

_Turn = tuple[int, str]
"""When it came, and its key."""


@dataclass(slots=True)
class _Lane:
    """What waits for one mailbox; `busy` is the mail that is under way."""

    waiting: list[_Turn] = field(default_factory=list)
    busy: str = ""


@dataclass(slots=True)
class _Mail:
    turn: _Turn
    due: int
    lanes: frozenset[str]


class Lanes:
    """Keeps the keys of all mails that wait. From memory; a mail costs the same however many there are.

    A mail that is put off keeps its place: nothing overtakes it. One for several mailboxes begins when it is the first
    of all of them; the oldest mail of all always is, so that no two wait for each other.
    """

    def __init__(self, lanes_of: Callable[[Waiting], frozenset[str]]) -> None:
        self._lanes_of = lanes_of
        self._mails: dict[str, _Mail] = {}
        self._lanes: dict[str, _Lane] = {}
        self._names: dict[frozenset[str], frozenset[str]] = {}
        self._of: Counter[frozenset[str]] = Counter()
        """How many mails are of each of them: strangers choose which, and those of no mail go."""
        self._ready: list[_Turn] = []
        self._later: list[tuple[int, str]] = []
        self._under_way: set[str] = set()

    def add(self, waiting: Waiting) -> None:
        """A mail waits. Known ones stay where they are."""
        if waiting.key in self._mails:
            return
        found = self._lanes_of(waiting)
        names = self._names.setdefault(found, found)  # one set for all mails of the same mailboxes
        self._of[names] += 1
        turn = (waiting.received_at, waiting.key)
        self._mails[waiting.key] = _Mail(turn, waiting.due, names)
        for name in names:
            heapq.heappush(self._lanes.setdefault(name, _Lane()).waiting, turn)
        self._look(waiting.key)

    def take(self, now: int) -> str | None:
        """The mail that is to be begun now; None: there is none. It is under way until `over` or `put_off`."""
        while self._later and self._later[0][0] <= now:
            _, key = heapq.heappop(self._later)
            mail = self._mails.get(key)
            if mail is not None and mail.due <= now and key not in self._under_way:
                mail.due = 0
                self._look(key)
        while self._ready:
            _, key = heapq.heappop(self._ready)
            mail = self._mails.get(key)
            if mail is None or key in self._under_way or not self._is_first(mail):
                continue  # it is looked at again when those before it are over
            if mail.due > now:
                heapq.heappush(self._later, (mail.due, key))
                continue
            for name in mail.lanes:
                heapq.heappop(self._lanes[name].waiting)
                self._lanes[name].busy = key
            self._under_way.add(key)
            return key
        return None

    def next_due(self) -> int | None:
        """When the next mail that was put off is due."""
        return self._later[0][0] if self._later else None

    def over(self, key: str) -> None:
        """It is done."""
        mail = self._mails.pop(key, None)
        self._under_way.discard(key)
        for name in mail.lanes if mail is not None else ():
            lane = self._lanes[name]
            lane.busy = ""
            if lane.waiting:
                self._look(lane.waiting[0][1])
            else:
                del self._lanes[name]
        if mail is not None:
            self._of[mail.lanes] -= 1
            if not self._of[mail.lanes]:
                del self._of[mail.lanes], self._names[mail.lanes]

    def put_off(self, key: str, due: int) -> None:
        """It is tried again at `due`; what is behind it waits."""
        mail = self._mails[key]
        mail.due = due
        self._under_way.discard(key)
        for name in mail.lanes:
            self._lanes[name].busy = ""
            heapq.heappush(self._lanes[name].waiting, mail.turn)
        heapq.heappush(self._later, (due, key))
        for name in mail.lanes:
            # One that came before it was not the first of a lane that was busy when it was added.
            self._look(self._lanes[name].waiting[0][1])

    def _look(self, key: str) -> None:
        mail = self._mails[key]
        if self._is_first(mail):
            heapq.heappush(self._ready, mail.turn)

    def _is_first(self, mail: _Mail) -> bool:
        lanes = (self._lanes[name] for name in mail.lanes)
        return all(not lane.busy and lane.waiting[0] == mail.turn for lane in lanes)
