"""The Matrix side as an appservice: implements `engine.matrix_ports.MatrixSide` over the client-server API."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.crypto.ports import Owner
from bridge_core.engine.matrix_ports import MemberProfile, Reading, RoomSpec, SendRequest, Tombstone
from bridge_core.engine.powerlevels import RoomPower
from bridge_core.matrix.accounts import Accounts
from bridge_core.matrix.homeserver import Homeserver
from bridge_core.matrix.keys import Keys
from bridge_core.matrix.media import Media, MediaKeys
from bridge_core.matrix.membership import Membership
from bridge_core.matrix.puppets import Puppets, PuppetServer
from bridge_core.matrix.requests import Requests
from bridge_core.matrix.rooms import Rooms
from bridge_core.matrix.sending import Sealing, Sender
from bridge_core.matrix.startup import HomeserverInfo, Startup
from bridge_core.matrix.turns import Turns

__all__ = ["AppserviceSide"]


class AppserviceSide:
    """Acts as the bot and the ghosts. `start`, then `check` before anything else; `stop` at the end.

    `sender`: the registration's user, where it is not the bot. `devices`: whether ghosts send from plain devices of
    theirs (None: found out by `check`). `puppets`: homeservers, by name, where it may act as users who are not ours.
    """

    def __init__(
        self,
        *,
        address: str,
        as_token: str,
        bot: UserId,
        media_keys: MediaKeys,
        clock: Clock,
        devices: bool | None = None,
        device: str = "MATRIXBRIDGE",
        sender: UserId | None = None,
        timeout: float = 60,
        connections: int = 32,
        puppets: Mapping[str, PuppetServer] | None = None,
    ) -> None:
        self._requests = Requests(as_token, timeout=timeout, connections=connections)
        self._puppets = Puppets(self._requests, puppets or {})
        self._homeserver = Homeserver(
            self._requests, address, bot, device=device, devices=devices, puppets=self._puppets
        )
        self._accounts = Accounts(self._homeserver)
        self._membership = Membership(self._homeserver)
        self._rooms = Rooms(self._homeserver, self._membership)
        self._sender = Sender(self._homeserver, self._accounts, clock)
        self._media = Media(self._homeserver, media_keys)
        self._turns = Turns()
        self._startup = Startup(self._homeserver, self._accounts, self._rooms, sender or bot)
        self.keys = Keys(self._homeserver)
        """The homeserver's key endpoints, for encryption."""

    def seal_by(self, sealing: Sealing) -> None:
        """Ask this before each event is sent. Before the first one."""
        self._sender.sealing = sealing

    async def start(self) -> None:
        """Open the connection pool."""
        await self._requests.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._requests.stop()

    async def check(self) -> HomeserverInfo:
        """Register the bot and find out what the homeserver can do. Raises SetupProblemError or TransientError."""
        return await self._startup.check()

    async def ping(self, appservice_id: str) -> float | None:
        """Let the homeserver reach for the bridge and send what it held back; ms, None when it has no ping.

        Raises SetupProblemError with a diagnosis.
        """
        return await self._startup.ping(appservice_id)

    @property
    def bot(self) -> UserId:
        """The appservice's own user."""
        return self._homeserver.bot

    @property
    def bot_device(self) -> Owner:
        """The bot's plain device."""
        return Owner(self._homeserver.bot, self._homeserver.device)

    @property
    def has_devices(self) -> bool:
        """Whether our users act as devices there, as far as is known."""
        return bool(self._homeserver.devices)

    @property
    def server_name(self) -> str:
        """The homeserver's name."""
        return self._homeserver.server_name

    def may_puppet(self, user: UserId) -> bool:
        """Whether the configuration lets the bridge act as the users of this one's homeserver. Does not block."""
        return self._puppets.possible(user)

    async def verify_puppet(self, user: UserId, token: str | None) -> None:
        """Ask the user's homeserver whether the token (None: the configured one) can act as them."""
        await self._puppets.verify(user, token)

    def add_puppet(self, user: UserId, token: str | None) -> None:
        """From now on requests of this user, who is not ours, are made with that token."""
        self._puppets.add(user, token)

    def remove_puppet(self, user: UserId) -> None:
        """Act as this user no more."""
        self._puppets.remove(user)

    async def ensure_registered(self, user: UserId) -> str | None:
        """Register a ghost (idempotent) and give it its plain device; return the device id, None without them."""
        return await self._accounts.ensure_registered(user)

    async def set_profile(self, user: UserId, name: str | None, avatar: str | None) -> None:
        """Set what is not None."""
        async with self._turns.changing(user):
            await self._accounts.set_profile(user, name, avatar)

    async def profile(self, user: UserId) -> MemberProfile:
        """The global profile."""
        return await self._accounts.profile(user)

    async def exists(self, user: UserId) -> bool:
        """Whether our homeserver has such a user."""
        return await self._accounts.exists(user)

    async def join(self, room: RoomId, user: UserId) -> None:
        """Join one of our users, inviting it first as the bot where needed. Idempotent."""
        async with self._turns.joining(user):
            await self._membership.join(room, user)

    async def leave(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Leave. Idempotent."""
        await self._membership.leave(room, user, reason)

    async def invite(self, room: RoomId, user: UserId, inviter: UserId | None = None) -> None:
        """Invite as the bot or another user of ours. Already invited or joined is fine."""
        await self._membership.invite(room, user, inviter)

    async def kick(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Kick as the bot. Not there is fine."""
        await self._membership.kick(room, user, reason)

    async def ban(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Ban as the bot. Banned already is fine."""
        await self._membership.ban(room, user, reason)

    async def unban(self, room: RoomId, user: UserId) -> None:
        """Lift a ban as the bot. Not banned is fine."""
        await self._membership.unban(room, user)

    async def knock(self, room: RoomId, user: UserId, reason: str | None = None) -> None:
        """Let one of our users ask to be let in. Asked already, invited or joined is fine."""
        await self._membership.knock(room, user, reason)

    async def ensure_room(self, spec: RoomSpec) -> RoomId:
        """Create under the reserved alias; when that is in use look it up and bring its state to the desired one."""
        return await self._rooms.ensure_room(spec)

    async def enter(self, room: RoomId, via: str) -> None:
        """Join a room as the bot, by a server that is in it. Idempotent."""
        await self._rooms.enter(room, via)

    async def tombstone(self, room: RoomId) -> Tombstone | None:
        """Where the room goes on, by its present state; None when it does not."""
        return await self._rooms.tombstone(room)

    async def point_alias(self, localpart: str, room: RoomId) -> None:
        """Let one of our aliases lead to the room, wherever it led before."""
        await self._rooms.point_alias(localpart, room)

    async def drop_alias(self, localpart: str) -> None:
        """One of our aliases leads nowhere any more. Idempotent."""
        await self._rooms.drop_alias(localpart)

    async def behind(self, room: RoomId, event: EventId, viewer: UserId) -> str | None:
        """Where in the room, for `page`, an event ends that `viewer` may see."""
        return await self._rooms.behind(room, event, viewer)

    async def page(self, room: RoomId, at: str, viewer: UserId) -> tuple[list[dict[str, Any]], str | None]:
        """Events that come next, as `viewer` sees them, in their order; then where they end, unless that is all."""
        return await self._rooms.page(room, at, viewer)

    async def may_change(self, room: RoomId, user: UserId) -> bool:
        """Whether a user has the power to change the room's state."""
        return await self._rooms.may_change(room, user)

    async def room_of(self, alias: str) -> RoomId:
        """The room an alias leads to. Raises MatrixRejectedError when there is none."""
        return await self._rooms.room_of(alias)

    async def send(self, request: SendRequest, first_attempt_at: int) -> EventId:
        """Send exactly once. `first_attempt_at` (ms, 0: this is the first) decides whether to look before resending."""
        return await self._sender.send(request, first_attempt_at)

    async def state(
        self, room: RoomId, event_type: str, key: str = "", viewer: UserId | None = None
    ) -> dict[str, Any] | None:
        """One state event's content as `viewer` (else the bot) sees it, None when it is not set."""
        return await self._rooms.state(room, event_type, key, viewer)

    async def all_state(self, room: RoomId) -> list[dict[str, Any]]:
        """All state events of a room that the bot is in."""
        return await self._rooms.all_state(room)

    async def set_state(
        self, room: RoomId, event_type: str, key: str, content: Mapping[str, Any], sender: UserId
    ) -> None:
        """Set one state event unless it already is so."""
        await self._rooms.set_state(room, event_type, key, content, sender)

    async def power(self, room: RoomId) -> RoomPower:
        """Who has what power in the room, asked of its present state. The bot must be in it."""
        return await self._rooms.power(room)

    async def members(self, room: RoomId, viewer: UserId | None = None) -> dict[UserId, MemberProfile]:
        """All joined members, as the bot or another user of ours sees them."""
        return await self._membership.members(room, viewer)

    async def reading(self, room: RoomId, viewer: UserId) -> Reading:
        """Who is joined or invited, as the bot sees it, or `viewer`, a user of ours, where the bot is not there."""
        return await self._membership.reading(room, viewer)

    async def joins(self, room: RoomId) -> dict[UserId, int]:
        """When each joined member's present membership began or last changed, in milliseconds since 1970; 0: unknown.

        The time is what the server of each member says.
        """
        return await self._membership.joins(room)

    async def event(self, room: RoomId, event: EventId, viewer: UserId) -> dict[str, Any] | None:
        """An event as `viewer` sees it (a user of ours, or the bot); None when there is none or it may not be seen."""
        return await self._rooms.event(room, event, viewer)

    async def typing(self, room: RoomId, user: UserId, milliseconds: int) -> None:
        """Set or (0) end typing."""
        content = {"typing": True, "timeout": milliseconds} if milliseconds > 0 else {"typing": False}
        await self._homeserver.put("rooms", room, "typing", user, user=user, content=content)

    async def read(self, room: RoomId, user: UserId, event: EventId) -> None:
        """Move the user's read receipt."""
        await self._homeserver.post("rooms", room, "receipt", "m.read", event, user=user)

    async def read_all(self, room: RoomId, user: UserId, event: EventId) -> None:
        """Move the read marker of somebody whom the bridge acts as, and their read receipt with it; never backwards."""
        content = {"m.fully_read": event, "m.read": event}
        await self._homeserver.post("rooms", room, "read_markers", user=user, content=content)

    async def set_presence(self, user: UserId, presence: str, status: str | None) -> None:
        """Say whether one of our users is there: `online`, `unavailable` or `offline`, with their own words."""
        content = {"presence": presence, **({"status_msg": status} if status else {})}
        await self._homeserver.put("presence", user, "status", user=user, content=content)

    async def upload(
        self, user: UserId, chunks: AsyncIterator[bytes], *, mime: str, name: str, size: int | None, key: str
    ) -> str:
        """Upload once per `key` (the mxc is stored before its bytes are put) and return the mxc address."""
        return await self._media.upload(user, chunks, mime=mime, name=name, size=size, key=key)

    async def uploaded(self, key: str) -> str | None:
        """The address of a file that was uploaded whole under `key`; None when that is not known."""
        return await self._media.uploaded(key)

    async def delete_file(self, mxc: str) -> None:
        """Have the homeserver delete a file, as Synapse does where the bot is its admin. Raises MatrixRejectedError."""
        await self._media.delete(mxc)

    def download(self, mxc: str, limit: int) -> AsyncIterator[bytes]:
        """Stream a file by the authenticated endpoint; RejectedError over `limit` bytes."""
        return self._media.download(mxc, limit)
