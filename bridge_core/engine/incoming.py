"""Network -> Matrix: what a remote event becomes in the rooms of its portal."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.engine import botwords, requests
from bridge_core.engine.acts import Acts
from bridge_core.engine.conversion import Conversion, Elsewhere, NothingToDo
from bridge_core.engine.copies import stood_in
from bridge_core.engine.expiry import Expiry
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.lanes import Planned
from bridge_core.engine.lastlook import LastLook
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, NoDeviceError, PuppetGoneError, SendRequest
from bridge_core.engine.payload import decode
from bridge_core.engine.ports import Delivery, DeliveryState, Entry, Journal, Outcome, Settlement, Write
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.store_ports import ExpiringRow, KeyValues, Messages
from bridge_core.engine.threads import Threads

log = structlog.get_logger(__name__)

_NOT_AS_USER: Final = frozenset({"M_FORBIDDEN", "M_EXCLUSIVE", "M_USER_DEACTIVATED", "M_USER_LOCKED"})
"""Refusals that say something of the Matrix user and not of what is sent."""


class Incoming:
    """Handles the lanes towards Matrix."""

    def __init__(
        self,
        journal: Journal,
        matrix: MatrixSide,
        ghosts: GhostPool,
        messages: Messages,
        conversion: Conversion,
        look: LastLook,
        acts: Acts,
        threads: Threads,
        expiry: Expiry,
        kv: KeyValues,
        puppets: DoublePuppets,
        clock: Clock,
        faults: FaultPoints,
    ) -> None:
        self._journal = journal
        self._matrix = matrix
        self._ghosts = ghosts
        self._messages = messages
        self._conversion = conversion
        self._look = look
        self._acts = acts
        self._threads = threads
        self._expiry = expiry
        self._kv = kv
        self._puppets = puppets
        self._clock = clock
        self._faults = faults
        self._elsewhere: Elsewhere | None = None
        self._voiced: Callable[[RoomId, UserId], Awaitable[bool]] | None = None
        self._refused: Callable[[Entry, str], Awaitable[None]] | None = None

    async def plan(self, entries: Sequence[Entry]) -> list[Planned]:
        """Turn a prefix of the entries into final requests; one that refers to an earlier entry starts a new prefix."""
        plan: list[Planned] = []
        for entry in entries:
            if entry.deliveries:
                plan.append(Planned(entry, entry.deliveries, stored=True))
                continue
            try:
                if entry.event is None:
                    entry.event = decode(entry.payload, entry.version)
                if plan and self._conversion.looks_back(entry.event):
                    break
                made = await self._conversion.requests(entry)
            except RejectedError as error:
                made = [requests.refused(RoomId(""), str(error))]
            except NothingToDo as reason:
                plan.append(Planned(entry, ignored=str(reason)))
                continue
            except Exception:
                # Whatever it is, it concerns this entry alone: those before it go first, then it is the first.
                if plan:
                    break
                raise
            now = self._clock.now_ms()
            plan.append(
                Planned(
                    entry,
                    [
                        Delivery(
                            self._journal.new_delivery_id(),
                            entry.id,
                            entry.network,
                            entry.direction,
                            item.request.room,
                            DeliveryState.READY,
                            requests.encode(item),
                            first_attempt_at=now,
                            request=item,
                        )
                        for item in made
                    ],
                )
            )
        return plan

    async def perform(self, planned: Planned) -> None:
        """Send what was planned, part by part, and settle each."""
        entry = planned.entry
        if not planned.deliveries:
            self._journal.settle(
                Settlement(entry.id, entry.network, entry.direction, Outcome.IGNORED, reason=planned.ignored)
            )
            await self._conversion.finished(entry)
            return
        for delivery in list(planned.deliveries):
            item: requests.Prepared = delivery.request or requests.decode(delivery.body)
            request = item.request
            outcome, reason = Outcome.DELIVERED, ""
            writes: tuple[Write, ...] = ()
            try:
                if item.refused:
                    raise RejectedError(item.refused)
                await self._look.check(entry, request.room, item.portal)
                await self._look.anew(entry, item, request.room)
                event, room = await self._do(item, entry, delivery.first_attempt_at if planned.stored else 0)
            except RejectedError as error:
                outcome, reason = Outcome.REJECTED, str(error)
                if self._refused is not None:
                    await self._refused(entry, reason)
                log.warning("delivery_rejected", entry=entry.id, room=request.room, reason=reason)
            else:
                if item.thread and event is not None:
                    self._threads.said(room, EventId(item.thread), event)
                if item.message is not None and event is not None:
                    # Further ids are further parts, so that the first stays what the event is called by.
                    writes = tuple(
                        self._messages.write(
                            item.portal,
                            MessageId(message),
                            part,
                            room,
                            event,
                            item.remote_sender,
                            item.timestamp,
                        )
                        for part, message in enumerate((item.message, *item.also), start=item.part)
                        if message
                    )
                if item.expires and event is not None:
                    remover = self._matrix.bot if item.instead else request.sender
                    writes += (self._expiry.remember(ExpiringRow(room, event, remover, item.expires)),)
                if item.noted and event is not None:
                    writes += (botwords.noted(self._kv, item.noted, room, event, self._clock.now_ms()),)
            entry.deliveries = [other for other in entry.deliveries if other.id != delivery.id]
            entry.unsettled -= 1
            self._journal.settle(
                Settlement(
                    entry.id,
                    entry.network,
                    entry.direction,
                    outcome,
                    delivery.id,
                    reason,
                    writes,
                    entry_done=not entry.deliveries,
                )
            )
        await self._conversion.finished(entry)

    def tell(self, refused: Callable[[Entry, str], Awaitable[None]]) -> None:
        """Tell this of each delivery that is refused, and why, before that is stored."""
        self._refused = refused

    def give_voice(self, voiced: Callable[[RoomId, UserId], Awaitable[bool]]) -> None:
        """Ask this to let a ghost speak that a room forbids to; whether it may now."""
        self._voiced = voiced

    def look(self, elsewhere: Elsewhere) -> None:
        """Ask this where events go that their room refuses."""
        self._elsewhere = elsewhere
        self._look.look(elsewhere)

    async def _do(self, item: requests.Prepared, entry: Entry, first_attempt_at: int) -> tuple[EventId | None, RoomId]:
        """Do it; the event it became, if any, and the room it is in."""
        if item.act:
            self._faults.hit(f"act.{item.act}.before")
            await self._acts.perform(item.act, item.request)
            self._faults.hit(f"act.{item.act}.after")
            return None, item.request.room
        if item.already:
            return EventId(item.already), item.request.room
        self._faults.hit("matrix.before_send")
        request, network = item.request, NetworkId(entry.network)
        try:
            if item.instead:
                event = await self._as_user(item, network, first_attempt_at)
            else:
                event = await self._send(request, first_attempt_at)
        except MatrixRejectedError as error:
            if self._elsewhere is None or error.status not in (403, 404):
                raise
            room = await self._elsewhere(request.room)
            if room is None:
                raise
            self._look.room(room)
            await self._look.check(entry, room, item.portal)
            await self._look.anew(entry, item, room)
            # It was refused in the old room, and carries its id into the new one: said there, it is said once.
            request = replace(request, room=room)
            if item.copied and item.instead:
                request = await self._by_bot(replace(item, request=request))
            elif item.instead:
                sender = RemoteSender(RemoteUserId(item.instead), item.instead_name)
                ghost = await self._ghosts.ensure(network, sender)
                request = replace(request, sender=ghost.user, device=ghost.device)
            await self._ghosts.join(room, request.sender)
            event = await self._matrix.send(request, first_attempt_at)
        self._faults.hit("matrix.after_send")
        return event, request.room

    async def _as_user(self, item: requests.Prepared, network: NetworkId, first_attempt_at: int) -> EventId:
        """Send as the Matrix user, or, where the bridge cannot, as the ghost of the same person."""
        request = item.request
        try:
            await self._puppets.can(request.sender)  # an earlier process made the request
            return await self._matrix.send(request, first_attempt_at)
        except NoDeviceError:
            pass  # the room is encrypted, and who sees a device of theirs that they have not signed is warned
        except PuppetGoneError as error:
            await self._puppets.gone(request.sender, error)
        except MatrixRejectedError as error:
            if item.copied or error.errcode not in _NOT_AS_USER:
                raise  # whom a room does not let speak, the bot does not speak for
            log.info("double_puppet_could_not_send", user=request.sender, room=request.room, error=str(error))
        if item.copied:
            return await self._send(await self._by_bot(item), first_attempt_at)
        ghost = await self._ghosts.ensure(network, RemoteSender(RemoteUserId(item.instead), item.instead_name))
        await self._ghosts.join(request.room, ghost.user)
        return await self._send(replace(request, sender=ghost.user, device=ghost.device), first_attempt_at)

    async def _by_bot(self, item: requests.Prepared) -> SendRequest:
        bot, device = await self._conversion.bot()
        return stood_in(item, bot, device)

    async def _send(self, request: SendRequest, first_attempt_at: int) -> EventId:
        try:
            return await self._matrix.send(request, first_attempt_at)
        except MatrixRejectedError as error:
            if error.errcode == "M_UNKNOWN_DEVICE":
                await self._matrix.ensure_registered(request.sender)
            elif error.errcode == "M_FORBIDDEN" and request.sender != self._matrix.bot:
                # Kicked, or left while the bridge was away: what we knew of its membership is out of date.
                await self._ghosts.rejoin(request.room, request.sender)
            else:
                raise
        try:
            return await self._matrix.send(request, first_attempt_at)
        except MatrixRejectedError as error:
            if error.errcode != "M_FORBIDDEN" or self._voiced is None:
                raise
            if not await self._voiced(request.room, request.sender):
                raise
        return await self._matrix.send(request, first_attempt_at)

    async def postponed(self, entries: Sequence[Entry]) -> None:
        """Nothing to take back: a send towards Matrix may be tried any number of times."""

    async def abandon(self, entry: Entry, reason: str) -> None:
        """Keep what is left of the entry as dead letters."""
        open_deliveries = entry.deliveries
        if not open_deliveries:
            self._journal.settle(Settlement(entry.id, entry.network, entry.direction, Outcome.DEAD, reason=reason))
        for index, delivery in enumerate(open_deliveries, start=1):
            self._journal.settle(
                Settlement(
                    entry.id,
                    entry.network,
                    entry.direction,
                    Outcome.DEAD,
                    delivery.id,
                    reason,
                    entry_done=index == len(open_deliveries),
                )
            )
        entry.deliveries = []
