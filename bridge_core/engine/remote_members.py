"""Who comes and goes on the network: what it becomes in the rooms of the chat."""

import asyncio
from typing import Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Membership, RemoteMember, RemoteMembers, RemoteSender
from bridge_core.api.ids import NetworkId, PortalKey, RoomId, UserId
from bridge_core.engine.acts import Acts
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide, SendRequest
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.own_members import OwnMemberships, nothing, reason_of, said_by, shared
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.requests import Prepared
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import MemberWish, PortalRow, Wish
from bridge_core.engine.wishes import Wishes

log = structlog.get_logger(__name__)

EAGER: Final = "members"
"""Option of a portal that replaces the network's `members`: `eager` or `lazy`."""
_AT_ONCE: Final = 500
"""People of a list that are looked at before others have their turn."""


class RemoteMemberships:
    """Converts RemoteMember and RemoteMembers. What may wait becomes a wish; what must keep its place among the
    messages (kicks, bans, invitations) becomes an act."""

    def __init__(
        self,
        names: Names,
        networks: Networks,
        portals: PortalIndex,
        ghosts: GhostPool,
        own: OwnMemberships,
        matrix: MatrixSide,
        wishes: Wishes,
        gate: Gate,
        status: Status,
    ) -> None:
        self._names = names
        self._networks = networks
        self._portals = portals
        self._ghosts = ghosts
        self._own = own
        self._matrix = matrix
        self._wishes = wishes
        self._gate = gate
        self._status = status

    def add_to(self, conversion: Conversion, acts: Acts) -> None:
        """Take part in what comes from networks."""
        conversion.add(RemoteMember, self._member)
        conversion.add(RemoteMembers, self._everybody)
        for kind, act in (
            ("leave", self._leave),
            ("kick", self._kick),
            ("ban", self._ban),
            ("unban", self._unban),
            ("invite", self._invite),
            ("knock", self._knock),
        ):
            acts.add(kind, act)
        self._own.add_to(acts)

    def eager(self, portal: PortalRow) -> bool:
        """Whether everybody of the chat is to be in its rooms, and not only who speaks."""
        chosen = portal.options.get(EAGER)
        if chosen is not None:
            return bool(chosen == "eager")
        network = self._networks.get(portal.network)
        return network is not None and network.options.eager_in.get(portal.chat, network.options.eager)

    async def _member(self, entry: Entry, event: RemoteMember) -> list[Prepared]:
        network = self._networks.get(NetworkId(entry.network))
        if network is None:
            raise NothingToDo("the network is not configured any more")
        key = PortalKey(network.id, event.chat, event.receiver)
        portal = self._portals.get(key)
        if event.member.login is not None:
            return await self._own.requests(entry, event, network, portal)
        if portal is None or not portal.rooms:
            raise NothingToDo("this chat has no room yet")
        if event.membership in (Membership.JOIN, Membership.INVITE, Membership.KNOCK):
            self._gate.incoming(portal, event.member)
        ghost = self._names.ghost(network.id, event.member.id)
        match event.membership:
            case Membership.JOIN:
                return await self._came(entry, portal, event.member, ghost)
            case Membership.LEAVE:
                return await self._went(entry, portal, event, ghost, network)
            case Membership.INVITE if not self.eager(portal):
                raise NothingToDo("who is invited there is not shown before they speak")
            case Membership.KICK:
                there = [room for room in portal.rooms if await self._ghosts.knows(room, ghost)]
                for room in portal.rooms:
                    self._wishes.goes(self._wish(portal, room, event.member, ghost, Wish.LEAVE))
                return self._own.acts("kick", there, ghost, reason_of(event)) or nothing(
                    "they are in none of its rooms"
                )
            case Membership.BAN:
                await self._ghosts.ensure(network.id, event.member)  # so that who lifts it on Matrix means somebody
                for room in portal.rooms:
                    self._wishes.goes(self._wish(portal, room, event.member, ghost, Wish.LEAVE))
                return self._own.acts("ban", portal.rooms, ghost, reason_of(event))
            case Membership.UNBAN:
                return self._own.acts("unban", portal.rooms, ghost, None)
            case Membership.KNOCK:
                await self._ghosts.ensure(network.id, event.member)
                return self._own.acts("knock", portal.rooms, ghost, event.reason)
            case Membership.INVITE:
                await self._ghosts.ensure(network.id, event.member)
                rooms = [room for room in portal.rooms if not await self._ghosts.knows(room, ghost)]
                return self._own.acts("invite", rooms, ghost, reason_of(event)) or nothing("they are there already")

    async def _came(self, entry: Entry, portal: PortalRow, member: RemoteSender, ghost: UserId) -> list[Prepared]:
        asked = 0
        for room in portal.rooms:
            # Who was invited from Matrix is about to be taken out again, and comes instead.
            awaited = self._wishes.stays(room, ghost)
            if (awaited or self.eager(portal)) and not await self._ghosts.knows(room, ghost):
                self._wishes.put(self._wish(portal, room, member, ghost, Wish.JOIN, entry.received_at))
                asked += 1
        raise NothingToDo("joins beside the messages" if asked else "nothing to show before they speak")

    async def _went(
        self, entry: Entry, portal: PortalRow, event: RemoteMember, ghost: UserId, network: Network
    ) -> list[Prepared]:
        there = []
        for room in portal.rooms:
            if not await self._ghosts.knows(room, ghost):
                self._comes_not(portal, room, event.member, ghost)
            elif not shared(self._portals, portal, room):
                there.append(room)
        if not there:
            raise NothingToDo("they are in none of its rooms")
        if network.options.leave_grace <= 0:
            for room in there:  # who has spoken is there before it is their turn to come
                self._comes_not(portal, room, event.member, ghost)
            return self._own.acts("leave", there, ghost, event.reason)
        due = entry.received_at + int(network.options.leave_grace * 1000)
        for room in there:
            self._ghosts.leaves(self._wish(portal, room, event.member, ghost, Wish.LEAVE, due))
        raise NothingToDo("leaves after a while, unless they return")

    def _comes_not(self, portal: PortalRow, room: RoomId, member: RemoteSender, ghost: UserId) -> None:
        """Whoever is perhaps still to come does not. Costs nothing in a room where nobody is awaited."""
        if self.eager(portal) or self._wishes.moving(room, ghost):
            self._wishes.goes(self._wish(portal, room, member, ghost, Wish.LEAVE))

    async def _everybody(self, entry: Entry, event: RemoteMembers) -> list[Prepared]:
        network = self._networks.get(NetworkId(entry.network))
        portal = self._portals.get(PortalKey(NetworkId(entry.network), event.chat, event.receiver))
        if network is None or portal is None or not portal.rooms:
            raise NothingToDo("this chat has no room yet")
        joins, leaves = await self.compare(portal, event.members, entry.received_at)
        raise NothingToDo(f"the list differed by {joins + leaves}" if joins + leaves else "the list was right")

    async def compare(self, portal: PortalRow, members: tuple[RemoteSender, ...], now: int) -> tuple[int, int]:
        """Wish for the difference between a chat's list of members and its rooms; how many joins and leaves.

        Raises TransientError.
        """
        network = self._networks.get(portal.network)
        grace = int(network.options.leave_grace * 1000) if network is not None else 0
        present: dict[UserId, RemoteSender] = {}
        for number, member in enumerate(members, 1):
            if member.login is None:
                present[self._names.ghost(portal.network, member.id)] = member
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        joins = leaves = 0
        for room in portal.rooms:
            wished = await self._wishes.of_room(room)
            there = set(await self._ghosts.known(room))
            for number, (user, member) in enumerate(present.items(), 1):
                wish = wished.get(user)
                if wish is not None and wish.wish is Wish.LEAVE:
                    self._wishes.remains(wish)
                if user not in there and self.eager(portal) and (wish is None or wish.wish is Wish.LEAVE):
                    self._wishes.put(self._wish(portal, room, member, user, Wish.JOIN, now))
                    joins += 1
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            for user, wish in wished.items():
                if wish.wish is Wish.JOIN and wish.network == portal.network and user not in present:
                    self._wishes.goes(wish)
            if shared(self._portals, portal, room):
                continue
            for user in there:
                is_leaving = user in wished and wished[user].wish is Wish.LEAVE
                if user in present or is_leaving or not self._names.is_ghost_of(user, portal.network):
                    continue
                gone = await self._ghosts.by_user(user)
                if gone is not None:
                    sender = RemoteSender(gone.remote, gone.name)
                    self._ghosts.leaves(self._wish(portal, room, sender, user, Wish.LEAVE, now + grace))
                    leaves += 1
        return joins, leaves

    async def expect_nobody(self, portal: PortalRow) -> None:
        """Who was still to come without having spoken does not come. Raises TransientError."""
        for room in portal.rooms:
            for wish in (await self._wishes.of_room(room)).values():
                if wish.wish is Wish.JOIN and wish.network == portal.network:
                    self._wishes.goes(wish)

    def _wish(
        self, portal: PortalRow, room: RoomId, member: RemoteSender, ghost: UserId, wish: Wish, due: int = 0
    ) -> MemberWish:
        return MemberWish(room, ghost, wish, due, portal.network, member.id, member.name)

    async def _leave(self, request: SendRequest) -> None:
        user = UserId(request.type)
        await self._matrix.leave(request.room, user, said_by(request).get("reason"))
        await self._ghosts.left(request.room, user)

    async def _kick(self, request: SendRequest) -> None:
        await self._remove(request, ban=False)

    async def _ban(self, request: SendRequest) -> None:
        await self._remove(request, ban=True)

    async def _remove(self, request: SendRequest, *, ban: bool) -> None:
        user, reason = UserId(request.type), said_by(request).get("reason")
        try:
            await (self._matrix.ban if ban else self._matrix.kick)(request.room, user, reason)
        except MatrixRejectedError:
            if not self._names.is_ours(user):
                raise
            # The bot has not the power for it here; the ghost is gone all the same.
            await self._matrix.leave(request.room, user, reason)
        if self._names.is_ours(user):
            await self._ghosts.left(request.room, user)

    async def _unban(self, request: SendRequest) -> None:
        await self._matrix.unban(request.room, UserId(request.type))

    async def _invite(self, request: SendRequest) -> None:
        await self._matrix.invite(request.room, UserId(request.type))

    async def _knock(self, request: SendRequest) -> None:
        user, reason = UserId(request.type), said_by(request).get("reason")
        try:
            await self._matrix.knock(request.room, user, reason)
        except MatrixRejectedError as error:
            ghost = await self._ghosts.by_user(user)
            name = (ghost.name or ghost.remote) if ghost is not None else user
            why = f": {reason}" if reason else ""
            text = f"{name} ({user}) asks to be let in{why}. Invite them if you agree."
            await self._status.say(request.room, text, key=f"knock\x1f{request.room}\x1f{user}\x1f{reason}")
            raise RejectedError(f"{user} cannot knock here, so the room was told: {error}") from error
