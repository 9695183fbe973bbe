"""Who is in a room: joins with an invite where needed, leaves, invites, kicks, members. All idempotent."""

from collections.abc import Container
from typing import Any

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, MemberProfile, Reading
from bridge_core.matrix.accounts import member_profile
from bridge_core.matrix.homeserver import Homeserver

__all__ = ["Membership"]

_IN = frozenset({"join", "invite"})
_BANNED = frozenset({"ban"})
_KICKABLE = frozenset({"join", "invite", "knock"})


class Membership:
    """Changes of membership, wished-for state rather than acts."""

    def __init__(self, homeserver: Homeserver) -> None:
        self._hs = homeserver

    async def join(self, room: RoomId, user: UserId) -> None:
        """Joins one of our users, inviting it first as the bot where needed."""
        try:
            await self._join(room, user)
        except MatrixRejectedError as error:
            if error.errcode != "M_FORBIDDEN" or user == self._hs.bot:
                raise
            try:
                await self.invite(room, user)
            except MatrixRejectedError as refused:
                # Such as a ban: what the join was refused for is what counts.
                raise error from refused
            await self._join(room, user)

    async def leave(self, room: RoomId, user: UserId, reason: str | None) -> None:
        """Leaves; not being there is fine."""
        try:
            await self._hs.post("rooms", room, "leave", user=user, content={"reason": reason} if reason else {})
        except MatrixRejectedError as error:
            if error.errcode not in {"M_FORBIDDEN", "M_NOT_FOUND", "M_BAD_STATE"}:
                raise

    async def invite(self, room: RoomId, user: UserId, inviter: UserId | None = None) -> None:
        """Invites as the bot, or as another user of ours; already invited or joined is fine."""
        try:
            await self._hs.post("rooms", room, "invite", content={"user_id": user}, user=inviter)
        except MatrixRejectedError:
            if not await self._has(room, user, _IN):
                raise

    async def kick(self, room: RoomId, user: UserId, reason: str | None) -> None:
        """Kicks as the bot; not being there is fine."""
        content = {"user_id": user, "reason": reason} if reason else {"user_id": user}
        try:
            await self._hs.post("rooms", room, "kick", content=content)
        except MatrixRejectedError:
            if await self._has(room, user, _KICKABLE, unknown=True):
                raise

    async def ban(self, room: RoomId, user: UserId, reason: str | None) -> None:
        """Bans as the bot; banned already is fine."""
        content = {"user_id": user, "reason": reason} if reason else {"user_id": user}
        try:
            await self._hs.post("rooms", room, "ban", content=content)
        except MatrixRejectedError:
            if not await self._has(room, user, _BANNED):
                raise

    async def unban(self, room: RoomId, user: UserId) -> None:
        """Lifts a ban as the bot; not banned is fine."""
        # Asked first: some servers take lifting a ban that is not there for a kick.
        if await self._has(room, user, _BANNED, unknown=True):
            await self._hs.post("rooms", room, "unban", content={"user_id": user})

    async def knock(self, room: RoomId, user: UserId, reason: str | None) -> None:
        """Asks to be let in, as one of our users; asked already, invited or joined is fine."""
        try:
            await self._hs.post("knock", room, user=user, content={"reason": reason} if reason else {})
        except MatrixRejectedError:
            if not await self._has(room, user, _KICKABLE):
                raise

    async def members(self, room: RoomId, viewer: UserId | None = None) -> dict[UserId, MemberProfile]:
        """All joined members, as the bot, or another user of ours, sees them."""
        answer = await self._hs.get("rooms", room, "joined_members", user=viewer)
        joined = answer.get("joined")
        return {
            UserId(user): member_profile(shown.get("display_name"), shown.get("avatar_url"))
            for user, shown in (joined.items() if isinstance(joined, dict) else ())
            if isinstance(shown, dict)
        }

    async def joins(self, room: RoomId) -> dict[UserId, int]:
        """When each joined member's present membership began or last changed; 0 for one without a time."""
        answer = await self._hs.get("rooms", room, "members", query={"membership": "join"})
        chunk = answer.get("chunk")
        return {
            UserId(event["state_key"]): at if isinstance(at := event.get("origin_server_ts"), int) else 0
            for event in (chunk if isinstance(chunk, list) else ())
            if isinstance(event, dict) and isinstance(event.get("state_key"), str)
        }

    async def reading(self, room: RoomId, viewer: UserId) -> Reading:
        """Who is joined or invited, as the bot sees it, or else `viewer`: whoever of them is in the room."""
        for seen in dict.fromkeys((self._hs.bot, viewer)):
            try:
                answer = await self._hs.get("rooms", room, "members", user=seen, query={"not_membership": "leave"})
            except MatrixRejectedError as error:
                if error.errcode != "M_FORBIDDEN" or seen == viewer:
                    raise
                continue
            found = _reading(answer, seen)
            if seen in found.joined:  # else they are those of when it left (Synapse)
                return found
        raise MatrixRejectedError("M_FORBIDDEN", "nobody of ours is in the room to see who reads there", 403)

    async def _join(self, room: RoomId, user: UserId) -> None:
        await self._hs.post("rooms", room, "join", user=user)

    async def _has(self, room: RoomId, user: UserId, states: Container[object], *, unknown: bool = False) -> bool:
        """Whether the user's membership is one of `states`; `unknown` when the bot may not see it."""
        try:
            member = await self._hs.get("rooms", room, "state", "m.room.member", user)
        except MatrixRejectedError as error:
            return unknown and error.status != 404
        return member.get("membership") in states


def _reading(answer: dict[str, Any], seen: UserId) -> Reading:
    chunk = answer.get("chunk")
    if not isinstance(chunk, list):
        raise TransientError("the homeserver does not say who is in the room")
    found: dict[object, list[UserId]] = {"join": [], "invite": []}
    for event in chunk:
        if isinstance(event, dict) and isinstance(user := event.get("state_key"), str):
            content = event.get("content")
            of = found.get(content.get("membership")) if isinstance(content, dict) else None
            if of is not None:
                of.append(UserId(user))
    return Reading(tuple(found["join"]), tuple(found["invite"]), seen)
