"""What a network tells of messages later: read, got, delayed, lost."""

from typing import Final

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import Fate, RemoteReceipt, RemoteSender, RemoteStatus
from bridge_core.api.host import Clock
from bridge_core.api.ids import ChatId, EventId, LoginId, MessageId, NetworkId, PortalKey, RemoteUserId, UserId
from bridge_core.engine import requests
from bridge_core.engine.acts import Acts
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, PuppetGoneError, SendRequest
from bridge_core.engine.names import Names
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.requests import Prepared
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import GhostRow, MessageRow, Messages, PortalRow

ACT: Final = "receipt"
"""The act of moving one of our users' read receipt to the event that is the request's `type`."""
OWN: Final = "read_as_user"
"""The act of moving a Matrix user's own read receipt and read marker to the event that is the request's `type`."""

_OVERTAKEN: Final = 10_000
"""Milliseconds for which a bad fate waits for the message that it is about."""


class Receipts:
    """Shows what was read as read receipts of ghosts, and tells senders what became of their messages."""

    def __init__(
        self,
        names: Names,
        portals: PortalIndex,
        ghosts: GhostPool,
        messages: Messages,
        gate: Gate,
        matrix: MatrixSide,
        status: Status,
        puppets: DoublePuppets,
        clock: Clock,
    ) -> None:
        self._names = names
        self._portals = portals
        self._ghosts = ghosts
        self._messages = messages
        self._gate = gate
        self._matrix = matrix
        self._status = status
        self._puppets = puppets
        self._clock = clock

    def add_to(self, conversion: Conversion, acts: Acts) -> None:
        """Take part in both."""
        conversion.add(RemoteReceipt, self._receipt, refers=True)
        conversion.add(RemoteStatus, self._fate, refers=True)
        acts.add(ACT, self._read)
        acts.add(OWN, self._read_as_user)

    async def _read(self, request: SendRequest) -> None:
        await self._matrix.read(request.room, request.sender, EventId(request.type))

    async def _read_as_user(self, request: SendRequest) -> None:
        if not await self._puppets.can(request.sender):
            raise RejectedError("the bridge cannot act as this user any more")
        try:
            await self._matrix.read_all(request.room, request.sender, EventId(request.type))
        except PuppetGoneError as error:
            await self._puppets.gone(request.sender, error)
            raise

    async def _receipt(self, entry: Entry, event: RemoteReceipt) -> list[Prepared]:
        portal = self._portal(entry, event.chat, event.receiver)
        rows = await self._rows(portal, event.target)
        if event.sender.login is not None:
            return await self._own(portal, rows, event)
        if event.delivered_only:
            return await self._delivered(portal, rows, event.sender)
        return await self._seen(portal, rows, event.sender)

    async def _own(self, portal: PortalRow, rows: list[MessageRow], event: RemoteReceipt) -> list[Prepared]:
        """A Matrix user has read it elsewhere: so they have here, where the bridge may act as them."""
        user = await self._puppets.of(portal, event.sender) if not event.delivered_only else None
        if user is None:
            raise NothingToDo("read by the Matrix user elsewhere")
        last = {row.room: row for row in rows}
        return [requests.act(OWN, room, user, {}, subject=last[room].event) for room in portal.rooms if room in last]

    async def _fate(self, entry: Entry, event: RemoteStatus) -> list[Prepared]:
        portal = self._portal(entry, event.chat, event.receiver)
        try:
            rows = await self._rows(portal, event.target)
        except NothingToDo:
            if event.fate in {Fate.FAILED, Fate.DELAYED} and self._clock.now_ms() - entry.received_at < _OVERTAKEN:
                # A network can be quicker than the commit that says which event became that message.
                raise TransientError("it is about a message whose sending is not committed yet") from None
            raise
        person = RemoteSender(event.recipient) if event.recipient is not None else None
        if event.fate is Fate.READ and person is not None:
            self._gate.incoming(portal, person)
            await self._arrived(portal, rows, person)
            return await self._seen(portal, rows, person)
        if event.fate in {Fate.READ, Fate.DELIVERED}:
            return await self._delivered(portal, rows, person)
        # Only who said something is told what became of it, and only on Matrix: the network has ways of its own.
        said = {row.room: row for row in rows if row.sender.startswith("@")}
        for row in said.values():
            await self._tell(portal, row, event)
        raise NothingToDo("the sender was told" if said else "it is about a message of the network's own")

    async def _tell(self, portal: PortalRow, row: MessageRow, event: RemoteStatus) -> None:
        why = event.reason or "no reason given"
        to = f"{event.recipient}: " if event.recipient is not None else ""
        if event.fate is Fate.FAILED:
            await self._status.failed(row.room, row.event, portal.network, f"{to}{why}")
            return
        text = f"\u23f3 Your message to {portal.network} is delayed: {to}{why}"
        key = f"delayed\x1f{row.event}\x1f{portal.network}\x1f{event.recipient or ''}"
        await self._status.say(row.room, text, about=row.event, key=key)

    async def _delivered(
        self, portal: PortalRow, rows: list[MessageRow], person: RemoteSender | None
    ) -> list[Prepared]:
        if person is not None:
            self._gate.incoming(portal, person)
        await self._arrived(portal, rows, person)
        raise NothingToDo("it has arrived")

    async def _arrived(self, portal: PortalRow, rows: list[MessageRow], person: RemoteSender | None) -> None:
        """Whoever said it on Matrix is shown at whom it has arrived."""
        for row in {row.room: row for row in rows if row.sender.startswith("@")}.values():
            if self._gate.room(row.room):
                continue
            users: list[UserId] = []
            if person is not None:
                users = [self._names.ghost(NetworkId(portal.network), person.id)]
            elif portal.receiver is not None:  # nobody is named: it is the other half of the private chat
                own = self._names.ghost(NetworkId(portal.network), RemoteUserId(portal.receiver))
                known = await self._ghosts.known(row.room)
                users = [user for user in known if self._names.is_ghost_of(user, portal.network) and user != own]
            await self._status.arrived(row.room, row.event, portal.network, users)

    async def _seen(self, portal: PortalRow, rows: list[MessageRow], person: RemoteSender) -> list[Prepared]:
        self._gate.incoming(portal, person)
        ghost = await self._reader(portal, person)
        if ghost is None:
            raise NothingToDo("read by somebody without a ghost")
        last = {row.room: row for row in rows}  # by part: the last one counts
        made = []
        for room in portal.rooms:
            if room not in last or self._gate.room(room):
                continue
            if portal.receiver is not None and not self._ghosts.in_room(room, ghost.user):
                try:
                    await self._ghosts.join(room, ghost.user)
                except MatrixRejectedError:
                    continue  # the chat's other rooms may have them
            if await self._ghosts.is_in(room, ghost.user):
                made.append(requests.act(ACT, room, UserId(ghost.user), {}, subject=last[room].event))
        if not made:
            raise NothingToDo("read by somebody who is not in the room")
        return made

    async def _reader(self, portal: PortalRow, person: RemoteSender) -> GhostRow | None:
        """The ghost of who read. In a group nobody gets one for having read; the other half of a private chat does."""
        network = NetworkId(portal.network)
        ghost = await self._ghosts.existing(network, person.id)
        if ghost is None and portal.receiver is not None:
            ghost = await self._ghosts.ensure(network, person)
        return ghost

    def _portal(self, entry: Entry, chat: ChatId, receiver: LoginId | None) -> PortalRow:
        portal = self._portals.get(PortalKey(NetworkId(entry.network), chat, receiver))
        if portal is None or not portal.rooms:
            raise NothingToDo("nobody reads this chat yet")
        return portal

    async def _rows(self, portal: PortalRow, target: MessageId) -> list[MessageRow]:
        rows = await self._messages.by_message(portal.id, target)
        if not rows:
            raise NothingToDo("it refers to a message that is not known")
        return rows
