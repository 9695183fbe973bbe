"""Users of Matrix who come and go on the network by their own connections: what it becomes in the rooms of the chat."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Membership, RemoteMember
from bridge_core.api.ids import RoomId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine import requests
from bridge_core.engine.acts import Acts
from bridge_core.engine.conversion import NothingToDo
from bridge_core.engine.gate import Gate
from bridge_core.engine.matrix_ports import MatrixSide, PuppetGoneError, SendRequest
from bridge_core.engine.networks import Network
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import PortalIndex, plumbed_by
from bridge_core.engine.ports import Entry
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.requests import Prepared
from bridge_core.engine.rooms import RoomMaker
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

_LONGEST_REASON: Final = 1000


class OwnMemberships:
    """Converts RemoteMember where it is about a login of ours."""

    def __init__(
        self,
        portals: PortalIndex,
        rooms: RoomMaker,
        matrix: MatrixSide,
        gate: Gate,
        status: Status,
        puppets: DoublePuppets,
        permissions: Permissions,
    ) -> None:
        self._portals = portals
        self._rooms = rooms
        self._matrix = matrix
        self._gate = gate
        self._status = status
        self._puppets = puppets
        self._permissions = permissions

    def add_to(self, acts: Acts) -> None:
        """Take part in what is brought about."""
        acts.add("join_as_user", self._join_as_user)
        acts.add("leave_as_user", self._leave_as_user)

    async def requests(
        self, entry: Entry, event: RemoteMember, network: Network, portal: PortalRow | None
    ) -> list[Prepared]:
        """What it becomes when a network tells of one of our own logins. Raises NothingToDo, RejectedError, and as the
        Matrix side does."""
        login = network.login_of(event.member.login) if event.member.login is not None else None
        if login is None:
            raise NothingToDo("that login is not known")
        user = login.user
        if event.membership in (Membership.JOIN, Membership.INVITE):
            return await self._let_in(entry, event, network, portal, user)
        if portal is None or not portal.rooms:
            raise NothingToDo("this chat has no room yet")
        if event.membership is Membership.KNOCK:
            raise NothingToDo("the network is asked already")
        if event.membership is Membership.LEAVE and await self._puppets.can(user):
            left = [room for room in portal.rooms if not shared(self._portals, portal, room)]
            there = [room for room in left if await self._puppets.inside(room, user)]
            return self.acts("leave_as_user", there, user, event.reason) or nothing("they are in none of its rooms")
        if network.options.follow_removals:
            kind = {Membership.BAN: "ban", Membership.UNBAN: "unban"}.get(event.membership, "kick")
            return self.acts(kind, portal.rooms, user, reason_of(event))
        if event.membership is Membership.LEAVE:
            raise NothingToDo("who leaves the chat elsewhere stays in the room")
        done = {Membership.KICK: "kicked from", Membership.BAN: "banned from", Membership.UNBAN: "let back into"}
        reason = f": {said}" if (said := reason_of(event)) else ""
        for room in portal.rooms:
            text = f"{user} was {done[event.membership]} {portal.name or portal.chat} on {network.meta.name}{reason}"
            await self._status.say(room, text, key=f"member\x1f{entry.id}.{entry.received_at}\x1f{room}")
        raise NothingToDo("the room was told")

    async def _let_in(
        self, entry: Entry, event: RemoteMember, network: Network, portal: PortalRow | None, user: UserId
    ) -> list[Prepared]:
        """A user of Matrix is in a chat, or invited to it: the rooms that the bridge made for it let them in.

        Who may enter a room that was there before is for its own people to say: they are told.
        """
        if self._permissions.of(user) < Permission.USER:
            raise RejectedError("that user may not use this bridge")
        if portal is None and event.receiver is not None:
            portal = await self._portals.ensure(network.id, event.chat, event.receiver)
        if portal is None:
            raise NothingToDo("no portal for this chat")
        who = MatrixSender(user, user, None)
        for room in portal.rooms or (RoomId(""),):
            self._gate.outgoing(portal, who, room)  # whether they take part at all
        rooms = portal.rooms or (await self._rooms.ensure(portal),)
        portal = self._portals.by_id(portal.id) or portal
        out = [room for room in rooms if not await self._puppets.inside(room, user)]
        mine = [room for room in out if plumbed_by(portal, room) is None]
        for room in out:
            if room not in mine and event.membership is Membership.INVITE:
                by = f" by {event.by.name or event.by.id}" if event.by is not None else ""
                text = f"{user} was invited{by} to {portal.name or portal.chat} on {network.meta.name}"
                text += ", but not to this room: who may invite people here can do so."
                await self._status.say(room, text, key=f"invited\x1f{entry.id}.{entry.received_at}\x1f{room}")
        if out and not mine:
            raise NothingToDo("the bridge invites nobody to a room that it did not make")
        if event.membership is Membership.JOIN and mine and await self._puppets.can(user):
            return self.acts("join_as_user", mine, user, None)
        return self.acts("invite", mine, user, event.reason) or nothing("they are there already")

    def acts(
        self, kind: str, rooms: tuple[RoomId, ...] | list[RoomId], user: UserId, reason: str | None
    ) -> list[Prepared]:
        """The bot, or whom the act speaks for, does this to a user in each of these rooms."""
        content = {"reason": reason[:_LONGEST_REASON]} if reason else {}
        return [requests.act(kind, room, self._matrix.bot, content, subject=user) for room in rooms]

    async def _join_as_user(self, request: SendRequest) -> None:
        """They join by themselves what they joined elsewhere; where that is not possible they are invited."""
        room, user = request.room, UserId(request.type)
        if await self._puppets.can(user):
            self._puppets.did(room, user, "join")
            try:
                await self._matrix.invite(room, user)
                await self._matrix.join(room, user)
            except PuppetGoneError as error:
                await self._puppets.gone(user, error)
            except RejectedError as error:
                log.info("double_puppet_not_in_room", user=user, room=room, error=str(error))
            else:
                return
            self._puppets.undid(room, user)
        await self._matrix.invite(room, user)

    async def _leave_as_user(self, request: SendRequest) -> None:
        room, user = request.room, UserId(request.type)
        if not await self._puppets.can(user):
            raise RejectedError("the bridge cannot act as this user any more")
        self._puppets.did(room, user, "leave")
        try:
            await self._matrix.leave(room, user, said_by(request).get("reason"))
        except RejectedError as error:
            self._puppets.undid(room, user)
            if isinstance(error, PuppetGoneError):
                await self._puppets.gone(user, error)
            raise


def shared(portals: PortalIndex, portal: PortalRow, room: RoomId) -> bool:
    """Whether another chat of the network is in the room too: who left one of them may be in the other."""
    return sum(one.network == portal.network for one in portals.in_room(room)) > 1


def nothing(reason: str) -> list[Prepared]:
    """Ends in NothingToDo."""
    raise NothingToDo(reason)


def reason_of(event: RemoteMember) -> str | None:
    """Who did it, and why."""
    by = event.by.name or event.by.id if event.by is not None and event.by.id != event.member.id else None
    return ": ".join(part for part in (by, event.reason) if part) or None


def said_by(request: SendRequest) -> Mapping[str, Any]:
    """The content of an act."""
    content = orjson.loads(request.body)
    return content if isinstance(content, dict) else {}
