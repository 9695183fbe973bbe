"""A human of the fake homeserver, who acts through Python rather than HTTP."""

import time
from typing import Any

from bridge_core.testing.homeserver.records import Account
from bridge_core.testing.homeserver.room import Event
from bridge_core.testing.homeserver.world import World

__all__ = ["FakeUser"]


class FakeUser:
    """Acts as one user; everything is checked and pushed as if it had come in by HTTP. `token` works by HTTP too."""

    def __init__(self, world: World, account: Account) -> None:
        self._world = world
        self._account = account

    @property
    def id(self) -> str:
        """The user id."""
        return self._account.id

    @property
    def token(self) -> str:
        """The access token."""
        return self._account.token or ""

    @property
    def device(self) -> str:
        """The device that `token` belongs to."""
        return self._account.device or ""

    def wipe(self) -> None:
        """The client has lost all it had: its device is gone, and `token` belongs to a new one without keys."""
        self._world.new_device(self._account)

    def to_device(self) -> list[dict[str, Any]]:
        """The to-device messages that came since the last call."""
        return self._world.keys.take(self.id, self.device)

    def create_room(self, **body: Any) -> str:
        """Creates a room; keywords are those of createRoom (`name=`, `preset="public_chat"`, `invite=[...]`)."""
        return self._world.create_room(self.id, body)

    def send(self, room: str, body: str, msgtype: str = "m.text", **more: Any) -> str:
        """Sends a message; `more` are further keys of its content. Returns the event id."""
        return self.send_event(room, "m.room.message", {"msgtype": msgtype, "body": body, **more})

    def send_event(self, room: str, event_type: str, content: dict[str, Any]) -> str:
        """Sends any event."""
        there = self._world.room(room)
        there.check_send(self.id, event_type, content, None)
        event_id: str = self._world.emit(there, self.id, event_type, content)["event_id"]
        return event_id

    def reply(self, room: str, to: str, body: str) -> str:
        """Replies to an event."""
        relation = {"m.in_reply_to": {"event_id": to}}
        return self.send_event(room, "m.room.message", {"msgtype": "m.text", "body": body, "m.relates_to": relation})

    def edit(self, room: str, event: str, body: str) -> str:
        """Replaces a message's text."""
        new = {"msgtype": "m.text", "body": body}
        relation = {"rel_type": "m.replace", "event_id": event}
        content = {"msgtype": "m.text", "body": f"* {body}", "m.new_content": new, "m.relates_to": relation}
        return self.send_event(room, "m.room.message", content)

    def react(self, room: str, event: str, key: str) -> str:
        """Reacts."""
        relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
        return self.send_event(room, "m.reaction", {"m.relates_to": relation})

    def redact(self, room: str, event: str, reason: str | None = None) -> str:
        """Redacts."""
        there = self._world.room(room)
        there.check_redact(self.id, event)
        content: dict[str, Any] = {"redacts": event, **({"reason": reason} if reason else {})}
        event_id: str = self._world.emit(there, self.id, "m.room.redaction", content, redacts=event)["event_id"]
        return event_id

    def set_state(self, room: str, event_type: str, content: dict[str, Any], key: str = "") -> str:
        """Sets state."""
        there = self._world.room(room)
        there.check_send(self.id, event_type, content, key)
        event_id: str = self._world.emit(there, self.id, event_type, content, state_key=key)["event_id"]
        return event_id

    def join(self, room: str) -> None:
        """Joins a room by id, or by an alias that exists."""
        self._world.join(self._world.room(self._world.aliases.get(room, room)), self.id)

    def knock(self, room: str, reason: str | None = None) -> None:
        """Asks to be let in."""
        self._world.knock(self._world.room(room), self.id, reason)

    def leave(self, room: str) -> None:
        """Leaves, or rejects an invite."""
        self._world.leave(self._world.room(room), self.id)

    def invite(self, room: str, user: str) -> None:
        """Invites; unlike by HTTP, an unknown ghost is not asked for."""
        self._world.invite(self._world.room(room), self.id, user)

    def kick(self, room: str, user: str, reason: str | None = None) -> None:
        """Kicks."""
        self._world.remove(self._world.room(room), self.id, user, "leave", reason)

    def ban(self, room: str, user: str, reason: str | None = None) -> None:
        """Bans."""
        self._world.remove(self._world.room(room), self.id, user, "ban", reason)

    def typing(self, room: str, is_typing: bool = True) -> None:
        """Types, or ends."""
        there = self._world.room(room)
        (there.typing.add if is_typing else there.typing.discard)(self.id)
        content = {"user_ids": sorted(there.typing)}
        self._world.ephemeral({"type": "m.typing", "room_id": room, "content": content})

    def read(self, room: str, event: str) -> None:
        """Moves the read receipt."""
        self._world.room(room).receipts[self.id] = event
        content = {event: {"m.read": {self.id: {"ts": int(time.time() * 1000)}}}}
        self._world.ephemeral({"type": "m.receipt", "room_id": room, "content": content})

    def upload(self, data: bytes, mime: str = "application/octet-stream", name: str | None = None) -> str:
        """Uploads a file and returns its mxc address."""
        mxc = self._world.reserve(self.id)
        file = self._world.file(mxc)
        file.data, file.mime, file.name = data, mime, name
        return mxc

    def set_profile(self, name: str | None = None, avatar: str | None = None) -> None:
        """Changes name or picture, in all rooms too."""
        if name is not None:
            self._account.displayname = name
        if avatar is not None:
            self._account.avatar_url = avatar
        for room in self._world.rooms.values():
            if room.membership(self.id) == "join":
                self._world.set_member(room, self.id, self.id, "join")

    def sees(self, room: str) -> list[Event]:
        """The room's timeline as far as the user may see it."""
        there = self._world.room(room)
        return [event for event in there.timeline if there.may_see(self.id, event)]
