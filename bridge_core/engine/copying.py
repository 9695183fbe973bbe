"""What is said in one room of a chat is to be seen in its other rooms: noticed here, shown by `copies`.

A copy is an entry of the chat's own lane towards Matrix, accepted in the commit that ends the delivery it follows: so
it comes once, in the chat's order, and what the chat refuses is copied nowhere.
"""

from collections.abc import Callable
from typing import Final

import orjson

from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, MessageId, PortalKey, RoomId
from bridge_core.engine.carrying import Carrying
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.networks import Networks
from bridge_core.engine.payload import RoomCopy, encode
from bridge_core.engine.ports import Direction, Entry, Journal, NewEntry, Write
from bridge_core.engine.roomrules import rules_of
from bridge_core.engine.store_ports import Messages, PortalRow
from bridge_core.engine.translation import MESSAGE_TYPES

_COPIED: Final = frozenset((*MESSAGE_TYPES, "m.reaction", "m.room.redaction"))


class Copying:
    """Puts copies into the journal. `lanes` gives the lanes towards Matrix, which are built later."""

    def __init__(
        self,
        journal: Journal,
        networks: Networks,
        messages: Messages,
        carrying: Carrying,
        lanes: Callable[[], Lanes],
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._networks = networks
        self._messages = messages
        self._carrying = carrying
        self._lanes = lanes
        self._clock = clock

    def copies(self, entry: Entry, portal: PortalRow) -> bool:
        """Whether an event is to be seen in other rooms. Does not block: nearly always there are none."""
        if len(portal.rooms) < 2 or portal.receiver is not None or "state_key" in entry.event:
            return False
        if not rules_of(portal, RoomId(entry.lane)).copies:
            return False
        network = self._networks.get(portal.network)
        return network is not None and network.options.copy_between_rooms and entry.event["type"] in _COPIED

    def take(self, entry: Entry, portal: PortalRow) -> None:
        """The network has it. To be called right before its delivery is settled: both are one commit. Never blocks."""
        if not self.copies(entry, portal):
            return
        text = orjson.dumps(entry.event).decode()
        event = RoomCopy(portal.chat, RoomId(entry.lane), portal.id, text)
        lane = PortalKey(portal.network, portal.chat, portal.receiver).lane()
        new = NewEntry(Direction.TO_MATRIX, portal.network, lane, encode(event), self._clock.now_ms())
        self._lanes().offer([new], [self._journal.follow(new)], [event])

    def take_untold(self, entry: Entry, portal: PortalRow) -> tuple[Write, ...]:
        """As `take`, of what the network cannot carry and the rooms can; what is to be remembered of it then."""
        if not self.copies(entry, portal):
            return ()
        self.take(entry, portal)
        event = entry.event
        if event["type"] == "m.room.redaction":
            return ()
        identity = MessageId(f"~{event['event_id']}")
        row = self._messages.write(
            portal.id, identity, 0, RoomId(entry.lane), EventId(event["event_id"]), event["sender"], entry.received_at
        )
        return (row, *self._carrying.writes(portal, event, entry.received_at))
