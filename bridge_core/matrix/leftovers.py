"""Gets out of Synapse what it has left behind.

While Synapse sends its backlog to a service that was away, a transaction made in the moment between "nothing is unsent
any more" and "the service is up" is neither in the backlog nor sent (measured; synapse/appservice/scheduler.py, 1.163:
`_TransactionController.send` and `_Recoverer.retry`). The same becomes of one that Synapse was killed over. It lies in
Synapse's database until the service fails the next time, perhaps for weeks, and comes out of order then. Its number is
missing from those that arrive: so the first transaction behind the hole is refused once, which makes Synapse send all
that is unsent, the oldest first. Until the refused one has come again nothing behind it is taken, since Synapse may
send the next one before it has noticed. Where nobody speaks after a backlog, the bot's read receipt has a transaction
sent, which needs a registration with ephemeral events.

Synapse numbers the transactions of all its services together. Where there is a second one (as for double puppets) most
holes are its numbers. Something can be left behind only at the end of a backlog, and each refusal makes a backlog. So
there a hole is looked into only from an outage or a refusal on, until a transaction that is no part of a backlog comes
with the number after the last one: then nothing is missing. What waited while earlier ones were taken is of the backlog
itself and hides nothing. The bot's read receipt is such a transaction; while
people speak it may take several refusals, and some in vain are borne. They show how wide a hole is that hides nothing:
mostly one number, where the other service is told of each message too, so that one left behind makes three. After those
a message is refused only behind a wider one, else only what comes after a pause: what is left behind then is found too,
but comes out of order. Over what Synapse itself was killed is not noticed there.

A refusal costs the signals and messages to devices in the transaction, which Synapse does not keep. One with messages
to devices is never refused for a hole: the next one is. Changes of device lists are noted where it is refused
(`cryptosync.Watched`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId
from bridge_core.matrix.transaction import Transaction, TransactionSink

__all__ = ["Leftovers"]

log = structlog.get_logger(__name__)

_PAUSE: Final = 0.5
"""Seconds without a transaction after which the bot's receipt is likely to come right after the last one."""
_CALM: Final = 2.0
"""Seconds without a transaction after which nobody speaks."""
_PATIENCE: Final = 30.0
"""Seconds after which a refused transaction is not waited for any longer, nor a signal after a pause."""
_STALL: Final = 1.0
"""Seconds that Synapse may need, under load, from an event to its transaction."""
_AT_ONCE: Final = 5
"""Refusals in vain after which messages are refused only behind a hole that is wider than usual."""
_LOOKS: Final = 10
"""Refusals in vain, the later ones each after twice the time, after which nothing is suspected any more."""
_ROOMS: Final = 16
"""Rooms in which the bot can set a receipt next: it has left some, and each event can be read but once."""

Read = Callable[[RoomId, EventId], Awaitable[None]]
"""Moves the bot's read receipt. Raises BridgeError."""


def _number(txn: str) -> int | None:
    return int(txn) if txn.isascii() and txn.isdecimal() and len(txn) < 19 else None


def _age(event: Mapping[str, Any]) -> float:
    """Seconds since an event was made, when it was sent to us, as the homeserver says."""
    unsigned = event.get("unsigned")
    age = unsigned.get("age") if isinstance(unsigned, dict) else None
    return age / 1000 if isinstance(age, int) else 0.0


