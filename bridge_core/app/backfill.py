"""Builds what fetches the past of chats, and joins it to the engine."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bridge_core.api.events import RemoteConsent
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId
from bridge_core.engine.backfill import Backfill
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.filling import BackfillOptions, Filling
from bridge_core.engine.intake import NetworkInbox
from bridge_core.engine.marks import Marks
from bridge_core.engine.past import Past
from bridge_core.engine.ports import Journal
from bridge_core.engine.store_ports import Stores
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner

if TYPE_CHECKING:
    from bridge_core.app.engine import Engine


def add_backfill(
    engine: "Engine",
    journal: Journal,
    stores: Stores,
    clock: Clock,
    tasks: TaskOwner,
    metrics: Metrics,
    options: Mapping[NetworkId, BackfillOptions],
    faults: FaultPoints,
) -> Backfill:
    """The part of the engine that fetches the past. It begins with `start`, once the journal is there."""
    counter = metrics.counter("backfill", "Events fetched of the past of chats.", ("network", "outcome"))

    async def refused(network: NetworkId, event: RemoteConsent, entry: int) -> None:
        """No consent comes with the past."""

    def inbox(name: NetworkId) -> NetworkInbox:
        lanes, kv = engine.to_matrix, stores.kv
        return NetworkInbox(name, None, journal, lanes, kv, clock, tasks, lambda state: None, engine.live, refused)

    marks = Marks(stores.kv)
    past = Past(engine.networks, engine.portals, engine.members, counter)
    engine.conversion.guard_past(past.check)
    engine.last_look.guard_past(past.check)
    filling = Filling(marks, stores.messages, past, inbox, clock, counter, faults)
    backfill = Backfill(
        engine.names,
        engine.networks,
        engine.portals,
        marks,
        filling,
        journal,
        engine.to_matrix,
        clock,
        tasks,
        options,
    )
    engine.room_events.on("m.room.member", backfill.entered)
    return backfill
