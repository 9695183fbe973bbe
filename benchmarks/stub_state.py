"""What the stub homeserver remembers: users, rooms, aliases, transaction ids, media, ordered faults."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Room:
    """A room: current state by (type, key); members are in it as m.room.member."""

    room_id: str
    alias: str | None = None
    state: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def members(self, membership: str = "join") -> list[str]:
        """List the users with this membership."""
        return [
            key
            for (kind, key), content in self.state.items()
            if kind == "m.room.member" and content.get("membership") == membership
        ]


@dataclass(slots=True)
class Fault:
    """An ordered fault: the next ``remaining`` requests to a path that contains ``path`` get it.

    ``status`` is answered instead of acting; with ``act`` the request takes effect first; with ``drop`` the
    connection is cut instead of answered. ``retry_after_ms`` goes into a 429's body.
    """

    remaining: int
    path: str = "/send/"
    status: int = 502
    act: bool = False
    drop: bool = False
    retry_after_ms: int = 100


class Homeserver:
    """The stub's memory. Nothing is kept per message but its transaction id."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.rooms: dict[str, Room] = {}
        self.aliases: dict[str, str] = {}
        self.profiles: dict[str, dict[str, Any]] = {}
        self.users: set[str] = set()
        self.devices: dict[str, set[str]] = {}
        self.transactions: dict[tuple[str, str, str], str] = {}
        self.media: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.events = itertools.count(1)
        self._rooms = itertools.count(1)

    def event_id(self) -> str:
        """Give a new event id."""
        return f"$e{next(self.events)}:{self.domain}"

    def create_room(self, creator: str, request: dict[str, Any]) -> Room | None:
        """Make a room as asked; None when its alias is taken."""
        localpart = request.get("room_alias_name")
        alias = f"#{localpart}:{self.domain}" if localpart else None
        if alias is not None and alias in self.aliases:
            return None
        room = Room(f"!r{next(self._rooms)}:{self.domain}", alias)
        self.rooms[room.room_id] = room
        if alias is not None:
            self.aliases[alias] = room.room_id
            room.state["m.room.canonical_alias", ""] = {"alias": alias}
        room.state["m.room.create", ""] = {"creator": creator, "room_version": "11"}
        powers = {"users": {creator: 100}, **request.get("power_level_content_override", {})}
        room.state["m.room.power_levels", ""] = powers
        for event in request.get("initial_state", []):
            room.state[event["type"], event.get("state_key", "")] = event["content"]
        for key, kind in (("name", "m.room.name"), ("topic", "m.room.topic")):
            if key in request:
                room.state[kind, ""] = {key: request[key]}
        room.state["m.room.member", creator] = {"membership": "join"}
        for user in request.get("invite", []):
            room.state["m.room.member", user] = {"membership": "invite"}
        return room

    def set_member(self, room_id: str, user: str, membership: str) -> None:
        """Change a membership; a room nobody made is made up."""
        room = self.rooms.setdefault(room_id, Room(room_id))
        room.state["m.room.member", user] = {"membership": membership, **self.profiles.get(user, {})}

    def fault_for(self, path: str) -> Fault | None:
        """Take one use of the first ordered fault that applies to this path."""
        for fault in self.faults:
            if fault.path in path:
                fault.remaining -= 1
                if fault.remaining <= 0:
                    self.faults.remove(fault)
                return fault
        return None