class Leftovers:
    """A sink before the sink. `ask` has the homeserver asked, soon, to try again at once; it must not block.

    `own` says whether a user is the bridge's, whose events may be dated as the network says. `shared`: the homeserver
    is known to have other services; else that is learnt when a refusal was in vain.
    """

    def __init__(
        self,
        sink: TransactionSink,
        ask: Callable[[], None],
        read: Read,
        clock: Clock,
        *,
        own: Callable[[str], bool],
        shared: bool = False,
    ) -> None:
        self._sink = sink
        self._ask = ask
        self._read = read
        self._clock = clock
        self._own = own
        self._shared = shared
        self._last: int | None = None
        self._refused: int | None = None
        """This one must come again before any that is behind it."""
        self._refused_at = 0.0
        self._hole: int | None = None
        """How many numbers were missing before it, if it was refused for that."""
        self._usual: int | None = None
        """The narrowest hole in which nothing was."""
        self._until = 0
        """Up to here old transactions come again, among which holes are none."""
        self._passed = False
        """A hole was passed: what fills it is still to be asked for."""
        self._began = self._came_at = self._taken_at = clock.monotonic()
        self._suspected = asyncio.Event()
        """Something may have been left behind."""
        self._suspected_at = self._again_at = self._read_at = 0.0
        self._in_vain = 0
        self._newest: dict[RoomId, EventId] = {}

    def resume(self, last: str | None) -> None:
        """The last transaction that an earlier process took. To be called before the first one comes."""
        self._last = None if last is None else _number(last)
        self._began = self._taken_at = self._clock.monotonic()
        self._suspect(self._began)

    async def accept(self, txn: Transaction) -> None:
        """As `TransactionSink.accept`. Raises TransientError too where something may have been left behind."""
        number = _number(txn.id)
        if number is None:
            await self._sink.accept(txn)
            return
        now = self._clock.monotonic()
        ages = [age for event in txn.events if (age := _age(event)) < _CALM or not self._own(event["sender"])]
        if ages and now - max(ages) < self._began:
            self._suspect(now)  # it waited for us: this is a backlog
        if self._refused is not None and number > self._refused and now - self._refused_at < _PATIENCE:
            log.info("transaction_overtakes", number=number, refused=self._refused)
            raise TransientError("an earlier transaction was refused: that one first")
        refuse = self._look(number, now, txn, ages)
        self._came_at = now
        if refuse:
            log.info("transactions_left_behind", number=number, last=self._last)
            self._refused, self._refused_at, self._hole = number, now, self._width(number)
            self._ask()
            raise TransientError("earlier transactions were left behind: send what is unsent, the oldest first")
        try:
            await self._sink.accept(txn)
        except BridgeError:
            self._suspect(now)
            self._refused, self._refused_at, self._hole = number, now, None
            raise
        self._taken_at = self._clock.monotonic()
        if number >= self._until:
            self._last, self._until = number, 0
        if txn.events:
            room = RoomId(txn.events[-1]["room_id"])
            self._newest.pop(room, None)
            self._newest[room] = EventId(txn.events[-1]["event_id"])
            if len(self._newest) > _ROOMS:
                del self._newest[next(iter(self._newest))]

    async def watch(self) -> None:
        """Has a transaction sent where something may be left behind and none comes by itself. Runs until cancelled."""
        while True:
            await self._suspected.wait()
            now = self._clock.monotonic()
            if not self._shared and now - self._suspected_at >= _PATIENCE:
                self._suspected.clear()  # no signal comes, and any hole is looked into without a suspicion
                continue
            pause = _PAUSE if self._in_vain < _AT_ONCE else _CALM
            wait = max(self._again_at, self._came_at + pause, self._read_at + _CALM) - now
            if wait > 0 or not self._newest:
                await self._clock.sleep(max(wait, pause))
                continue
            room, event = self._newest.popitem()
            try:
                await self._read(room, event)
            except TransientError as error:
                self._newest.setdefault(room, event)
                self._read_at = self._clock.monotonic()
                log.debug("receipt_not_set", room=room, error=str(error))
            except BridgeError as error:
                log.debug("receipt_not_set", room=room, error=str(error))
            else:
                self._read_at = self._clock.monotonic()

    def _look(self, number: int, now: float, txn: Transaction, ages: list[float]) -> bool:
        """Whether to refuse this transaction."""
        refused, self._refused = self._refused, None
        if refused is not None and number <= refused:
            self._came_again(number, refused, now)
            return False
        if self._last is None:
            return False
        if number < self._last and not self._until and (not ages or max(ages) < _CALM):
            self._settle()  # it counts anew, which it does only where nothing was unsent when it started
            return False
        if not self._passed and number <= max(self._last + 1, self._until):
            # What is sent again has events only.
            if number == self._last + 1 and (txn.ephemeral or txn.to_device or txn.otk_counts or txn.device_lists):
                self._settle()
            return False
        self._passed = self._worth_it(now, txn, ages)
        return self._passed and not txn.to_device and self._now(number, now, txn)

    def _worth_it(self, now: float, txn: Transaction, ages: list[float]) -> bool:
        """Whether the hole before this transaction may be of something left behind."""
        if not self._shared:
            return True
        waited = bool(ages) and min(ages) > now - self._taken_at + _STALL
        return self._suspected.is_set() and (self._passed or not waited)

    def _now(self, number: int, now: float, txn: Transaction) -> bool:
        """Whether this is the moment to look into it."""
        if not self._shared or self._in_vain < _AT_ONCE or self._width(number) > (self._usual or 0):
            return True
        calm = now >= self._again_at and now - self._came_at >= _CALM
        return calm and (not txn.events or now - self._suspected_at >= _PATIENCE)

    def _width(self, number: int) -> int:
        """How many numbers are missing before this one."""
        return 0 if self._last is None else number - max(self._last + 1, self._until)

    def _came_again(self, number: int, refused: int, now: float) -> None:
        """All that was unsent is being sent, up to the refused transaction at least."""
        self._passed = False
        if number < refused:
            self._until = refused
            self._suspect(now)
        elif self._hole is not None:
            self._usual = max(1, self._hole if self._usual is None else min(self._usual, self._hole))
            if not self._shared:
                self._shared = True
                self._suspect(now)
            self._in_vain += 1
            late = self._in_vain - _AT_ONCE
            self._again_at = now + (_CALM * 2**late if late >= 0 else _PAUSE)
            if self._in_vain >= _LOOKS:
                self._settle()

    def _settle(self) -> None:
        """Nothing is left behind, or nothing more is done about it."""
        self._passed = False
        self._suspected.clear()

    def _suspect(self, now: float) -> None:
        """A backlog is being sent: something may be left behind at its end."""
        self._suspected.set()
        self._suspected_at = now
        self._again_at = now + _PAUSE
        self._in_vain = 0
