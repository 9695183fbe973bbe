"""Who may say what where: every check that a message passes on its way, in both directions."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.events import (
    Membership,
    RemoteEvent,
    RemoteInfo,
    RemoteJoinRequest,
    RemoteMember,
    RemotePower,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, LoginId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.api.matrix import MatrixOutgoing, MatrixSender
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.store_ports import PortalRow

_HARMLESS: Final = frozenset({Membership.LEAVE, Membership.KICK, Membership.BAN})
"""Who goes, goes: a room that still shows them would be wrong, and nobody is bothered."""


def harmless(event: RemoteEvent) -> bool:
    """Whether it is told whatever the checks say: that somebody went."""
    return isinstance(event, RemoteMember) and event.membership in _HARMLESS


class Check:
    """One rule; a subclass says no. It answers from memory at once, and when the answer is not known it holds.

    `outgoing` and `incoming` raise RejectedError in words for the sender and the admin, UnsupportedError to say so
    once only, or TransientError to hold the message for now.
    """

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """Whether what a Matrix user does in a portal's room may go to the network."""

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """Whether what a person of the network does in a chat may go to Matrix.

        None is for what the network says without naming anybody. The portal may have the number 0: it is not made yet.
        """

    def room(self, room: RoomId) -> str:
        """Why nothing may cross from and to this room; empty when it may. Raises TransientError to hold it for now."""
        return ""

    def new_chat(self, network: NetworkId, chat: ChatId) -> None:
        """Whether a chat may have a portal that it has not yet. Raises RejectedError in words."""

    def new_portal(self, user: UserId, network: NetworkId, chat: ChatId) -> None:
        """Whether a user may have a portal made for a chat. Raises RejectedError in words for them."""

    def spend(self, sender: MatrixSender, event: Mapping[str, Any], received_at: int) -> None:
        """Count an event of Matrix that may cross, once however often it is tried. Raises as `outgoing`."""

    async def carry(self, message: MatrixOutgoing, received_at: int) -> None:
        """Count the files of a message that may cross, as `spend`. Only called where there are any."""


class Gate:
    """All checks in order: the first that objects counts."""

    def __init__(self, portals: PortalIndex | None = None) -> None:
        self._portals = portals
        self._outgoing: tuple[Callable[[PortalRow, MatrixSender], None], ...] = ()
        self._incoming: tuple[Callable[[PortalRow, RemoteSender | None], None], ...] = ()
        self._rooms: tuple[Callable[[RoomId], str], ...] = ()
        self._checks: tuple[Check, ...] = ()
        self._spend: tuple[Callable[[MatrixSender, Mapping[str, Any], int], None], ...] = ()
        self._carry: tuple[Callable[[MatrixOutgoing, int], Awaitable[None]], ...] = ()

    def add(self, check: Check) -> None:
        """Ask this one too. Only what it decides costs anything."""
        self._checks = (*self._checks, check)
        kind = type(check)
        if kind.outgoing is not Check.outgoing:
            self._outgoing = (*self._outgoing, check.outgoing)
        if kind.incoming is not Check.incoming:
            self._incoming = (*self._incoming, check.incoming)
        if kind.room is not Check.room:
            self._rooms = (*self._rooms, check.room)
        if kind.spend is not Check.spend:
            self._spend = (*self._spend, check.spend)
        if kind.carry is not Check.carry:
            self._carry = (*self._carry, check.carry)

    def outgoing(self, portal: PortalRow, sender: MatrixSender, room: RoomId) -> None:
        """As `Check.outgoing`, for all of them, and for the room in which it was said."""
        if why := self.room(room):
            raise RejectedError(why)
        for check in self._outgoing:
            check(portal, sender)

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`, for all of them. Rooms are asked for one by one: a chat may have several."""
        for check in self._incoming:
            check(portal, sender)

    def new_chat(self, network: NetworkId, chat: ChatId) -> None:
        """As `Check.new_chat`, for all of them."""
        for check in self._checks:
            check.new_chat(network, chat)

    def new_portal(self, user: UserId, network: NetworkId, chat: ChatId) -> None:
        """As `Check.new_portal` and `Check.new_chat`, for all of them."""
        self.new_chat(network, chat)
        for check in self._checks:
            check.new_portal(user, network, chat)

    def spend(self, sender: MatrixSender, event: Mapping[str, Any], received_at: int) -> None:
        """As `Check.spend`, for all of them."""
        for count in self._spend:
            count(sender, event, received_at)

    async def carry(self, message: MatrixOutgoing, received_at: int) -> None:
        """As `Check.carry`, for all of them."""
        for count in self._carry:
            await count(message, received_at)

    def room(self, room: RoomId) -> str:
        """As `Check.room`: the first reason there is."""
        for check in self._rooms:
            if why := check(room):
                return why
        return ""

    def shut(self, room: RoomId) -> bool:
        """Whether nothing may cross there now: for what is worth nothing later."""
        try:
            return bool(self.room(room))
        except TransientError:
            return True

    def unmade(self, network: NetworkId, chat: ChatId, receiver: LoginId | None) -> None:
        """As `incoming` and `new_chat`, before a portal is made for a chat that begins on the network."""
        self.new_chat(network, chat)
        self.incoming(PortalRow(0, network, chat, receiver, ()), None)

    def event(self, network: NetworkId, event: RemoteEvent) -> None:
        """As `incoming`, for what does not come from a ghost that speaks: members, powers, descriptions."""
        match event:
            case _ if harmless(event):
                return
            case RemoteMember(by=by, member=member):
                who = by or member
            case RemoteJoinRequest(member=who):
                pass
            case RemoteInfo(by=who) | RemotePower(by=who):
                pass
            case _:
                return
        portal = self._portals.get(PortalKey(network, event.chat, event.receiver)) if self._portals else None
        if portal is not None:
            self.incoming(portal, who)
