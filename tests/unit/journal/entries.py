"""Short ways to make entries and let them end."""

from collections.abc import Sequence

from bridge_core.engine.ports import Delivery, DeliveryState, Direction, Entry, NewEntry, Outcome, Settlement
from bridge_core.journal.journal import DurableJournal

LANE = "irc\x1f#chan\x1f"


def new(
    payload: str = "hello",
    *,
    dedupe: bytes | None = None,
    also: tuple[bytes, ...] = (),
    lane: str = LANE,
    network: str = "irc",
) -> NewEntry:
    """Something received."""
    return NewEntry(Direction.TO_MATRIX, network, lane, payload.encode(), 1000, dedupe, also)


async def loaded(journal: DurableJournal, after: int = 0, lane: str = LANE) -> list[Entry]:
    """What waits in the lane."""
    return await journal.load(Direction.TO_MATRIX, lane, after, 100)


def delivery(journal: DurableJournal, entry: Entry, target: str = "!room:hs", body: bytes = b"body") -> Delivery:
    """A delivery that is ready."""
    return Delivery(
        journal.new_delivery_id(), entry.id, entry.network, entry.direction, target, DeliveryState.READY, body
    )


async def routed(journal: DurableJournal, entry: Entry, targets: Sequence[str] = ("!room:hs",)) -> list[Delivery]:
    """Route an entry to these rooms."""
    made = [delivery(journal, entry, target) for target in targets]
    await journal.route(entry, made)
    return made


def end(one: Delivery, outcome: Outcome = Outcome.DELIVERED, *, done: bool = True, reason: str = "") -> Settlement:
    """The end of a delivery."""
    return Settlement(one.entry, one.network, one.direction, outcome, one.id, reason, entry_done=done)
