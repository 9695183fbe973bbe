"""Matrix -> network: what happens to the events of a room, one by one and in order."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import (
    BridgeError,
    NotConnectedError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
    UnsupportedError,
)
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, MessageId, NetworkId, RoomId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixOutgoing, MatrixSender
from bridge_core.api.network import Sent
from bridge_core.api.optional import ResolvesOutcomes
from bridge_core.engine.ages import TOO_OLD, Ages
from bridge_core.engine.attempts import Attempts
from bridge_core.engine.carrying import Carrying
from bridge_core.engine.confirmations import Confirmations, Waiting
from bridge_core.engine.copying import Copying
from bridge_core.engine.expiry import Expiry
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.gate import Gate
from bridge_core.engine.handover import HandOver
from bridge_core.engine.lanes import Lanes, Planned
from bridge_core.engine.lateness import LATE, said_late
from bridge_core.engine.links import LinkLedger
from bridge_core.engine.networks import Network, Networks, Unknown
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Delivery, DeliveryState, Entry, Journal, Outcome, Settlement, Write
from bridge_core.engine.quoting import Quoting
from bridge_core.engine.relaying import Relaying
from bridge_core.engine.roomevents import RoomEvents
from bridge_core.engine.roomrules import restricted, rules_of
from bridge_core.engine.routing import Routing
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import Messages, PortalRow
from bridge_core.engine.translation import Translation, redacted_by
from bridge_core.engine.withdrawn import REASON, Withdrawn
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

NOT_BRIDGED: Final = "this room is not bridged any more"


class _NotLetInError(UnsupportedError):
    """The gate refuses it: unlike what the network cannot carry, it is to be found nowhere, now or later."""


class Outgoing:
    """Handles the lanes towards networks. One lane is one room."""

    def __init__(
        self,
        journal: Journal,
        networks: Networks,
        portals: PortalIndex,
        messages: Messages,
        translation: Translation,
        confirmations: Confirmations,
        attempts: Attempts,
        status: Status,
        room_events: RoomEvents,
        routing: Routing,
        hand_over: HandOver,
        links: LinkLedger,
        gate: Gate,
        carrying: Carrying,
        relaying: Relaying,
        copying: Copying,
        quoting: Quoting,
        withdrawn: Withdrawn,
        expiry: Expiry,
        clock: Clock,
        tasks: TaskOwner,
        faults: FaultPoints,
    ) -> None:
        self._journal = journal
        self._networks = networks
        self._portals = portals
        self._messages = messages
        self._translation = translation
        self._confirmations = confirmations
        self._attempts = attempts
        self._status = status
        self._room_events = room_events
        self._routing = routing
        self._hand_over = hand_over
        self._links = links
        self._gate = gate
        self._carrying = carrying
        self._relaying = relaying
        self._copying = copying
        self._quoting = quoting
        self._withdrawn = withdrawn
        self._expiry = expiry
        self._ages = Ages(clock)
        self._clock = clock
        self._tasks = tasks
        self._faults = faults
        self._lanes: Lanes | None = None

    def attach(self, lanes: Lanes) -> None:
        """The lanes that this handler serves."""
        self._lanes = lanes

    async def plan(self, entries: Sequence[Entry]) -> list[Planned]:
        """As `Routing.plan`."""
        return await self._routing.plan(entries)

    async def perform(self, planned: Planned) -> None:
        """Hand the entry to its networks, or do what it asks of the bridge itself."""
        entry = planned.entry
        if entry.event is None:
            entry.event = orjson.loads(entry.payload)
        if planned.kept:
            return
        if not planned.deliveries:
            reason = await self._room_events.handle(entry.event) or planned.ignored
            writes = self._withdrawn.ended(entry.event)
            self._journal.settle(
                Settlement(entry.id, entry.network, entry.direction, Outcome.IGNORED, reason=reason, writes=writes)
            )
            return
        if self._room_events.handles(entry.event):
            await self._room_events.handle(entry.event)
        for delivery in list(entry.deliveries):
            try:
                await self._one(entry, delivery)
            except (TransientError, RateLimitedError) as error:
                self._status.waiting(entry.event, delivery.network, str(error), delivery.attempts)
                raise
            except UnknownOutcomeError as error:
                await self._unknown(entry, delivery, str(error))
            except UnsupportedError as error:
                await self._undo(entry, delivery)
                await self._status.once(
                    RoomId(entry.lane), _event_id(entry), delivery.network, str(error), change=_is_change(entry)
                )
                portal = self._portals.by_id(int(delivery.target))
                refused = isinstance(error, _NotLetInError)  # by the bridge itself: that is remembered as nothing
                writes = self._copying.take_untold(entry, portal) if portal is not None and not refused else ()
                self._settle(entry, delivery, Outcome.REJECTED, str(error), writes)
            except RejectedError as error:
                await self._rejected(entry, delivery, str(error))

    async def _one(self, entry: Entry, delivery: Delivery) -> None:
        network = self._networks.get(NetworkId(delivery.network))
        portal = self._bridged(entry, delivery)
        if network is None or portal.network != network.id:
            raise RejectedError(NOT_BRIDGED)
        sender = await self._translation.sender(entry.event)
        self._ask(portal, sender, RoomId(entry.lane))
        self._gate.spend(sender, entry.event, entry.received_at)
        redacted = redacted_by(entry.event)
        if redacted is not None:
            await self._links.revoke(RoomId(entry.lane), redacted)
        in_doubt = delivery.state is DeliveryState.ATTEMPTED and delivery.request is None
        # What may have arrived already is not hidden: it is asked about first, and then taken back there.
        if not in_doubt and self._withdrawn.is_taken_back(entry.event):
            self._settle(entry, delivery, Outcome.REJECTED, REASON)
            return
        if not in_doubt and (old := self._ages.why(network, portal, entry.event, entry.received_at)):
            await self._status.failed(RoomId(entry.lane), _event_id(entry), network.id, old)
            self._settle(entry, delivery, Outcome.REJECTED, TOO_OLD)
            return
        message = await self._translation.outgoing(entry.event, portal, sender)
        if not in_doubt and isinstance(message, MatrixEdit) and self._withdrawn.has(message.room, message.target):
            self._settle(entry, delivery, Outcome.REJECTED, REASON)
            return
        if message is None:
            if redacted is not None:
                await self._withdrawn.withdraw(redacted)
            # Nobody is told: what it is about never crossed, so nothing is missing there.
            self._settle(entry, delivery, Outcome.REJECTED, "it refers to a message that never crossed")
            return
        if delivery.state is DeliveryState.ATTEMPTED and delivery.request is None:
            delivery.request = int(delivery.target)
            if not await self._resolve(entry, delivery, network, portal, message):
                return
        if delivery.state is DeliveryState.READY:
            if not self._routing.to_attempt(delivery):
                raise NotConnectedError(f"{network.id} is not connected")
            await self._journal.attempt([delivery])
        speaker = await network.speaker(sender, portal)
        message = restricted(message, rules_of(portal, message.room), speaker.relayed)
        if isinstance(message, MatrixMessage) and message.reply_to is not None:
            message = await self._quoting.quoted(speaker.client, portal, message)
        if speaker.relayed:
            message = await self._relaying.spoken(network.options, entry.event, message)
        if delivery.body == LATE:
            message = said_late(message, self._clock.now_ms(), entry.received_at)
        message = await self._carrying.fitted(portal, speaker, message)
        if isinstance(message, MatrixMessage | MatrixEdit) and message.content.attachments:
            await self._gate.carry(message, entry.received_at)
        room = RoomId(entry.lane)
        if not speaker.relayed:
            relayed = self._confirmations.relayed_by(room, sender.id)
            if relayed is not None:
                # Their own connection would overtake what the relay still has in flight.
                settled = await self._confirmations.wait(relayed, 10.0)
                if not settled:
                    raise NotConnectedError("what the relay said for you before is not confirmed yet")
        await self._confirmations.room_for_one(room)
        await self._links.remember(network.id, message)
        # Files, connections and confirmations may have taken their time: what was decided meanwhile counts.
        self._ask(self._bridged(entry, delivery), sender, room)
        self._faults.hit("network.before_send")
        delivery.request = None  # in doubt from here on, until the client says what became of it
        try:
            sent = await self._hand_over.perform(speaker.client, message, self._attempts.make(delivery))
        except (TransientError, RateLimitedError):
            delivery.request = int(delivery.target)
            raise
        self._faults.hit("network.after_send")
        if sent.confirmation is None:
            await self._tell_outcomes(entry, delivery, sent)
            self._delivered(entry, delivery, portal, sent)
            return
        entry.deliveries = [other for other in entry.deliveries if other.id != delivery.id]
        waiting = Waiting(entry, delivery, message.event_id, sender.id, speaker.relayed)
        self._confirmations.add(room, waiting, sent.confirmation, self._confirmed)

    def _ask(self, portal: PortalRow, sender: MatrixSender, room: RoomId) -> None:
        """As `Gate.outgoing`."""
        try:
            self._gate.outgoing(portal, sender, room)
        except UnsupportedError as error:
            raise _NotLetInError(str(error)) from error

    def _bridged(self, entry: Entry, delivery: Delivery) -> PortalRow:
        """The portal that a delivery is for, as it is now. Raises RejectedError when the room is not its any more."""
        portal = self._portals.by_id(int(delivery.target))
        if portal is None or RoomId(entry.lane) not in portal.rooms:
            raise RejectedError(NOT_BRIDGED)
        return portal

    async def _resolve(
        self, entry: Entry, delivery: Delivery, network: Network, portal: PortalRow, message: MatrixOutgoing
    ) -> bool:
        """Find out about an attempt of an earlier process; whether to make a new one now."""
        if network.connector.meta.idempotent:
            return await self._once_more(delivery)
        client = network.client_of(message.sender.id, portal) or network.main
        if isinstance(client, ResolvesOutcomes):
            sent = await client.outcome(message, self._attempts.make(delivery))
            if sent is not None:
                self._delivered(entry, delivery, portal, sent)
                return False
        if network.options.unknown is Unknown.RESEND:
            log.warning("unknown_outcome_resent", network=network.id, entry=entry.id)
            return await self._once_more(delivery)
        raise UnknownOutcomeError("the bridge was stopped while sending it")

    async def _once_more(self, delivery: Delivery) -> bool:
        delivery.attempts += 1
        await self._journal.attempt([delivery])
        return True

    def _confirmed(self, entry: Entry, delivery: Delivery, future: "asyncio.Future[Sent]") -> None:
        """A confirmation came, or failed. Runs in a callback of the loop: nothing here blocks."""
        if future.cancelled() and (self._lanes is None or self._lanes.stopping):
            return  # the bridge stops: the attempt stays recorded
        error = UnknownOutcomeError("the network forgot it") if future.cancelled() else future.exception()
        self._faults.hit("network.confirmed")
        if error is None:
            portal = self._portals.by_id(int(delivery.target))
            if future.result().outcomes:
                self._tasks.start(self._tell_outcomes(entry, delivery, future.result()), "outcomes")
            if portal is not None:
                self._delivered(entry, delivery, portal, future.result())
            else:  # unbridged meanwhile: it arrived all the same
                self._settle(entry, delivery, Outcome.DELIVERED, "")
            return
        self._tasks.start(self._failed(entry, delivery, error), "unconfirmed")

    async def _failed(self, entry: Entry, delivery: Delivery, error: BaseException) -> None:
        while True:
            try:
                await self._end_failed(entry, delivery, error)
            except (TransientError, RateLimitedError) as failure:
                log.warning("failure_not_stored", entry=entry.id, error=str(failure))
                await self._clock.sleep(1.0)
            except Exception:
                log.exception("failure_not_told", entry=entry.id)
                self._settle(entry, delivery, Outcome.DEAD, "internal error, see the log")
                return
            else:
                return

    async def _end_failed(self, entry: Entry, delivery: Delivery, error: BaseException) -> None:
        if isinstance(error, RejectedError):
            await self._rejected(entry, delivery, str(error))
        elif isinstance(error, UnknownOutcomeError):
            await self._unknown(entry, delivery, str(error))
        elif isinstance(error, BridgeError):
            await self._try_again(entry, delivery, error)
        else:
            log.error("confirmation_failed", entry=entry.id, exc_info=error)
            await self._unknown(entry, delivery, "internal error, see the log")

    async def _unknown(self, entry: Entry, delivery: Delivery, reason: str) -> None:
        network = self._networks.get(NetworkId(delivery.network))
        if network is not None and network.options.unknown is Unknown.RESEND:
            await self._try_again(entry, delivery, UnknownOutcomeError(reason))
            return
        delivery.request = None  # in doubt, whatever else happens to the lane: it must not look as if never tried
        log.warning("delivery_unknown", network=delivery.network, entry=entry.id, reason=reason)
        await self._status.failed(
            RoomId(entry.lane), _event_id(entry), delivery.network, reason, certain=False, change=_is_change(entry)
        )
        self._settle(entry, delivery, Outcome.REJECTED, f"unknown outcome: {reason}")

    async def _try_again(self, entry: Entry, delivery: Delivery, error: BridgeError) -> None:
        delivery.request = int(delivery.target)
        if delivery not in entry.deliveries:
            entry.deliveries = [delivery, *entry.deliveries]
        await self._unattempted([delivery])
        if self._lanes is not None:
            self._lanes.again(entry, error)

    async def postponed(self, entries: Sequence[Entry]) -> None:
        """Take back the attempts that were recorded for these and not made."""
        await self._unattempted([item for entry in entries for item in entry.deliveries if item.request is not None])

    async def _rejected(self, entry: Entry, delivery: Delivery, reason: str) -> None:
        await self._undo(entry, delivery)
        log.info("delivery_rejected", network=delivery.network, entry=entry.id, reason=reason)
        await self._status.failed(
            RoomId(entry.lane), _event_id(entry), delivery.network, reason, change=_is_change(entry)
        )
        self._settle(entry, delivery, Outcome.REJECTED, reason)

    async def _undo(self, entry: Entry, delivery: Delivery) -> None:
        """What the network refused is put back on Matrix, where that is possible."""
        kind = self._translation.kind(entry.event)
        portal = self._portals.by_id(int(delivery.target))
        if kind is None or kind.undo is None or portal is None:
            return
        try:
            await kind.undo(entry.event, portal)
        except (TransientError, RateLimitedError):
            # It is refused, not in doubt: tried once more it is refused again, and put back then.
            delivery.request = int(delivery.target)
            raise

    async def _unattempted(self, deliveries: Sequence[Delivery]) -> None:
        """These were not written: whoever finds them after a crash may try them without a doubt."""
        changed = [item for item in deliveries if item.state is DeliveryState.ATTEMPTED]
        for item in changed:
            item.state = DeliveryState.READY
        if changed:
            await self._journal.attempt(changed)

    async def _tell_outcomes(self, entry: Entry, delivery: Delivery, sent: Sent) -> None:
        for recipient, reason in sent.outcomes.items():
            about = f"{delivery.network} ({recipient})"
            await self._status.failed(RoomId(entry.lane), _event_id(entry), about, reason)

    def _delivered(self, entry: Entry, delivery: Delivery, portal: PortalRow, sent: Sent) -> None:
        event = _event_id(entry)
        # Without a remote id the event's own stands in, so that it is known as one that crossed.
        ids = sent.ids or (MessageId(f"~{event}"),)
        writes: tuple[Write, ...] = tuple(
            self._messages.write(
                portal.id, message, part, RoomId(entry.lane), event, entry.event["sender"], entry.received_at
            )
            for part, message in enumerate(ids)
        ) + self._carrying.writes(portal, entry.event, entry.received_at)
        self._copying.take(entry, portal)
        self._settle(entry, delivery, Outcome.DELIVERED, "", writes)
        if "state_key" in entry.event:
            kind = self._translation.kind(entry.event)
            if kind is not None and kind.taken is not None:
                self._tasks.start(kind.taken(entry.event, portal), "taken-by-the-network")

    def _settle(
        self, entry: Entry, delivery: Delivery, outcome: Outcome, reason: str, writes: tuple[Write, ...] = ()
    ) -> None:
        entry.deliveries = [other for other in entry.deliveries if other.id != delivery.id]
        entry.unsettled -= 1
        self._status.ended(entry.event, delivery.network, outcome, reason, delivery.attempts)
        portal = self._portals.by_id(int(delivery.target))
        if portal is not None and outcome is not Outcome.DEAD:
            writes += self._expiry.of_matrix(portal, entry.event)
        if entry.unsettled <= 0:
            writes += self._withdrawn.ended(entry.event)
        self._journal.settle(
            Settlement(
                entry.id,
                delivery.network,
                entry.direction,
                outcome,
                delivery.id,
                reason,
                writes,
                entry_done=entry.unsettled <= 0,
            )
        )

    async def abandon(self, entry: Entry, reason: str) -> None:
        """Keep what is left of the entry as dead letters, and tell the sender."""
        if isinstance(entry.event, Mapping) and entry.deliveries:
            await self._status.abandoned(
                RoomId(entry.lane), _event_id(entry), entry.network, reason, change=_is_change(entry)
            )
        if not entry.deliveries:
            self._journal.settle(Settlement(entry.id, entry.network, entry.direction, Outcome.DEAD, reason=reason))
        for delivery in list(entry.deliveries):
            self._settle(entry, delivery, Outcome.DEAD, reason)


def _is_change(entry: Entry) -> bool:
    """Whether it is no message but something that its sender wants changed: a kick, a topic, a power."""
    return "state_key" in entry.event


def _event_id(entry: Entry) -> EventId:
    event: Mapping[str, Any] = entry.event
    return EventId(event["event_id"])
