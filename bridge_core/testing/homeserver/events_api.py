"""Endpoints of the fake about events: send, redact, look up, page back, and the ping of the appservice."""

from typing import Any

import orjson
from aiohttp import web

from bridge_core.testing.homeserver.accounts_api import json_of
from bridge_core.testing.homeserver.caller import Caller, identify
from bridge_core.testing.homeserver.failure import MatrixError, forbidden, not_found
from bridge_core.testing.homeserver.push import Pusher
from bridge_core.testing.homeserver.world import World

__all__ = ["EventsApi"]


class EventsApi:
    """Handlers return what is sent as JSON."""

    def __init__(self, world: World, pusher: Pusher) -> None:
        self._world = world
        self._pusher = pusher

    def add_to(self, router: "web.UrlDispatcher", wrap: Any) -> None:
        """Adds the routes."""
        room = "/_matrix/client/v3/rooms/{room}"
        for method, path, handler in (
            ("PUT", f"{room}/send/{{type}}/{{txn}}", self.send),
            ("PUT", f"{room}/redact/{{event}}/{{txn}}", self.redact),
            ("GET", f"{room}/event/{{event}}", self.event),
            ("GET", f"{room}/context/{{event}}", self.context),
            ("GET", f"{room}/messages", self.messages),
        ):
            router.add_route(method, path, wrap(handler))
        if self._world.profile.ping:
            router.add_route("POST", "/_matrix/client/v1/appservice/{id}/ping", wrap(self.ping))

    async def send(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        content = await json_of(request)
        room = self._world.room(request.match_info["room"])
        known = self._known(request, caller, room.id)
        if known is not None:
            return known
        event_type = request.match_info["type"]
        room.check_send(caller.user, event_type, content, None)
        ts = int(request.query["ts"]) if caller.appservice and "ts" in request.query else None
        event = self._world.emit(room, caller.user, event_type, content, ts=ts)
        return self._remember(request, caller, room.id, event["event_id"])

    async def redact(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        content = await json_of(request)
        room = self._world.room(request.match_info["room"])
        known = self._known(request, caller, room.id)
        if known is not None:
            return known
        target = request.match_info["event"]
        room.check_redact(caller.user, target)
        content = {**content, "redacts": target}
        event = self._world.emit(room, caller.user, "m.room.redaction", content, redacts=target)
        return self._remember(request, caller, room.id, event["event_id"])

    async def event(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        room = self._world.room(request.match_info["room"])
        event = room.by_id.get(request.match_info["event"])
        if event is None or not room.may_see(caller.user, event):
            raise not_found("Event not found.")
        return event

    async def context(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        room = self._world.room(request.match_info["room"])
        if room.membership(caller.user) != "join":
            raise forbidden(f"User {caller.user} not in room {room.id}")
        event = room.by_id.get(request.match_info["event"])
        if event is None or not room.may_see(caller.user, event):
            raise not_found("Event not found.")
        half = int(request.query.get("limit", "10")) // 2
        seen = [one for one in room.timeline if room.may_see(caller.user, one)]
        place = seen.index(event)
        before, after = seen[max(0, place - half) : place], seen[place + 1 : place + 1 + half]
        first, last = (before or [event])[0], (after or [event])[-1]
        return {
            "start": str(room.timeline.index(first) + 1),
            "end": str(room.timeline.index(last) + 1),
            "event": event,
            "events_before": before[::-1],
            "events_after": after,
            "state": [],
        }

    async def messages(self, request: web.Request) -> dict[str, Any]:
        caller = identify(self._world, request)
        room = self._world.room(request.match_info["room"])
        if room.membership(caller.user) != "join":
            raise forbidden(f"User {caller.user} not in room {room.id}")
        wanted = orjson.loads(request.query.get("filter", "{}"))
        limit = int(request.query.get("limit", "10"))
        backwards = request.query.get("dir", "b") == "b"
        events = list(enumerate(room.timeline, 1))
        if backwards:
            events.reverse()
        start = request.query.get("from")
        chunk: list[dict[str, Any]] = []
        end = None
        for position, event in events:
            if start is not None and (position >= int(start) if backwards else position <= int(start)):
                continue
            if len(chunk) == limit:
                break
            end = position
            if _matches(event, wanted) and room.may_see(caller.user, event):
                chunk.append(event)
        answer: dict[str, Any] = {"chunk": chunk, "start": start or "0"}
        if end is not None and end != (1 if backwards else len(room.timeline)):
            answer["end"] = str(end)
        return answer

    async def ping(self, request: web.Request) -> dict[str, Any]:
        identify(self._world, request)
        if request.match_info["id"] != self._world.appservice.id:
            raise forbidden("The application service id is another one")
        body = await json_of(request)
        return {"duration_ms": await self._pusher.ping(body.get("transaction_id"))}

    def _known(self, request: web.Request, caller: Caller, room: str) -> dict[str, Any] | None:
        known = self._world.memory_txns.get(caller.txn_key(request))
        if known is None and caller.device is not None:
            known = self._world.durable_txns.get((room, caller.user, caller.device, request.match_info["txn"]))
        return known

    def _remember(self, request: web.Request, caller: Caller, room: str, event_id: str) -> dict[str, Any]:
        answer = {"event_id": event_id}
        self._world.memory_txns[caller.txn_key(request)] = answer
        if caller.device is not None:
            self._world.durable_txns[room, caller.user, caller.device, request.match_info["txn"]] = answer
        return answer


def _matches(event: dict[str, Any], wanted: dict[str, Any]) -> bool:
    if not isinstance(wanted, dict):
        raise MatrixError(400, "M_INVALID_PARAM", "filter")
    senders, types = wanted.get("senders"), wanted.get("types")
    return (senders is None or event["sender"] in senders) and (types is None or event["type"] in types)
