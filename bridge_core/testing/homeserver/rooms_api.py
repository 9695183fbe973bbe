"""Endpoints of the fake about rooms: creation, directory, membership, state, typing, receipts."""

import time
from typing import Any

from aiohttp import web

from bridge_core.testing.homeserver.accounts_api import json_of
from bridge_core.testing.homeserver.caller import Caller, identify
from bridge_core.testing.homeserver.failure import MatrixError, forbidden, not_found
from bridge_core.testing.homeserver.push import Pusher
from bridge_core.testing.homeserver.room import Event, FakeRoom
from bridge_core.testing.homeserver.world import World

__all__ = ["RoomsApi"]


class RoomsApi:
    """Handlers return what is sent as JSON."""

    def __init__(self, world: World, pusher: Pusher) -> None:
        self._world = world
        self._pusher = pusher

    def add_to(self, router: "web.UrlDispatcher", wrap: Any) -> None:
        """Adds the routes."""
        v3 = "/_matrix/client/v3"
        room = f"{v3}/rooms/{{room}}"
        for method, path, handler in (
            ("POST", f"{v3}/createRoom", self.create),
            ("GET", f"{v3}/joined_rooms", self.joined_rooms),
            ("GET", f"{v3}/directory/room/{{alias}}", self.lookup),
            ("PUT", f"{v3}/directory/room/{{alias}}", self.put_alias),
            ("DELETE", f"{v3}/directory/room/{{alias}}", self.delete_alias),
            ("PUT", f"{v3}/directory/list/room/{{room}}", self.publish),
            ("POST", f"{v3}/join/{{room}}", self.join),
            ("POST", f"{v3}/knock/{{room}}", self.knock),
            ("POST", f"{room}/join", self.join),
            ("POST", f"{room}/leave", self.leave),
            ("POST", f"{room}/upgrade", self.upgrade),
            ("POST", f"{room}/invite", self.invite),
            ("POST", f"{room}/kick", self.kick),
            ("POST", f"{room}/ban", self.ban),
            ("POST", f"{room}/unban", self.unban),
            ("GET", f"{room}/joined_members", self.joined_members),
            ("GET", f"{room}/members", self.all_members),
            ("GET", f"{room}/state", self.all_state),
            ("GET", f"{room}/state/{{type}}", self.state),
            ("GET", f"{room}/state/{{type}}/{{key:.*}}", self.state),
            ("PUT", f"{room}/state/{{type}}", self.put_state),
            ("PUT", f"{room}/state/{{type}}/{{key:.*}}", self.put_state),
            ("PUT", f"{room}/typing/{{user}}", self.typing),
            ("POST", f"{room}/receipt/{{receipt}}/{{event}}", self.receipt),
            ("POST", f"{room}/read_markers", self.read_markers),
            ("GET", f"{v3}/user/{{user}}/rooms/{{room}}/account_data/m.fully_read", self.fully_read),
        ):
            router.add_route(method, path, wrap(handler))

    async def create(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        return {"room_id": self._world.create_room(caller.user, await json_of(request))}

    async def joined_rooms(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        rooms = [room.id for room in self._world.rooms.values() if room.membership(caller.user) == "join"]
        return {"joined_rooms": rooms}

    async def lookup(self, request: web.Request) -> dict[str, Any]:
        return {"room_id": await self._resolve(request.match_info["alias"]), "servers": [self._world.server_name]}

    async def put_alias(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        alias = request.match_info["alias"]
        if alias in self._world.aliases:
            raise MatrixError(409, "M_UNKNOWN", f"Room alias {alias} already exists")
        self._world.aliases[alias] = str((await json_of(request))["room_id"])
        return {}

    async def delete_alias(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        if self._world.aliases.pop(request.match_info["alias"], None) is None:
            raise not_found("no such alias")
        return {}

    async def publish(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        room = self._world.room(request.match_info["room"])
        if room.membership(caller.user) != "join":
            raise forbidden("not in the room")
        self._world.published[room.id] = str((await json_of(request)).get("visibility", "public"))
        return {}

    async def join(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        name = request.match_info["room"]
        room = self._world.room(await self._resolve(name) if name.startswith("#") else name)
        self._world.join(room, caller.user)
        return {"room_id": room.id}

    async def leave(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._who_where(request)
        self._world.leave(room, caller.user, (await json_of(request)).get("reason"))
        return {}

    async def upgrade(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._who_where(request)
        version = str((await json_of(request)).get("new_version"))
        return {"replacement_room": self._world.upgrade(room, caller.user, version)}

    async def invite(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._who_where(request)
        user = str((await json_of(request)).get("user_id"))
        if user not in self._world.accounts and user.endswith(f":{self._world.server_name}"):
            await self._pusher.query_user(user)
        self._world.invite(room, caller.user, user)
        return {}

    async def kick(self, request: web.Request) -> dict[str, Any]:
        return await self._remove(request, "leave")

    async def ban(self, request: web.Request) -> dict[str, Any]:
        return await self._remove(request, "ban")

    async def unban(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._who_where(request)
        body = await json_of(request)
        self._world.unban(room, caller.user, str(body.get("user_id")), body.get("reason"))
        return {}

    async def knock(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        name = request.match_info["room"]
        room = self._world.room(await self._resolve(name) if name.startswith("#") else name)
        self._world.knock(room, caller.user, (await json_of(request)).get("reason"))
        return {"room_id": room.id}

    async def joined_members(self, request: web.Request) -> dict[str, Any]:
        room = self._inside(request)[1]
        joined = {}
        for user in room.members():
            content = room.content("m.room.member", user) or {}
            joined[user] = {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
        return {"joined": joined}

    async def all_members(self, request: web.Request) -> dict[str, Any]:
        wanted, unwanted = request.query.get("membership"), request.query.get("not_membership")
        members = [event for (kind, _), event in self._seen(request).items() if kind == "m.room.member"]
        shown = [(event, event["content"].get("membership")) for event in members]
        return {"chunk": [event for event, is_ in shown if wanted in {None, is_} and is_ != unwanted]}

    async def all_state(self, request: web.Request) -> list[Any]:
        return list(self._seen(request).values())

    async def state(self, request: web.Request) -> dict[str, Any]:
        event = self._seen(request).get((request.match_info["type"], request.match_info.get("key", "")))
        if event is None:
            raise not_found("Event not found.")
        if request.query.get("format") == "event":
            return event
        content: dict[str, Any] = event["content"]
        return content

    async def put_state(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._who_where(request)
        content = await json_of(request)
        event_type, key = request.match_info["type"], request.match_info.get("key", "")
        room.check_send(caller.user, event_type, content, key)
        current = room.current.get((event_type, key))
        if current is not None and current["content"] == content and current["sender"] == caller.user:
            return {"event_id": current["event_id"]}
        ts = int(request.query["ts"]) if caller.appservice and "ts" in request.query else None
        event = self._world.emit(room, caller.user, event_type, content, state_key=key, ts=ts)
        return {"event_id": event["event_id"]}

    async def typing(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._inside(request)
        if caller.user != request.match_info["user"]:
            raise forbidden("Cannot set another user's typing state")
        before = frozenset(room.typing)
        if (await json_of(request)).get("typing"):
            room.typing.add(caller.user)
        else:
            room.typing.discard(caller.user)
        if before != room.typing:
            content = {"user_ids": sorted(room.typing)}
            self._world.ephemeral({"type": "m.typing", "room_id": room.id, "content": content})
        return {}

    async def receipt(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._inside(request)
        event, kind = request.match_info["event"], request.match_info["receipt"]
        thread = (await json_of(request)).get("thread_id")
        if kind not in {"m.read", "m.read.private", "m.fully_read"}:
            raise MatrixError(400, "M_INVALID_PARAM", "Receipt type must be m.read, m.read.private or m.fully_read")
        return self._read(caller, room, event, kind, thread)

    async def read_markers(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._inside(request)
        for kind, event in (await json_of(request)).items():
            if kind in {"m.read", "m.read.private", "m.fully_read"}:
                self._read(caller, room, event, kind, None)
        return {}

    async def fully_read(self, request: web.Request) -> dict[str, Any]:
        caller, room = self._inside(request)
        if caller.user != request.match_info["user"]:
            raise forbidden("Cannot get account data for other users.")
        if caller.user not in room.markers:
            raise not_found("Room account data not found.")
        return {"event_id": room.markers[caller.user]}

    def _read(self, caller: Caller, room: FakeRoom, event: str, kind: str, thread: Any) -> dict[str, Any]:
        if event not in room.by_id:
            return {}
        places = {known["event_id"]: place for place, known in enumerate(room.timeline)}
        if kind == "m.fully_read":
            if places.get(room.markers.get(caller.user, ""), -1) < places[event]:
                room.markers[caller.user] = event
            return {}
        last = room.receipts.get(caller.user) if kind == "m.read" and thread is None else None
        if last is not None and places[last] >= places[event]:
            return {}  # never backwards
        if kind == "m.read":
            room.receipts[caller.user] = event
        data = {"ts": int(time.time() * 1000), **({"thread_id": thread} if thread is not None else {})}
        if kind == "m.read" or caller.appservice:  # private ones reach only the service that owns the user
            content = {event: {kind: {caller.user: data}}}
            self._world.ephemeral({"type": "m.receipt", "room_id": room.id, "content": content})
        return {}

    async def _resolve(self, alias: str) -> str:
        if alias not in self._world.aliases and self._world.appservice.owns_alias(alias, self._world.server_name):
            await self._pusher.query_room(alias)
        if alias not in self._world.aliases:
            raise not_found(f"Room alias {alias} not found.")
        return self._world.aliases[alias]

    async def _remove(self, request: web.Request, membership: str) -> dict[str, Any]:
        caller, room = self._who_where(request)
        body = await json_of(request)
        self._world.remove(room, caller.user, str(body.get("user_id")), membership, body.get("reason"))
        return {}

    def _seen(self, request: web.Request) -> dict[tuple[str, str], Event]:
        """The state that the caller may see: who left sees it as it was then."""
        caller, room = self._who_where(request)
        state = room.seen_by(caller.user)
        if state is None:
            raise forbidden(f"User {caller.user} not in room {room.id}")
        return state

    def _who_where(self, request: web.Request) -> tuple[Caller, FakeRoom]:
        return identify(self._world, request), self._world.room(request.match_info["room"])

    def _inside(self, request: web.Request) -> tuple[Caller, FakeRoom]:
        caller, room = self._who_where(request)
        if room.membership(caller.user) != "join":
            raise forbidden(f"User {caller.user} not in room {room.id}")
        return caller, room
