"""Gets out of Synapse what it has left behind.

While Synapse sends its backlog to a service that was away, a transaction made in the moment between "nothing is unsent
any more" and "the service is up" is neither in the backlog nor sent (measured; synapse/appservice/scheduler.py, 1.163:
`_TransactionController.send` and `_Recoverer.retry`). The same becomes of one that Synapse was killed over. It lies in
Synapse's database until the service fails the next time, perhaps for weeks, and comes out of order then. Its number is
missing from those that arrive: so the first transaction behind the hole is refused once, which makes Synapse send all
that is unsent, the oldest first.

Synapse numbers the transactions of all its services together. Where there is a second one (as for double puppets) a
hole says nothing, and a refusal in the middle of a conversation may itself leave something behind. There only what is
known counts: after a backlog was sent, a transaction is refused in a moment when nobody speaks, a few times. If nobody
says anything more, the bot's read receipt makes Synapse send one. So nothing is lost after an outage of the bridge, but
what is found so late comes out of order; and over what Synapse itself was killed is not noticed.
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

_CALM: Final = 2.0
"""Seconds without a transaction after which the next one may be refused, where there are other services."""
_PATIENCE: Final = 30.0
"""Seconds after which that is not waited for any longer."""
_LOOKS: Final = 5
"""Refusals in vain, each after twice the time, after which nothing is suspected any more."""

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

    `shared`: the homeserver is known to have other services; else that is learnt when a refusal was in vain.
    """

    def __init__(
        self, sink: TransactionSink, ask: Callable[[], None], read: Read, clock: Clock, *, shared: bool = False
    ) -> None:
        self._sink = sink
        self._ask = ask
        self._read = read
        self._clock = clock
        self._shared = shared
        self._last: int | None = None
        self._refused: int | None = None
        self._until = 0
        """Up to here old transactions come again, among which holes are none."""
        self._began = self._came_at = clock.monotonic()
        self._suspected = asyncio.Event()
        """Something may have been left behind."""
        self._suspected_at = self._again_at = 0.0
        self._in_vain = 0
        self._newest: tuple[RoomId, EventId] | None = None

    def resume(self, last: str | None) -> None:
        """The last transaction that an earlier process took."""
        self._last = None if last is None else _number(last)

    async def accept(self, txn: Transaction) -> None:
        """As `TransactionSink.accept`. Raises TransientError too where something may have been left behind, once."""
        number = _number(txn.id)
        if number is None:
            await self._sink.accept(txn)
            return
        now = self._clock.monotonic()
        if any(now - _age(event) < self._began for event in txn.events):
            self._suspect(now)  # it waited for us: this is a backlog
        refuse = self._look(number, now)
        self._came_at = now
        if refuse:
            log.info("transactions_left_behind", number=number, last=self._last)
            self._refused = number
            self._ask()
            raise TransientError("earlier transactions were left behind: send what is unsent, the oldest first")
        try:
            await self._sink.accept(txn)
        except BridgeError:
            self._suspect(now)
            raise
        if number >= self._until:
            self._last, self._until = number, 0
        if txn.events:
            self._newest = RoomId(txn.events[-1]["room_id"]), EventId(txn.events[-1]["event_id"])

    async def watch(self) -> None:
        """Has a transaction sent where something may be left behind and none comes by itself. Runs until cancelled."""
        while True:
            await self._suspected.wait()
            now = self._clock.monotonic()
            wait = max(self._again_at, self._came_at + _CALM) - now
            if wait > 0 or self._newest is None:
                await self._clock.sleep(max(wait, _CALM))
                continue
            newest, self._newest = self._newest, None
            try:
                await self._read(*newest)
            except BridgeError as error:
                log.debug("receipt_not_set", room=newest[0], error=str(error))

    def _look(self, number: int, now: float) -> bool:
        """Whether to refuse this transaction."""
        refused, self._refused = self._refused, None
        if refused is not None:
            if number < refused:
                self._until = refused
                self._suspect(now)
            else:
                self._shared = True
                self._in_vain += 1
                self._again_at = now + _CALM * 2**self._in_vain
                if self._in_vain >= _LOOKS:
                    self._suspected.clear()
                else:
                    self._suspected.set()
            return False
        if not self._shared:
            return self._last is not None and number > max(self._last + 1, self._until)
        if not self._suspected.is_set() or now < self._again_at:
            return False
        return now - self._came_at >= _CALM or now - self._suspected_at >= _PATIENCE

    def _suspect(self, now: float) -> None:
        """A backlog is being sent: something may be left behind at its end."""
        if self._shared:
            self._suspected.set()
        self._suspected_at = now
        self._again_at = now + _CALM
        self._in_vain = 0
