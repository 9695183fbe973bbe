"""Events that are not messages to a network: invitations, memberships, commands."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.commands import Commands, Surety
from bridge_core.engine.decrypting import ENCRYPTED, UNREADABLE, ClearEvent
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.private import PrivateChats
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import Users

log = structlog.get_logger(__name__)

PREFIX: Final = "!bridge"
"""How a command begins outside a management room."""
_PAGES: Final = 100
"""Pages that are read of the time between an invitation and the join: a bridge that was away may join late."""
_LOST: Final = "Not all that was said here between the invitation and my coming could be read: the last of it is lost."


Handler = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Does what an event asks of the bridge; twice does no harm. Raises TransientError to be called again."""


class RoomEvents:
    """Handles what concerns the bridge itself. Everything here may be done twice without harm."""

    def __init__(
        self,
        names: Names,
        matrix: MatrixSide,
        portals: PortalIndex,
        ghosts: GhostPool,
        members: Members,
        users: Users,
        permissions: Permissions,
        commands: Commands,
        private: PrivateChats,
        status: Status,
        crosses: Callable[[Mapping[str, Any]], bool],
        decides: Callable[[RoomId, UserId], bool],
    ) -> None:
        self._names = names
        self._matrix = matrix
        self._portals = portals
        self._ghosts = ghosts
        self._members = members
        self._users = users
        self._permissions = permissions
        self._commands = commands
        self._private = private
        self._status = status
        self._crosses = crosses
        self._decides = decides
        self.coming: Handler = _nothing
        """Waited for when one of ours was invited, before they join. Bounded, and raises nothing."""
        self.missed: Callable[[list[dict[str, Any]]], Awaitable[None]] = _none_missed
        """Takes what was said in a room before one of ours could join it."""
        self._handlers: dict[str, list[Handler]] = {"m.room.member": [self._membership]}

    def on(self, event_type: str, handler: Handler) -> None:
        """Let `handler` see all state events of a type, in their room's order, before they cross; one perhaps twice."""
        self._handlers.setdefault(event_type, []).append(handler)

    def handles(self, event: Mapping[str, Any]) -> bool:
        """Whether somebody here is to see the event, beside what crosses of it. Does not block."""
        # A message of such a type is no state, whatever it claims to be (forged tombstones and memberships).
        return "state_key" in event and event["type"] in self._handlers

    def not_bridged(self, event: Mapping[str, Any]) -> str:
        """Why an event is no message to a network; empty when it is one. Does not block."""
        if not self._crosses(event):
            kind = event["type"]
            return kind if len(kind) < 64 else "event"
        if command_of(event) is not None:
            return "command"
        return ""

    async def handle(self, event: Mapping[str, Any]) -> str:
        """Do what the event asks of the bridge; what it was, for the counters. Raises TransientError to try again."""
        kind = event["type"]
        if self.handles(event):
            for handler in self._handlers[kind]:
                await handler(event)
            return str(kind)
        if UNREADABLE in event and kind == ENCRYPTED:
            await self._not_read(event, str(event[UNREADABLE]))
        if kind != "m.room.message":
            return ""
        text = command_of(event)
        private = await self._in_management_room(event)
        plain = text is None and private
        if plain:
            text = _body(event)
        if text is None:
            return ""
        await self._commands.say(event, text, private=private, plain=plain, surety=_surety(event))
        return "command"

    async def waits(self, event: Mapping[str, Any], reason: str) -> None:
        """Tell whoever sent an encrypted event why it waits, in words that its delivery corrects."""
        room, event_id = RoomId(event["room_id"]), EventId(event["event_id"])
        portals = self._portals.in_room(room)
        for network in dict.fromkeys(portal.network for portal in portals):
            self._status.waiting(event, network, reason, 1)
            await self._status.delayed(room, event_id, network, reason)
        if not portals:
            await self._not_read(event, reason)

    async def _not_read(self, event: Mapping[str, Any], reason: str) -> None:
        """It may be a command: told where every message is one."""
        if await self._in_management_room(event):
            event_id = EventId(event["event_id"])
            text = f"\u26a0 I cannot read your message: {reason}"
            await self._status.say(
                RoomId(event["room_id"]), text, about=event_id, key=f"unread\x1f{event_id}\x1f{reason}"
            )

    async def _in_management_room(self, event: Mapping[str, Any]) -> bool:
        user = await self._users.by_management_room(RoomId(event["room_id"]))
        return user is not None and user.id == event["sender"]

    async def _membership(self, event: Mapping[str, Any]) -> None:
        room, target, content = RoomId(event["room_id"]), UserId(event["state_key"]), event["content"]
        membership = content.get("membership")
        if not self._names.is_ours(target):
            return  # who is there was known when the event was stored: in the lane it may long be otherwise
        if membership == "invite":
            await self._invited(room, UserId(event["sender"]), target, event)
        elif membership in ("leave", "ban"):
            # Somebody else's doing: our own events do not come here.
            if target == self._matrix.bot:
                self._members.forget(room)
            if not await self._is_back(room, target):
                await self._ghosts.left(room, target)

    async def _is_back(self, room: RoomId, user: UserId) -> bool:
        """Whether one of ours is in the room now: an event that waited in its lane may tell of a former time."""
        if not await self._ghosts.knows(room, user):
            return False
        try:
            # As they see it: the bot may have been thrown out, and who is not there sees at most how they went.
            content = await self._matrix.state(room, "m.room.member", user, user)
        except RejectedError:
            return False
        return content is not None and content.get("membership") == "join"

    async def _invited(self, room: RoomId, inviter: UserId, target: UserId, event: Mapping[str, Any]) -> None:
        invite = EventId(event["event_id"])
        if self._permissions.of(inviter) < Permission.USER:
            log.info("invite_refused", inviter=inviter, room=room)
            return
        try:
            if target != self._matrix.bot:
                if self._decides(room, target):
                    return  # the network is asked whether they may come
                ghost = await self._private.ghost(room, inviter, target)
                await self.coming(event)
                if await self._private.invited(room, inviter, ghost):
                    await self._between(room, target, invite)
                return
            await self.coming(event)
            await self._matrix.join(room, target)
            members = await self._matrix.members(room)
            if set(members) <= {inviter, target} and not self._portals.in_room(room):
                await self._alone_with(inviter, room, invite)
                await self._between(room, target, invite)
        except (TransientError, RateLimitedError):
            raise
        except MatrixRejectedError as error:
            log.warning("invite_not_followed", room=room, error=str(error))
        except RejectedError as error:
            await self._declined(room, inviter, target, invite, str(error))
        except BridgeError as error:
            log.warning("invite_not_followed", room=room, error=str(error))

    async def _declined(self, room: RoomId, inviter: UserId, target: UserId, invite: EventId, reason: str) -> None:
        """Tell whoever invited one of ours why they do not come, where that can be read. Does not raise for it."""
        log.info("invitation_declined", room=room, user=target, inviter=inviter, reason=reason)
        if target == self._matrix.bot or self._portals.in_room(room):
            await self._status.say(room, reason, key=f"invite\x1f{invite}")
            return
        row = await self._users.get(inviter)
        if row is not None and row.management_room is not None:
            text = f"{target} does not come into {room}: {reason}"
            await self._status.say(row.management_room, text, key=f"invite\x1f{invite}")
        if await self._ghosts.by_user(target) is None:
            return  # nobody is made to say it
        try:
            await self._matrix.leave(room, target, reason)  # clients show it as the answer to the invitation
            await self._ghosts.left(room, target)
        except MatrixRejectedError as error:
            log.info("invitation_not_declined", room=room, user=target, error=str(error))

    async def _between(self, room: RoomId, user: UserId, invite: EventId) -> None:
        """Take what was said between an invitation and the join: homeservers tell it to no appservice (Synapse)."""
        try:
            at = await self._matrix.behind(room, invite, user)
        except MatrixRejectedError as error:
            log.info("said_before_join_not_read", room=room, user=user, error=str(error))  # its history is not for them
            return
        why = "there is too much of it"
        try:
            for _ in range(_PAGES):
                if at is None:
                    return
                events, at = await self._matrix.page(room, at, user)
                joined = next((place for place, one in enumerate(events) if _is_join(one, user)), None)
                await self.missed([event for event in events[:joined] if "state_key" not in event])
                if joined is not None:
                    return  # what comes after it the homeserver tells
        except MatrixRejectedError as error:
            why = str(error)
        log.warning("said_before_join_lost", room=room, user=user, error=why)
        await self._status.say(room, _LOST, key=f"missed\x1f{invite}")

    async def _alone_with(self, user: UserId, room: RoomId, event: EventId) -> None:
        """A room of a user and the bot: their management room, unless they have one, which stays it."""
        row = await self._users.get(user)
        kept = row.management_room if row is not None else None
        if kept is not None and kept != room and await self._manages(user, kept):
            text = (
                f"Hello! Your management room stays {kept}. Here I listen to what begins with {PREFIX}: say "
                f"{PREFIX} help. To manage the bridge from here instead, leave that room and invite me again."
            )
        else:
            await self._users.change(user, lambda now: replace(now, management_room=room))
            text = "Hello! This is your management room. Say help for what I can do."
        await self._status.say(room, text, key=f"hello\x1f{event}")

    async def _manages(self, user: UserId, room: RoomId) -> bool:
        """Whether a room still serves as a user's management room: both are in it, and it is not bridged."""
        if self._portals.in_room(room):
            return False
        try:
            members = await self._matrix.members(room)
        except MatrixRejectedError:
            return False  # the bot is there no more
        return user in members and self._matrix.bot in members


async def _none_missed(events: list[dict[str, Any]]) -> None:
    return None


async def _nothing(event: Mapping[str, Any]) -> None:
    return None


def _surety(event: Mapping[str, Any]) -> Surety:
    if not isinstance(event, ClearEvent):
        return Surety.SAID
    return Surety.SURE if event.sure else Surety.ENCRYPTED


def _is_join(event: Mapping[str, Any], user: UserId) -> bool:
    if event["type"] != "m.room.member" or event.get("state_key") != user:
        return False
    return bool(event["content"].get("membership") == "join")


def _body(event: Mapping[str, Any]) -> str | None:
    content = event["content"]
    body = content.get("body")
    if content.get("msgtype") != "m.text" or not isinstance(body, str) or len(body) > 4096:
        return None
    return body.strip()


def command_of(event: Mapping[str, Any]) -> str | None:
    """The command that a message is, without its prefix; None for everything else. Edits are no commands."""
    if event["type"] != "m.room.message" or "m.new_content" in event["content"]:
        return None
    body = _body(event)
    if body is None or not body.startswith(PREFIX):
        return None
    rest = body[len(PREFIX) :]
    return rest.strip() if not rest or rest[0].isspace() else None
