"""Matrix -> network: which deliveries an entry gets."""

from collections.abc import Sequence

import orjson

from bridge_core.api.errors import TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RoomId
from bridge_core.engine.decrypting import Decrypting, Opened
from bridge_core.engine.handover import HandOver
from bridge_core.engine.lanes import Planned
from bridge_core.engine.lateness import LATE
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Delivery, DeliveryState, Entry, Journal
from bridge_core.engine.roomevents import RoomEvents
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow
from bridge_core.engine.translation import Translation


class Routing:
    """Plans the entries of the lanes towards networks. Encrypted ones are opened first: all else sees them clear."""

    def __init__(
        self,
        journal: Journal,
        networks: Networks,
        portals: PortalIndex,
        translation: Translation,
        room_events: RoomEvents,
        decrypting: Decrypting,
        status: Status,
        hand_over: HandOver,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._networks = networks
        self._portals = portals
        self._translation = translation
        self._room_events = room_events
        self._decrypting = decrypting
        self._status = status
        self._hand_over = hand_over
        self._clock = clock

    async def plan(self, entries: Sequence[Entry]) -> list[Planned]:
        """Choose the deliveries of each entry, and record the attempts that are about to be made."""
        plan: list[Planned] = []
        again: list[Delivery] = []
        for entry in entries:
            if entry.event is None:
                entry.event = orjson.loads(entry.payload)
            opened = await self._decrypting.open(entry, first=not plan)
            if opened is Opened.NOT_YET:
                break
            if opened is Opened.KEPT:
                plan.append(Planned(entry, kept=True))
                continue
            if entry.deliveries:
                again += [item for item in entry.deliveries if self.to_attempt(item)]
                plan.append(Planned(entry, entry.deliveries, stored=True))
                continue
            reason = self._room_events.not_bridged(entry.event)
            portals = self._wanting(entry) if not reason else ()
            if not portals and not reason and self._maybe_portal(RoomId(entry.lane)):
                if plan:
                    break
                raise TransientError("it may be a room that is just being made")
            if not portals:
                plan.append(Planned(entry, ignored=reason or "not bridged"))
                continue
            body = LATE if opened is Opened.LATE else b""
            plan.append(Planned(entry, [self._delivery(entry, portal, body) for portal in portals]))
            self._status.taken(entry.event, entry.network)
        if again:
            await self._journal.attempt(again)
        return plan

    def _maybe_portal(self, room: RoomId) -> bool:
        return bool(self._portals.unfinished()) and not self._portals.in_room(room)

    def _wanting(self, entry: Entry) -> Sequence[PortalRow]:
        """The portals of the room to whose networks the event goes."""
        portals = self._portals.in_room(RoomId(entry.lane))
        kind = self._translation.kind(entry.event)
        if kind is None or kind.wants is None:
            return portals
        reaches, event = kind.reaches, entry.event
        return [
            portal
            for portal in portals
            if self._takes(portal, kind.wants) and (reaches is None or reaches(event, portal))
        ]

    def _takes(self, portal: PortalRow, event_class: type) -> bool:
        network = self._networks.get(portal.network)
        return network is not None and network.main is not None and self._hand_over.takes(network.main, event_class)

    def _delivery(self, entry: Entry, portal: PortalRow, body: bytes) -> Delivery:
        delivery = Delivery(
            self._journal.new_delivery_id(),
            entry.id,
            portal.network,
            entry.direction,
            str(portal.id),
            DeliveryState.READY,
            body,
            request=portal.id,
        )
        self.to_attempt(delivery)
        return delivery

    def to_attempt(self, delivery: Delivery) -> bool:
        """Mark an attempt, unless it would surely fail: what was never tried must not look as if it had been."""
        if delivery.state is not DeliveryState.READY:
            return False
        network = self._networks.get(NetworkId(delivery.network))
        if network is None or not network.up:
            return False
        delivery.request = int(delivery.target)
        delivery.state = DeliveryState.ATTEMPTED
        delivery.attempts += 1
        delivery.first_attempt_at = delivery.first_attempt_at or self._clock.now_ms()
        return True
