"""Who comes and goes on Matrix: what the network is told, and what is put back when it will not have it."""

from collections.abc import Mapping
from typing import Any, Final, cast

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.events import Membership
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.api.matrix import MatrixMember, MatrixSender
from bridge_core.api.network import Client
from bridge_core.api.optional import EntersChats, Knocks
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.handover import HandOver
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Network, Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.puppets import DoublePuppets
from bridge_core.engine.roomevents import RoomEvents
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import MemberWish, PortalRow, Wish
from bridge_core.engine.translation import Kind, Translation, timestamp_of
from bridge_core.engine.wishes import Wishes

log = structlog.get_logger(__name__)

_IN: Final = frozenset({"join", "invite", "knock"})
_INVITED: Final = 7 * 86_400_000
"""Milliseconds after which an invitation that nobody followed is taken back."""
_BACK: Final[Mapping[Membership, Wish]] = {
    Membership.INVITE: Wish.LEAVE,
    Membership.KICK: Wish.JOIN,
    Membership.BAN: Wish.RETURN,
    Membership.UNBAN: Wish.BAN,
}
"""What makes a refused change undone."""


class MatrixMemberships:
    """Kicks, bans and invitations of ghosts go to the network as moderation, a user's own comings and goings to the
    client of their login."""

    def __init__(
        self,
        names: Names,
        networks: Networks,
        portals: PortalIndex,
        ghosts: GhostPool,
        members: Members,
        matrix: MatrixSide,
        wishes: Wishes,
        gate: Gate,
        permissions: Permissions,
        status: Status,
        puppets: DoublePuppets,
        clock: Clock,
    ) -> None:
        self._names = names
        self._networks = networks
        self._portals = portals
        self._ghosts = ghosts
        self._members = members
        self._matrix = matrix
        self._wishes = wishes
        self._gate = gate
        self._permissions = permissions
        self._status = status
        self._puppets = puppets
        self._clock = clock
        self._hand_over = HandOver()
        self._enter: dict[type[Client], bool] = {}

    def add_to(self, translation: Translation, room_events: RoomEvents) -> None:
        """Take part in what comes from Matrix."""
        kind = Kind(
            self._moderation,
            state=True,
            wants=MatrixMember,
            concerns=lambda event: self._change(event) is not None,
            reaches=self._reaches,
            undo=self._put_back,
        )
        translation.add("m.room.member", kind)
        room_events.on("m.room.member", self._comes_and_goes)

    def decides(self, room: RoomId, user: UserId) -> bool:
        """Whether a ghost's network says if it may be in the room, so that an invitation alone is not enough."""
        for portal in self._portals.in_room(room):
            network = self._networks.get(portal.network)
            if network is not None and network.main is not None and self._names.is_ghost_of(user, network.id):
                return self._hand_over.takes(network.main, MatrixMember)
        return False

    def _change(self, event: Mapping[str, Any]) -> Membership | None:
        """What somebody did to somebody else's membership; None for everything else."""
        target, sender = event.get("state_key"), event["sender"]
        if not isinstance(target, str) or target == sender or target == self._matrix.bot:
            return None
        now, before = event["content"].get("membership"), _before(event)
        ghost = self._names.is_ours(target)
        if now == "ban":
            return Membership.BAN if before != "ban" else None
        if now == "leave" and before == "ban":
            return Membership.UNBAN
        if not ghost:  # Matrix users are thrown out of the room; their client leaves the chat by itself
            return None
        if now == "invite":
            return Membership.INVITE if before not in ("join", "invite") else None
        return Membership.KICK if now == "leave" and before in (*_IN, None) else None

    def _reaches(self, event: Mapping[str, Any], portal: PortalRow) -> bool:
        target = UserId(event["state_key"])
        if self._names.is_ours(target):
            return self._names.is_ghost_of(target, portal.network)
        network = self._networks.get(portal.network)
        return network is not None and network.client_of(target, portal) is not None

    async def _moderation(self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender) -> MatrixMember:
        room, target, change = RoomId(event["room_id"]), UserId(event["state_key"]), self._change(event)
        assert change is not None, "only what concerns networks is translated"
        ghost = await self._ghosts.by_user(target)
        user = await self._members.sender(room, target) if ghost is None else None
        if ghost is None and self._names.is_ours(target):
            raise RejectedError(f"nobody is behind {target}")
        if ghost is not None and change is Membership.INVITE:
            due = self._clock.now_ms() + _INVITED
            self._wishes.put(MemberWish(room, target, Wish.LEAVE, due, portal.network, ghost.remote, ghost.name))
        reason = event["content"].get("reason")
        return MatrixMember(
            room,
            EventId(event["event_id"]),
            portal.chat,
            sender,
            change,
            timestamp_of(event),
            ghost.remote if ghost is not None else None,
            user,
            reason if isinstance(reason, str) and reason else None,
        )

    async def _put_back(self, event: Mapping[str, Any], portal: PortalRow) -> None:
        """The network's answer counts: the ghost is there again, or not, as it is on the network."""
        target, change = UserId(event["state_key"]), self._change(event)
        ghost = await self._ghosts.by_user(target)
        if ghost is None or change is None:
            return  # of Matrix users Matrix decides
        room, wish = RoomId(event["room_id"]), _BACK[change]
        if change is Membership.BAN and _before(event) not in _IN:
            wish = Wish.UNBAN  # it was not there before either
        # Due for ever: somebody looks at it, so it goes before whatever crowd is on its way.
        self._wishes.put(MemberWish(room, target, wish, 0, portal.network, ghost.remote, ghost.name))

    async def _comes_and_goes(self, event: Mapping[str, Any]) -> None:
        """A user's client follows them into chats and out of them."""
        room, user = RoomId(event["room_id"]), UserId(event["state_key"])
        portals = self._portals.in_room(room)
        if not portals or self._names.is_ours(user):
            return
        now, before = event["content"].get("membership"), _before(event)
        if now in ("join", "leave") and self._puppets.done(room, user, now):
            return  # it follows what their network said
        for portal in portals:
            network = self._networks.get(portal.network)
            if network is None or now == before:
                continue
            if now == "join":
                await self._enters(event, network, portal, user)
            elif now == "knock":
                await self._asks(event, network, portal, user)
            elif now in ("leave", "ban") and before in ("join", "knock", None):
                await self._leaves(event, network, portal, user)

    async def _enters(self, event: Mapping[str, Any], network: Network, portal: PortalRow, user: UserId) -> None:
        client = self._client(network, portal, user)
        if client is None or self._permissions.of(user) < Permission.USER:
            return
        room = RoomId(event["room_id"])
        sender = await self._members.sender(room, user)
        try:
            self._gate.outgoing(portal, sender, room)
        except RejectedError as error:
            await self._not_entered(event, network, portal, user, error)
            return  # while the answer is not known, this is tried again
        try:
            await client.enter(portal.chat)
        except RejectedError as error:
            await self._not_entered(event, network, portal, user, error)
        except BridgeError as error:
            # It enters what its user is in when it connects.
            log.info("chat_not_entered", network=network.id, chat=portal.chat, error=str(error))

    async def _not_entered(
        self, event: Mapping[str, Any], network: Network, portal: PortalRow, user: UserId, error: RejectedError
    ) -> None:
        text = f"{user} cannot enter {portal.name or portal.chat} on {network.meta.name}: {error}"
        key = f"enter\x1f{event['event_id']}\x1f{portal.id}"
        await self._status.say(RoomId(event["room_id"]), text, key=key)

    async def _asks(self, event: Mapping[str, Any], network: Network, portal: PortalRow, user: UserId) -> None:
        """Somebody knocks: the network is asked to let them in, and when it has, they are invited."""
        room = RoomId(event["room_id"])
        try:
            sender = await self._members.sender(room, user)
            self._gate.outgoing(portal, sender, room)
            if await network.login_for(sender) is None:
                return  # the room's people decide
            client = network.client_of(user, portal)
            if isinstance(client, Knocks):
                reason = event["content"].get("reason")
                await client.knock(portal.chat, reason if isinstance(reason, str) else None)
            elif (enters := self._client(network, portal, user)) is not None:
                await enters.enter(portal.chat)
        except (TransientError, RateLimitedError):
            raise
        except RejectedError as error:
            await self._matrix.kick(room, user, str(error)[:500])
        except BridgeError as error:
            log.info("chat_not_entered", network=network.id, chat=portal.chat, error=str(error))

    async def _leaves(self, event: Mapping[str, Any], network: Network, portal: PortalRow, user: UserId) -> None:
        client = self._client(network, portal, user)
        if client is None:
            return
        room, reason = RoomId(event["room_id"]), event["content"].get("reason")
        for other in portal.rooms:
            if other != room and user in await self._members.of(other):
                return  # still in the chat by another room
        try:
            await client.leave(portal.chat, reason if isinstance(reason, str) else None)
        except BridgeError as error:
            log.info("chat_not_left", network=network.id, chat=portal.chat, error=str(error))

    def _client(self, network: Network, portal: PortalRow, user: UserId) -> EntersChats | None:
        client = network.client_of(user, portal)
        if client is None:
            return None
        kind = type(client)
        if kind not in self._enter:
            self._enter[kind] = isinstance(client, EntersChats)
        return cast(EntersChats, client) if self._enter[kind] else None


def _before(event: Mapping[str, Any]) -> str | None:
    """The membership before the event, as our own homeserver tells it; None when there was none or it is not told."""
    unsigned = event.get("unsigned")
    before = unsigned.get("prev_content") if isinstance(unsigned, dict) else None
    membership = before.get("membership") if isinstance(before, dict) else None
    return membership if isinstance(membership, str) else None
