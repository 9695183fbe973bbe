"""A homeserver that answers at once: ``python -m benchmarks.stub_homeserver --port N``.

It knows what an application service asks for and nothing of Matrix's rules. ``/_stub/...`` controls it:
``stats``, ``reset``, ``wait``, ``rooms``, ``state``, ``faults``, ``appservice``, ``events``, ``push``, and those of
`stub_keys`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvloop

from benchmarks.http_protocol import HttpProtocol, Reply
from benchmarks.push import AppserviceLink, Load, push
from benchmarks.stub_keys import KeyRoutes
from benchmarks.stub_state import Fault, Homeserver, Room
from benchmarks.tally import Tally

Query = dict[str, list[str]]
Route = Callable[[str, list[str], Query, dict[str, Any]], Reply]

_EMPTY = Reply(200)


def ok(value: object) -> Reply:
    """Answer 200 with JSON."""
    return Reply(200, orjson.dumps(value))


def error(status: int, code: str, text: str = "stub", **more: object) -> Reply:
    """Answer a Matrix error."""
    return Reply(status, orjson.dumps({"errcode": code, "error": text, **more}))


class StubHomeserver(KeyRoutes):
    """Routes requests to answers over one memory. Nothing blocks; only control requests are awaited."""

    def __init__(self, domain: str, bot: str) -> None:
        super().__init__()
        self.state = Homeserver(domain)
        self.bot = f"@{bot}:{domain}"
        self.tally = Tally()
        self.link: AppserviceLink | None = None
        self._txns = itertools.count(1)
        self._pushes: set[asyncio.Task[None]] = set()
        self.problems: list[str] = []

    # --- entry

    def handle(self, method: str, path: str, query: str, body: bytes) -> Reply | Awaitable[Reply]:
        """Answer one request."""
        if path.startswith("/_stub/"):
            return self._control(path[7:], orjson.loads(body) if body else {})
        fault = self.state.fault_for(path) if self.state.faults else None
        if fault is not None and not fault.act:
            return self._faulted(fault)
        reply = self._client(method, path, query, body)
        return reply if fault is None or not isinstance(reply, Reply) else self._faulted(fault)

    def _faulted(self, fault: Fault) -> Reply:
        if fault.drop:
            return Reply(0, drop=True)
        if fault.status == 429:
            return error(429, "M_LIMIT_EXCEEDED", retry_after_ms=fault.retry_after_ms)
        return error(fault.status, "M_UNKNOWN")

    def _client(self, method: str, path: str, query: str, body: bytes) -> Reply | Awaitable[Reply]:
        parts = path.split("/")
        if method == "PUT" and len(parts) >= 9 and parts[4] == "rooms" and parts[6] == "send":
            return self._send(parts, query, body)
        parts = [urllib.parse.unquote(part) for part in parts if part]
        self.state.requests[f"{method} {'/'.join(parts[:4])}"] += 1
        asked = urllib.parse.parse_qs(query)
        user = asked.get("user_id", [self.bot])[0]
        if parts[:2] == ["_matrix", "media"] or "media" in parts[:5]:
            return self._media(method, parts, body)
        if parts == ["_matrix", "client", "versions"]:
            versions = ["v1.1", "v1.5", "v1.11", "v1.13"]
            return ok({"versions": versions, "unstable_features": {}})
        if len(parts) > 4 and parts[2] in ("v1", "unstable") and "appservice" in parts:
            return self._ping(orjson.loads(body) if body else {})
        data = orjson.loads(body) if body[:1] == b"{" else {}
        if len(parts) < 4 or parts[:2] != ["_matrix", "client"]:
            return error(404, "M_UNRECOGNIZED")
        name = parts[3]
        if (method, name) == ("GET", "sync"):
            return self._synced(asked)
        route: Route | None = getattr(self, f"_{method.lower()}_{name.lower()}", None)
        if route is None:
            return error(404, "M_UNRECOGNIZED", f"{method} {path}")
        return route(user, parts[4:], asked, data)

    # --- the hot path

    def _send(self, parts: list[str], query: str, body: bytes) -> Reply:
        """Accept an event once per (user, device, transaction id), as Synapse does with device masquerading."""
        room, txn = parts[5], parts[8]
        key = (query.partition("user_id=")[2].partition("&")[0], room, txn)
        known = self.state.transactions.get(key)
        if known is None:
            known = self.state.transactions[key] = self.state.event_id()
            if parts[7] == "m.room.encrypted":
                self.tally.sealed()
                self.keys.sealed.append((urllib.parse.unquote(room), urllib.parse.unquote(key[0]), body))
            else:
                self.tally.add(room, body)
        return Reply(200, b'{"event_id":"%s"}' % known.encode())

    # --- client API; (user, path after the name, query, body)

    def _get_account(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        device = query.get("device_id", [None])[0]
        return ok({"user_id": user} | ({"device_id": device} if device else {}))

    def _post_register(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        made = f"@{data.get('username', '')}:{self.state.domain}"
        if made in self.state.users:
            return error(400, "M_USER_IN_USE")
        self.state.users.add(made)
        return ok({"user_id": made})

    def _put_devices(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        self.state.devices.setdefault(user, set()).add(rest[0])
        return Reply(201)

    def _get_devices(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        known = self.state.devices.get(user, set())
        return ok({"devices": [{"device_id": device} for device in known]})

    def _put_profile(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        self.state.profiles.setdefault(rest[0], {}).update(data)
        return _EMPTY

    def _get_profile(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        profile = self.state.profiles.get(rest[0], {})
        return ok({rest[1]: profile[rest[1]]} if len(rest) > 1 and rest[1] in profile else profile)

    def _post_createroom(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        room = self.state.create_room(user, data)
        return ok({"room_id": room.room_id}) if room else error(400, "M_ROOM_IN_USE")

    def _get_directory(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        room_id = self.state.aliases.get(rest[-1])
        if room_id is None:
            return error(404, "M_NOT_FOUND")
        return ok({"room_id": room_id, "servers": [self.state.domain]})

    def _put_directory(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        if rest[0] == "room":
            if rest[1] in self.state.aliases:
                return error(409, "M_UNKNOWN", "Room alias already exists")
            self.state.aliases[rest[1]] = data["room_id"]
        return _EMPTY

    def _delete_directory(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        self.state.aliases.pop(rest[-1], None)
        return _EMPTY

    def _post_join(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        room_id = self.state.aliases.get(rest[0], rest[0])
        self.state.set_member(room_id, user, "join")
        return ok({"room_id": room_id})

    def _get_joined_rooms(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        rooms = (room for room in self.state.rooms.values() if ("m.room.member", user) in room.state)
        return ok({"joined_rooms": [room.room_id for room in rooms]})

    def _post_rooms(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        act = rest[1]
        membership = {"join": "join", "leave": "leave", "invite": "invite", "kick": "leave", "ban": "ban"}
        if act in membership:
            self.state.set_member(rest[0], data.get("user_id", user), membership[act])
            return ok({"room_id": rest[0]})
        return _EMPTY if act in ("receipt", "read_markers", "unban", "forget") else error(404, "M_UNRECOGNIZED")

    def _put_rooms(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        act = rest[1]
        if act == "state":
            room = self.state.rooms.setdefault(rest[0], Room(rest[0]))
            room.state[rest[2], rest[3] if len(rest) > 3 else ""] = data
            return ok({"event_id": self.state.event_id()})
        if act == "redact":
            return ok({"event_id": self.state.event_id()})
        return _EMPTY if act == "typing" else error(404, "M_UNRECOGNIZED")

    def _get_rooms(self, user: str, rest: list[str], query: Query, data: dict[str, Any]) -> Reply:
        room = self.state.rooms.get(rest[0])
        if room is None:
            return error(403, "M_FORBIDDEN")
        act = rest[1]
        if act == "joined_members":
            joined = {member: self.state.profiles.get(member, {}) for member in room.members()}
            return ok({"joined": joined})
        if act == "messages":
            return ok({"chunk": [], "start": "s0"})
        events = [
            {"type": kind, "state_key": key, "content": content, "sender": self.bot, "room_id": room.room_id}
            for (kind, key), content in room.state.items()
        ]
        if act == "members":
            return ok({"chunk": [event for event in events if event["type"] == "m.room.member"]})
        if act == "state" and len(rest) == 2:
            return ok(events)
        if act == "state":
            content = room.state.get((rest[2], rest[3] if len(rest) > 3 else ""))
            return ok(content) if content is not None else error(404, "M_NOT_FOUND")
        if act == "aliases":
            return ok({"aliases": [a for a, r in self.state.aliases.items() if r == rest[0]]})
        return error(404, "M_UNRECOGNIZED")

    def _media(self, method: str, parts: list[str], body: bytes) -> Reply:
        """Upload (at once, or create and PUT), and download what was uploaded."""
        if "download" in parts:
            data = self.state.media.get(parts[-1])
            return Reply(200, data, content_type=b"application/octet-stream") if data else error(404, "M_NOT_FOUND")
        if method == "PUT":
            if self.state.media.get(parts[-1]):
                return error(409, "M_CANNOT_OVERWRITE_MEDIA")
            self.state.media[parts[-1]] = body
            return _EMPTY
        if method == "GET":
            return ok({"m.upload.size": 50 << 20})
        media = f"m{next(self.state.events)}"
        self.state.media[media] = b"" if parts[-1] == "create" else body
        return ok({"content_uri": f"mxc://{self.state.domain}/{media}"})

    async def _ping(self, data: dict[str, Any]) -> Reply:
        if self.link is None:
            return error(400, "M_URL_NOT_SET")
        started = time.monotonic()
        link = AppserviceLink(self.link.url, self.link.token)
        try:
            status, _ = await link.request("POST", "/_matrix/app/v1/ping", orjson.dumps(data))
        except OSError as problem:
            return error(502, "M_CONNECTION_FAILED", str(problem))
        finally:
            await link.close()
        if status != 200:
            return error(502, "M_BAD_STATUS", f"the appservice answered {status}")
        return ok({"duration_ms": int((time.monotonic() - started) * 1000)})

    # --- control

    async def _control(self, name: str, data: dict[str, Any]) -> Reply:
        state = self.state
        if name == "stats":
            users, rooms = len(state.users), len(state.rooms)
            return ok({**self.tally.report(), "users": users, "rooms": rooms, "requests": dict(state.requests)})
        if name == "reset":
            self.tally.reset()
            state.transactions.clear()
            self.keys.sealed.clear()
        elif (found := self._about_keys(name, data)) is not None:
            return ok(found)
        elif name == "wait":
            return ok({"reached": await self.tally.wait(data["count"], data["seconds"])})
        elif name == "rooms":
            return ok(state.aliases)
        elif name == "joined":
            return ok({"joined": len(state.rooms[data["room"]].members())})
        elif name == "members":
            for room_id, user in data["members"]:
                state.set_member(room_id, user, data.get("membership", "join"))
        elif name == "state":
            for room_id in data["rooms"]:
                state.rooms.setdefault(room_id, Room(room_id)).state[data["type"], ""] = data["content"]
        elif name == "faults":
            state.faults.append(Fault(**data))
        elif name == "appservice":
            self.link = AppserviceLink(data["url"], data["hs_token"])
        elif name in ("events", "push") and self.link is None:
            return error(400, "M_URL_NOT_SET")
        elif name == "events":
            assert self.link is not None
            await self.link.transaction(**data)
        elif name == "push":
            await self._push(data)
        else:
            return error(404, "M_UNRECOGNIZED")
        return _EMPTY

    async def _push(self, data: dict[str, Any]) -> None:
        assert self.link is not None
        wait = data.pop("wait", True)
        work = push(self.link, Load(**data), self.state.events, self.state.domain)
        if wait:
            await work
            return
        task = asyncio.create_task(work, name="push")
        self._pushes.add(task)
        task.add_done_callback(self._pushed)

    def _pushed(self, task: asyncio.Task[None]) -> None:
        self._pushes.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.problems.append(repr(problem))


async def serve(port: int, domain: str, bot: str) -> None:
    """Run the stub until SIGINT or SIGTERM; prints its port as one JSON line."""
    stub = StubHomeserver(domain, bot)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(stub.handle), "127.0.0.1", port, backlog=1024)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stopped.wait()
    server.close()


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run the stub."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub_homeserver", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--domain", default="bench.test")
    parser.add_argument("--bot", default="bridgebot")
    args = parser.parse_args(argv)
    uvloop.run(serve(args.port, args.domain, args.bot))


if __name__ == "__main__":
    main()
