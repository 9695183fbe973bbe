"""Builds what shows in a chat's other rooms what was said in one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge_core.api.host import Clock
from bridge_core.engine.barred import SERVER_ACL, Barred
from bridge_core.engine.copies import Copies
from bridge_core.engine.copyacts import CopyActs
from bridge_core.engine.copyplaces import CopyPlaces
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.relaying import Relaying
from bridge_core.engine.rendering import Rendering
from bridge_core.engine.secrecy import ENCRYPTION, Secrecy
from bridge_core.engine.store_ports import Messages
from bridge_core.engine.threads import Threads

if TYPE_CHECKING:
    from bridge_core.app.engine import Engine


def add_copies(
    engine: Engine,
    messages: Messages,
    rendering: Rendering,
    relaying: Relaying,
    threads: Threads,
    matrix: MatrixSide,
    clock: Clock,
) -> Barred:
    """Let copies be shown; who knows whom rooms keep out is returned, to be told of changes."""
    barred = Barred(matrix, engine.members)
    secrecy = Secrecy(matrix, clock)
    places = CopyPlaces(engine.names, messages, engine.translation, matrix, engine.puppets)
    copies = Copies(
        engine.conversion,
        places,
        CopyActs(places, messages, engine.translation, matrix, engine.puppets, engine.conversion),
        engine.portals,
        engine.networks,
        engine.members,
        barred,
        rendering,
        engine.translation,
        relaying,
        engine.gate,
        threads,
        engine.expiry,
        engine.puppets,
        engine.status,
        secrecy,
    )
    engine.incoming.tell(copies.rejected)
    engine.last_look.also(copies.still_wanted)
    engine.room_events.on(SERVER_ACL, barred.listed)
    engine.room_events.on(ENCRYPTION, secrecy.changed)
    return barred
