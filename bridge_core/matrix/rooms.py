"""Rooms: made under a reserved alias so that making one twice gives the same room, and state as it is wished for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from bridge_core.api.errors import TransientError
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, RoomSpec, Tombstone
from bridge_core.engine.powerlevels import RoomPower
from bridge_core.matrix.homeserver import Homeserver
from bridge_core.matrix.membership import Membership
from bridge_core.matrix.power import creator_is_listed, full_levels, merged_levels
from bridge_core.matrix.transaction import is_event

__all__ = ["Rooms"]

_log = structlog.get_logger(__name__)

_PAGE = "100"
State = dict[tuple[str, str], dict[str, Any]]


class Rooms:
    """Makes rooms and keeps their state."""

    def __init__(self, homeserver: Homeserver, membership: Membership) -> None:
        self._hs = homeserver
        self._membership = membership
        self._version: str | None = None

    async def ensure_room(self, spec: RoomSpec) -> RoomId:
        """Creates the room, or finds the one an earlier try made and brings its state to the wished-for one.

        A createRoom that fails half-way keeps the alias on a room with only create and member events (measured), so
        whatever is missing is added. Raises MatrixRejectedError when the alias leads to somebody else's room. An
        invite that is refused is logged and does not fail the room.
        """
        try:
            room = await self._create(spec)
        except MatrixRejectedError as error:
            if error.errcode != "M_ROOM_IN_USE":
                raise
            room = await self._find(spec)
        for user in spec.invite:
            try:
                await self._membership.invite(room, user)
            except MatrixRejectedError as error:
                _log.warning("invite_refused", room=room, user=user, errcode=error.errcode)
        return room

    async def state(
        self, room: RoomId, event_type: str, key: str, viewer: UserId | None = None
    ) -> dict[str, Any] | None:
        """One state event's content, None when it is not set."""
        # With an empty key the path ends after the type: a trailing slash is not understood everywhere.
        path = ("rooms", room, "state", event_type, *((key,) if key else ()))
        try:
            return await self._hs.get(*path, user=viewer)
        except MatrixRejectedError as error:
            if error.errcode == "M_NOT_FOUND":
                return None
            raise

    async def all_state(self, room: RoomId) -> list[dict[str, Any]]:
        """All state events of a room that the bot is in."""
        return [event for event in await self._hs.get_list("rooms", room, "state") if isinstance(event, dict)]

    async def set_state(
        self, room: RoomId, event_type: str, key: str, content: Mapping[str, Any], sender: UserId
    ) -> None:
        """Sets one state event unless it already is so."""
        if await self.state(room, event_type, key, sender) != content:
            await self._put_state(room, event_type, key, content, sender)

    async def event(self, room: RoomId, event: EventId, viewer: UserId) -> dict[str, Any] | None:
        """An event as `viewer` sees it; None when there is none or it may not be seen."""
        try:
            return await self._hs.get("rooms", room, "event", event, user=viewer)
        except MatrixRejectedError as error:
            if error.status in {403, 404}:
                return None
            raise

    async def room_of(self, alias: str) -> RoomId:
        """The room an alias leads to. Raises MatrixRejectedError when there is none."""
        answer = await self._hs.get("directory", "room", alias)
        room = answer.get("room_id")
        if not isinstance(room, str):
            raise TransientError(f"the homeserver names no room for {alias}")
        return RoomId(room)

    async def power(self, room: RoomId) -> RoomPower:
        """Who has what power, from two state events: a room's whole state grows with its members."""
        levels = await self.state(room, "m.room.power_levels", "")
        create = await self._hs.get("rooms", room, "state", "m.room.create", query={"format": "event"})
        if "sender" not in create:  # a server that gives the content only
            there = await self._read(room, room)
            creator, version = there.creator, there.version
            content = there.state.get(("m.room.create", ""), {})
        else:
            creator, inner = create["sender"], create.get("content")
            content = inner if isinstance(inner, dict) else {}
            version = content.get("room_version", "1")
        endless: set[str] = set()
        if not creator_is_listed(version):
            others = content.get("additional_creators")
            endless = {str(user) for user in (creator, *(others if isinstance(others, list) else ())) if user}
        return RoomPower(levels, frozenset(endless))

    async def behind(self, room: RoomId, event: EventId, viewer: UserId) -> str | None:
        """Where in the room, for `page`, an event ends that `viewer` may see."""
        around = await self._hs.get("rooms", room, "context", event, user=viewer, query={"limit": "0"})
        return _token(around)

    async def page(self, room: RoomId, at: str, viewer: UserId) -> tuple[list[dict[str, Any]], str | None]:
        """At most 100 events that come next, as `viewer` sees them, in order; where they end, unless that is all."""
        query = {"dir": "f", "from": at, "limit": _PAGE}
        answer = await self._hs.get("rooms", room, "messages", user=viewer, query=query)
        chunk = answer.get("chunk")
        events = [one for one in chunk if is_event(one) and one["room_id"] == room] if isinstance(chunk, list) else []
        end = _token(answer)
        return events, end if end != at else None

    async def may_change(self, room: RoomId, user: UserId) -> bool:
        """Whether a user has the power to change the room's state, asked of the room's present state."""
        return _powerful(await self._read(room, room), user)

    async def tombstone(self, room: RoomId) -> Tombstone | None:
        """Where the room goes on, by its present state; None when it does not."""
        there = await self._read(room, room)
        sender = there.senders.get(("m.room.tombstone", ""))
        replacement = there.state.get(("m.room.tombstone", ""), {}).get("replacement_room")
        if sender is None or not isinstance(replacement, str) or not replacement.startswith("!"):
            return None
        return Tombstone(RoomId(replacement), UserId(sender), _powerful(there, UserId(sender)))

    async def enter(self, room: RoomId, via: str) -> None:
        """Joins as the bot, by a server that is in the room; being in it is fine."""
        await self._hs.post("join", room, query={"via": via, "server_name": via})

    async def point_alias(self, localpart: str, room: RoomId) -> None:
        """Lets one of our aliases lead to the room, wherever it led before."""
        alias = f"#{localpart}:{self._hs.server_name}"
        try:
            if await self.room_of(alias) == room:
                return
        except MatrixRejectedError as error:
            if error.status != 404:
                raise
        else:
            await self.drop_alias(localpart)
        await self._hs.put("directory", "room", alias, content={"room_id": room})

    async def drop_alias(self, localpart: str) -> None:
        """One of our aliases leads nowhere any more; that it does not is fine."""
        try:
            await self._hs.delete("directory", "room", f"#{localpart}:{self._hs.server_name}")
        except MatrixRejectedError as error:
            if error.status != 404:
                raise

    async def default_version(self) -> str | None:
        """The version new rooms get, asked for once; None when the homeserver does not say."""
        if self._version is None:
            try:
                answer = await self._hs.get("capabilities")
            except MatrixRejectedError:
                return None
            versions = (answer.get("capabilities") or {}).get("m.room_versions") or {}
            self._version = versions.get("default")
        return self._version

    async def _create(self, spec: RoomSpec) -> RoomId:
        version = await self.default_version()
        body: dict[str, Any] = {
            "room_alias_name": spec.alias_localpart,
            "visibility": "public" if spec.public else "private",
            "preset": "public_chat" if spec.join_rule == "public" else "private_chat",
            "power_level_content_override": full_levels(spec.power_levels, self._hs.bot, version),
            "initial_state": [
                {"type": event_type, "state_key": key, "content": content}
                for (event_type, key), content in _wished(spec).items()
                if event_type not in {"m.room.name", "m.room.topic"}
            ],
        }
        if version is not None:
            body["room_version"] = version
        if spec.kind:
            body["creation_content"] = {"type": spec.kind}
        if spec.name:
            body["name"] = spec.name
        if spec.topic:
            body["topic"] = spec.topic
        answer = await self._hs.post("createRoom", content=body)
        room = answer.get("room_id")
        if not isinstance(room, str):
            raise TransientError("the homeserver made a room without naming it")
        return RoomId(room)

    async def _find(self, spec: RoomSpec) -> RoomId:
        alias = f"#{spec.alias_localpart}:{self._hs.server_name}"
        try:
            answer = await self._hs.get("directory", "room", alias)
        except MatrixRejectedError as error:
            if error.errcode == "M_NOT_FOUND":
                raise TransientError(f"{alias} is in use and cannot be found") from error
            raise
        room = RoomId(str(answer.get("room_id")))
        if spec.is_others is not None and await spec.is_others(room):
            raise TransientError(f"{alias} leads to another chat's room")
        there = await self._read(room, alias)
        if there.creator != self._hs.bot:
            raise MatrixRejectedError("M_ROOM_IN_USE", f"{alias} leads to a room that {there.creator} made", 400)
        _log.info("room_found_by_alias", room=room, alias=alias, state=len(there.state))
        await self._bring_up(room, alias, spec, there.state, there.version)
        return room

    async def _read(self, room: RoomId, alias: str) -> "_Read":
        """All state, who set it, who made the room, and its version."""
        try:
            events = await self._hs.get_list("rooms", room, "state")
        except MatrixRejectedError as error:
            if error.errcode != "M_FORBIDDEN":
                raise
            events = []
        if not any(_is_join(event, self._hs.bot) for event in events):
            # Who left is refused, or shown the state as it was then.
            try:
                await self._membership.join(room, self._hs.bot)
            except MatrixRejectedError as refused:
                text = f"{alias} leads to a room the bot is not in and may not join"
                raise MatrixRejectedError("M_ROOM_IN_USE", text, 400) from refused
            events = await self._hs.get_list("rooms", room, "state")
        state: State = {}
        senders: dict[tuple[str, str], str] = {}
        version = None
        for event in events:
            if isinstance(event, dict) and isinstance(event.get("content"), dict):
                key = str(event.get("type")), str(event.get("state_key", ""))
                state[key] = event["content"]
                senders[key] = str(event.get("sender"))
                if key[0] == "m.room.create":
                    version = event["content"].get("room_version", "1")
        return _Read(state, senders, senders.get(("m.room.create", "")), version)

    async def _bring_up(self, room: RoomId, alias: str, spec: RoomSpec, state: State, version: str | None) -> None:
        there = state.get(("m.room.power_levels", ""))
        if there is None:
            levels = full_levels(spec.power_levels, self._hs.bot, version)
        else:
            levels = merged_levels(there, spec.power_levels, self._hs.bot, version)
        wished: State = {("m.room.power_levels", ""): levels, **_wished(spec)}
        if ("m.room.canonical_alias", "") not in state:
            wished["m.room.canonical_alias", ""] = {"alias": alias}
        for (event_type, key), content in wished.items():
            if not _is_so(event_type, state.get((event_type, key)), content):
                await self._put_state(room, event_type, key, content, self._hs.bot)
        if spec.public:
            await self._hs.put("directory", "list", "room", room, content={"visibility": "public"})

    async def _put_state(
        self, room: RoomId, event_type: str, key: str, content: Mapping[str, Any], sender: UserId
    ) -> None:
        path = ("rooms", room, "state", event_type, *((key,) if key else ()))
        await self._hs.put(*path, user=sender, content=content)


