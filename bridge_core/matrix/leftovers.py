"""Gets out of Synapse what it has left behind.

While Synapse sends its backlog to a service that was away, a transaction made in the moment between "nothing is unsent
any more" and "the service is up" is neither in the backlog nor sent (measured; synapse/appservice/scheduler.py, 1.163:
`_TransactionController.send` and `_Recoverer.retry`). The same becomes of one that Synapse was killed over. It lies in
Synapse's database until the service fails the next time, perhaps for weeks, and comes out of order then. Its number is
missing from those that arrive: so the first transaction behind the hole is refused once, which makes Synapse send all
that is unsent, the oldest first.
"""

from collections.abc import Callable
from typing import Final

import structlog

from bridge_core.api.errors import TransientError
from bridge_core.api.host import Clock
from bridge_core.matrix.transaction import Transaction, TransactionSink

__all__ = ["Leftovers"]

log = structlog.get_logger(__name__)

_QUIET: Final = (30.0, 86_400.0)
"""Seconds without a refusal after one that brought nothing: at first, and at most. Synapse numbers the transactions of
all its services together, so that with several services holes mean nothing."""


def _number(txn: str) -> int | None:
    return int(txn) if txn.isascii() and txn.isdecimal() and len(txn) < 19 else None


class Leftovers:
    """A sink before the sink. `ask` has the homeserver asked, soon, to try again at once; it must not block."""

    def __init__(self, sink: TransactionSink, ask: Callable[[], None], clock: Clock) -> None:
        self._sink = sink
        self._ask = ask
        self._clock = clock
        self._last: int | None = None
        self._refused: int | None = None
        self._quiet = _QUIET[0]
        self._again_at = 0.0

    def resume(self, last: str | None) -> None:
        """The last transaction that an earlier process took."""
        self._last = None if last is None else _number(last)

    async def accept(self, txn: Transaction) -> None:
        """As `TransactionSink.accept`. Raises TransientError too for the first transaction behind a hole, once."""
        number = _number(txn.id)
        if number is None:
            await self._sink.accept(txn)
            return
        if self._behind_a_hole(number):
            log.info("transactions_left_behind", number=number, last=self._last)
            self._refused = number
            self._ask()
            raise TransientError("earlier transactions were left behind: send what is unsent, the oldest first")
        await self._sink.accept(txn)
        self._last = number

    def _behind_a_hole(self, number: int) -> bool:
        refused, self._refused = self._refused, None
        if refused is not None:
            found = number < refused
            self._quiet = _QUIET[0] if found else min(2 * self._quiet, _QUIET[1])
            self._again_at = 0.0 if found else self._clock.monotonic() + self._quiet
            return False
        return self._last is not None and number > self._last + 1 and self._clock.monotonic() >= self._again_at
