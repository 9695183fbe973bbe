"""The last look at what was planned for Matrix, right before each request: whether it may still be shown.

Between the plan and the request there may be a whole batch of others, or a homeserver that was away for days. What was
decided meanwhile (a stop, a refusal, an opt-out, a ban, a room that others may read now) counts for it too.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import (
    RemoteEdit,
    RemoteInfo,
    RemoteJoinRequest,
    RemoteMember,
    RemoteMessage,
    RemotePollEnd,
    RemotePower,
    RemoteReaction,
    RemoteReceipt,
    RemoteRedaction,
    RemoteVote,
)
from bridge_core.api.ids import NetworkId, PortalKey, RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.conversion import Elsewhere, NothingToDo
from bridge_core.engine.gate import Gate, harmless
from bridge_core.engine.payload import RoomCopy, decode
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.precedence import is_past
from bridge_core.engine.requests import Prepared
from bridge_core.engine.roomrules import rules_of
from bridge_core.engine.store_ports import PortalRow
from bridge_core.engine.translation import redacted_by

_SAID: Final = frozenset(
    {RemoteMessage, RemoteEdit, RemoteRedaction, RemoteReaction, RemoteVote, RemotePollEnd, RemoteReceipt}
)
"""What somebody of the network does."""
_TOLD: Final = frozenset({RemoteInfo, RemotePower, RemoteMember, RemoteJoinRequest})
"""What the network tells of a chat. All else is the bridge's own word, or the end of a chat, which must be told."""


CheckPast = Callable[[Entry, Any, RoomId], Awaitable[None]]
"""Whether an event of the past may be shown in a room. Raises NothingToDo when it may not."""
NOT_BRIDGED: Final = "this room is not bridged any more"


class LastLook:
    """Asks the gate once more, then whoever else has a say. From memory, unless an answer is not known."""

    def __init__(self, gate: Gate, portals: PortalIndex) -> None:
        self._gate = gate
        self._portals = portals
        self._further: tuple[Callable[[Entry, RoomId], Awaitable[None]], ...] = ()
        self._past: CheckPast | None = None
        self._read: Callable[[RoomId, int], Awaitable[str]] | None = None
        self._elsewhere: Elsewhere | None = None
        self._rest: Callable[[PortalRow, RoomId, str, int], Awaitable[str]] | None = None

    def also(self, guard: Callable[[Entry, RoomId], Awaitable[None]]) -> None:
        """Ask this as well: it raises TransientError to hold a request, RejectedError to refuse it."""
        self._further = (*self._further, guard)

    def guard_past(self, check: CheckPast) -> None:
        """As `Conversion.guard_past`, for each room."""
        self._past = check

    def guard_audience(self, read: Callable[[RoomId, int], Awaitable[str]]) -> None:
        """As `Conversion.guard_audience`."""
        self._read = read

    def guard_rests(self, against: Callable[[PortalRow, RoomId, str, int], Awaitable[str]]) -> None:
        """Ask this why what stays of a message that was taken back may not be said anew (see `Takebacks.against`)."""
        self._rest = against

    def look(self, elsewhere: Elsewhere) -> None:
        """Ask this where a chat is whose room is not its own any more."""
        self._elsewhere = elsewhere

    def room(self, room: RoomId) -> None:
        """Whether anything may cross into a room. Raises RejectedError."""
        if why := self._gate.room(room):
            raise RejectedError(why)

    async def check(self, entry: Entry, room: RoomId, portal: int = 0) -> None:
        """Whether what an entry became may be shown in a room now. `portal` is its number, where that is known.

        Raises RejectedError when it may not, and what the Matrix side raises: it is held while that is not known.
        The hot path: what is said waits for nothing here, unless it was said to some people only or is of the past.
        """
        event = entry.event
        if event is None:
            event = entry.event = decode(entry.payload, entry.version)
        kind = type(event)
        if kind in _SAID:
            row = self._said(entry, event, room, portal)
            if room not in row.rooms:
                await self._elsewhere_too(room)
            if kind is RemoteMessage and event.least_power is not None:
                await self._for_some(room, event.least_power)
            if self._past is not None and is_past(entry.lane):
                await self._of_past(self._past, entry, event, room)
        elif kind is RoomCopy:
            await self._copied(event, room)
        elif kind in _TOLD and not harmless(event):
            self._gate.event(NetworkId(entry.network), event)
            self.room(room)
        for guard in self._further:
            await guard(entry, room)

    async def anew(self, entry: Entry, item: Prepared, room: RoomId) -> None:
        """Whether what stays of a message that is taken back may be said in a room now. All else passes at once.

        Raises RejectedError when it may not, and what the Matrix side raises.
        """
        if item.message is None or type(entry.event) is not RemoteRedaction:
            return
        portal = self._portals.by_id(item.portal)
        if portal is None or self._rest is None:
            raise RejectedError(NOT_BRIDGED)
        if why := await self._rest(portal, room, item.remote_sender, item.timestamp):
            raise RejectedError(why)

    def _said(self, entry: Entry, event: Any, room: RoomId, number: int) -> PortalRow:
        if number:
            portal = self._portals.by_id(number)
        else:
            portal = self._portals.meant(PortalKey(NetworkId(entry.network), event.chat, event.receiver), entry.id)
        if portal is None:
            raise RejectedError(NOT_BRIDGED)
        self._gate.incoming(portal, event.sender)
        self.room(room)
        return portal

    async def _copied(self, copy: RoomCopy, room: RoomId) -> None:
        """What a Matrix user said in another room of the chat."""
        portal = self._portals.by_id(copy.portal)
        if portal is None:
            raise RejectedError(NOT_BRIDGED)
        event = orjson.loads(copy.event)
        sender = UserId(event["sender"])
        self._gate.outgoing(portal, MatrixSender(sender, sender, None), room)
        for one in (copy.room, room):
            if one not in portal.rooms:
                await self._elsewhere_too(one)
            if redacted_by(event) is None and not rules_of(portal, one).copies:
                raise RejectedError("the admins of one of the rooms want no copies")

    async def _elsewhere_too(self, room: RoomId) -> None:
        """A room that went on as another one says where; one that is simply unbridged does not."""
        if self._elsewhere is None or await self._elsewhere(room) is None:
            raise RejectedError(NOT_BRIDGED)

    async def _for_some(self, room: RoomId, least: int) -> None:
        why = await self._read(room, least) if self._read is not None else "it is for some people of the chat only"
        if why:
            raise RejectedError(why)

    async def _of_past(self, check: CheckPast, entry: Entry, event: Any, room: RoomId) -> None:
        try:
            await check(entry, event, room)
        except NothingToDo as reason:
            raise RejectedError(str(reason)) from reason
