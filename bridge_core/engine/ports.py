"""What the engine needs of the journal: durable lanes of entries and their deliveries.

The Protocols here are implemented in `journal`. Nothing here is bound to one process or one kind of database: lanes
are named by strings, ids are integers given out by the journal, payloads are bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from bridge_core.api.network import Accepted


class Direction(IntEnum):
    """Which way an entry goes."""

    TO_NETWORK = 0
    TO_MATRIX = 1


class DeliveryState(IntEnum):
    """Where a delivery is. READY: its final body is stored, trying again is safe. ATTEMPTED: a try was recorded."""

    READY = 0
    ATTEMPTED = 1
    DEAD = 2


class Outcome(StrEnum):
    """How a delivery, or an entry without deliveries (`IGNORED`), ended."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    DEAD = "dead"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Write:
    """One row for one named statement of the store, to be committed together with something else."""

    op: str
    row: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class NewEntry:
    """Something received. `dedupe` is a digest of who sent what where, or None where there is no identity.

    `also` are those of further parts: what has one of these was received before, too.
    """

    direction: Direction
    network: str
    lane: str
    payload: bytes
    received_at: int
    dedupe: bytes | None = None
    also: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Delivery:
    """One way of an entry to one target. `body` is the final request (sealed at rest); `saved` an adapter's state."""

    id: int
    entry: int
    network: str
    direction: Direction
    target: str
    state: DeliveryState
    body: bytes
    attempts: int = 0
    first_attempt_at: int = 0
    saved: bytes | None = None
    request: Any = None
    """What `body` says, where this process still holds it; never stored."""


@dataclass(slots=True)
class Entry:
    """An entry read back, with the deliveries that have not ended."""

    id: int
    direction: Direction
    network: str
    lane: str
    payload: bytes
    version: int
    received_at: int
    attempts: int = 0
    next_attempt_at: int = 0
    routed: bool = False
    deliveries: list[Delivery] = field(default_factory=list)
    unsettled: int = 0
    """How many of its deliveries have not ended, those in flight included. Kept by the lanes and their handlers."""
    event: Any = None
    """What `payload` says, where this process still holds it; never stored."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a delivery (or of an entry without any), with what must be committed in the same commit.

    `entry_done` means that this was the entry's last open delivery. `reason` is for the admin; no message content.
    """

    entry: int
    network: str
    direction: Direction
    outcome: Outcome
    delivery: int | None = None
    reason: str = ""
    writes: tuple[Write, ...] = ()
    entry_done: bool = True


@dataclass(frozen=True, slots=True)
class OpenLane:
    """A lane with entries that have not ended, found at start."""

    direction: Direction
    lane: str
    network: str
    pending: int


class Journal(Protocol):
    """The durable lanes. Ids grow with the order of acceptance; a lane is handled in the order of its ids."""

    async def append(
        self, entries: Sequence[NewEntry], writes: Sequence[Write] = (), *, urgent: bool = False
    ) -> list[Accepted]:
        """Return when entries and writes are committed, one result per entry. Known `dedupe` keys are duplicates.

        Waits while the journal is full; raises BackpressureError when that lasts, TransientError when the database
        cannot be written now. In both cases nothing was stored. `urgent` is for what entries that end have to say:
        it is stored also when the journal is full, since these endings are what makes room. Whoever says it bounds it.
        """

    def follow(self, entry: NewEntry) -> Accepted:
        """Accept what follows of a delivery, in the commit of what is settled next in this same turn of the loop.

        Never blocks and never refuses: whoever calls it once for each ending adds no more than the journal holds.
        """

    def last_entry(self) -> int:
        """No entry accepted so far has a higher id than this. Does not block."""

    def new_delivery_id(self) -> int:
        """The next delivery id. Does not block."""

    async def route(self, entry: Entry, deliveries: Sequence[Delivery]) -> None:
        """Commit the deliveries of one entry before the first of them is tried."""

    async def route_many(self, routed: Sequence[tuple[Entry, Sequence[Delivery]]]) -> None:
        """As `route`, for several entries in one commit."""

    async def attempt(self, deliveries: Sequence[Delivery]) -> None:
        """Commit that a further try at each is about to be made (state, attempts, saved as they stand)."""

    def settle(self, settlement: Settlement) -> None:
        """Commit soon (write-behind, at most about 10 ms later or with the next commit). Never blocks."""

    async def settled(self) -> None:
        """Return when everything settled so far is committed."""

    async def withdraw(self, dedupe: bytes, reason: str) -> bool:
        """End the dead entry with this dedupe key as rejected, its contents erased; whether there was one."""

    async def postpone(self, entry: Entry, error: str, next_attempt_at: int) -> None:
        """Commit that handling failed for now, why, and when to try again. `error` holds no message content."""

    async def open_lanes(self, direction: Direction | None = None) -> list[OpenLane]:
        """All lanes (of one direction, or both) with pending entries. They count as being handled from now on."""

    async def load(self, direction: Direction, lane: str, after: int, limit: int) -> list[Entry]:
        """Pending entries of the lane with ids above `after`, in order, with their open deliveries, unsealed."""