@dataclass(frozen=True, slots=True)
class _Read:
    """All state of a room, with who set it."""

    state: State
    senders: Mapping[tuple[str, str], str]
    creator: str | None
    version: str | None


def _token(answer: Mapping[str, Any]) -> str | None:
    end = answer.get("end")
    return end if isinstance(end, str) else None


def _is_join(event: Any, user: UserId) -> bool:
    if not isinstance(event, dict) or event.get("type") != "m.room.member" or event.get("state_key") != user:
        return False
    content = event.get("content")
    return isinstance(content, dict) and content.get("membership") == "join"


def _powerful(there: _Read, user: UserId) -> bool:
    """Whether a user has the power to change the room's state."""
    create = there.state.get(("m.room.create", ""), {})
    if not creator_is_listed(there.version):
        others = create.get("additional_creators")
        if user == there.creator or (isinstance(others, list) and user in others):
            return True
    levels = there.state.get(("m.room.power_levels", ""))
    if levels is None:
        return user == there.creator
    users = levels.get("users")
    own = users.get(user) if isinstance(users, dict) else None
    if not isinstance(own, int):
        own = levels.get("users_default", 0)
    needed = levels.get("state_default", 50)
    return isinstance(own, int) and isinstance(needed, int) and own >= needed


def _wished(spec: RoomSpec) -> State:
    state: State = {
        ("m.room.join_rules", ""): {"join_rule": spec.join_rule},
        ("m.room.history_visibility", ""): {"history_visibility": spec.history_visibility},
        ("m.room.guest_access", ""): {"guest_access": "forbidden"},
    }
    if spec.name:
        state["m.room.name", ""] = {"name": spec.name}
    if spec.topic:
        state["m.room.topic", ""] = {"topic": spec.topic}
    for event_type, key, content in spec.state:
        state[event_type, key] = dict(content)
    return state


def _is_so(event_type: str, current: Mapping[str, Any] | None, wished: Mapping[str, Any]) -> bool:
    if current is None:
        return False
    if event_type == "m.room.topic":
        # createRoom adds a rich form (m.topic) beside the plain one.
        return current.get("topic") == wished.get("topic")
    return current == wished
