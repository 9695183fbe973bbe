"""Builds what handles the lanes towards networks, and what opens encrypted events for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge_core.api.host import Clock
from bridge_core.content.limits import Limits
from bridge_core.engine.attempts import Attempts
from bridge_core.engine.carrying import Carrying
from bridge_core.engine.copying import Copying
from bridge_core.engine.decrypting import Decrypting
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.handover import HandOver
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.outgoing import Outgoing
from bridge_core.engine.ports import Journal
from bridge_core.engine.quoting import Quoting
from bridge_core.engine.relaying import Relaying
from bridge_core.engine.routing import Routing
from bridge_core.engine.store_ports import Stores
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner

if TYPE_CHECKING:
    from bridge_core.app.engine import Engine


def make_decrypting(engine: Engine, journal: Journal, clock: Clock, tasks: TaskOwner, metrics: Metrics) -> Decrypting:
    """What opens encrypted events: it refuses them until it is given a cipher."""
    waits = metrics.counter("crypto_waits", "Events that waited for their keys, by what became of them", ["result"])
    made = Decrypting(journal, engine.room_events.waits, lambda: engine.to_network, clock, tasks, waits)
    metrics.gauge("crypto_waiting", "Events that wait for their keys now.", lambda: len(made))
    return made


def make_outgoing(
    engine: Engine,
    journal: Journal,
    stores: Stores,
    matrix: MatrixSide,
    relaying: Relaying,
    limits: Limits,
    clock: Clock,
    tasks: TaskOwner,
    faults: FaultPoints,
) -> Outgoing:
    """The handler of the lanes towards networks."""
    carrying = Carrying(stores.messages, engine.status, clock, engine.showing.can)
    hand_over = HandOver()
    routing = Routing(
        journal,
        engine.networks,
        engine.portals,
        engine.translation,
        engine.room_events,
        engine.decrypting,
        engine.status,
        hand_over,
        clock,
    )
    return Outgoing(
        journal,
        engine.networks,
        engine.portals,
        stores.messages,
        engine.translation,
        engine.confirmations,
        Attempts(engine.names, journal),
        engine.status,
        engine.room_events,
        routing,
        hand_over,
        engine.links,
        engine.gate,
        carrying,
        relaying,
        Copying(journal, engine.networks, stores.messages, carrying, lambda: engine.to_matrix, clock),
        Quoting(matrix, engine.members, engine.decrypting, limits),
        engine.withdrawn,
        engine.expiry,
        clock,
        tasks,
        faults,
    )
