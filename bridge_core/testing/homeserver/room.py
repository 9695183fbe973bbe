"""One room of the fake: state, timeline, and as much of the authorization rules as bridges run into."""

import math
from typing import Any

from bridge_core.testing.homeserver.failure import MatrixError, forbidden

__all__ = ["FakeRoom"]

Event = dict[str, Any]

_MAX_EVENT = 65536
_SHARED = frozenset({"shared", "world_readable"})


class FakeRoom:
    """Events in order and the state they make. Events are plain dicts as clients see them."""

    def __init__(self, room_id: str, version: str, creator: str) -> None:
        self.id = room_id
        self.version = version
        self.creator = creator
        self.timeline: list[Event] = []
        self.current: dict[tuple[str, str], Event] = {}
        self.by_id: dict[str, Event] = {}
        self.typing: set[str] = set()
        self.receipts: dict[str, str] = {}
        self.markers: dict[str, str] = {}

    def content(self, event_type: str, key: str = "") -> dict[str, Any] | None:
        """A state event's content, None when it is not set."""
        event = self.current.get((event_type, key))
        return None if event is None else event["content"]

    def membership(self, user: str) -> str | None:
        """`join`, `invite`, `leave`, `ban`, `knock` or None."""
        member = self.content("m.room.member", user)
        return None if member is None else member.get("membership")

    def members(self, *memberships: str) -> list[str]:
        """Users with one of the memberships (`join` when none is named)."""
        wanted = memberships or ("join",)
        return [
            key
            for (event_type, key), event in self.current.items()
            if event_type == "m.room.member" and event["content"].get("membership") in wanted
        ]

    def seen_by(self, user: str) -> dict[tuple[str, str], Event] | None:
        """The state as a member sees it: who left, or was removed, as it was then; None for who was never in it."""
        if self.membership(user) == "join":
            return self.current
        state: dict[tuple[str, str], Event] = {}
        last = None
        inside = False
        for event in self.timeline:
            if "state_key" in event:
                state[event["type"], event["state_key"]] = event
            if event["type"] == "m.room.member" and event.get("state_key") == user:
                if inside:
                    last = dict(state)
                inside = event["content"].get("membership") == "join"
        return last

    def append(self, event: Event) -> None:
        """Takes an event that was allowed."""
        self.timeline.append(event)
        self.by_id[event["event_id"]] = event
        if "state_key" in event:
            self.current[event["type"], event["state_key"]] = event
        if event["type"] == "m.room.redaction":
            target = self.by_id.get(str(event.get("redacts") or event["content"].get("redacts")))
            if target is not None:
                kept = {"membership": target["content"]["membership"]} if target["type"] == "m.room.member" else {}
                target["content"] = kept
                target["unsigned"] = {**target.get("unsigned", {}), "redacted_because": event}

    def power(self, user: str) -> float:
        """A user's power level; the creator's has no end from version 12 on."""
        if self._endless() and (
            user == self.creator or user in (self.content("m.room.create") or {}).get("additional_creators", ())
        ):
            return math.inf
        levels = self.content("m.room.power_levels")
        if levels is None:
            return 100 if user == self.creator else 0
        level = levels.get("users", {}).get(user, levels.get("users_default", 0))
        return float(level)

    def needed(self, action: str, default: int = 50) -> float:
        """The level `ban`, `kick`, `redact` or `invite` takes."""
        levels = self.content("m.room.power_levels") or {}
        return float(levels.get(action, default))

    def check_send(self, sender: str, event_type: str, content: dict[str, Any], state_key: str | None) -> None:
        """Raises MatrixError when `sender` may not send this."""
        if self.membership(sender) != "join":
            raise forbidden(f"User {sender} not in room {self.id}")
        if len(str(content)) > _MAX_EVENT:
            raise MatrixError(413, "M_TOO_LARGE", "event too large")
        if event_type == "m.reaction" and self._reacted(sender, content):
            raise MatrixError(400, "M_DUPLICATE_ANNOTATION", "Can't send same reaction twice")
        levels = self.content("m.room.power_levels")
        if levels is not None:
            default = levels.get("events_default", 0) if state_key is None else levels.get("state_default", 50)
            if self.power(sender) < levels.get("events", {}).get(event_type, default):
                raise forbidden("You don't have permission to post that to the room")
        elif state_key is not None and self.power(sender) < 50 and len(self.timeline) > 1:
            raise forbidden("You don't have permission to post that to the room")
        if event_type == "m.room.power_levels" and self._endless() and self.creator in content.get("users", {}):
            raise MatrixError(400, "M_BAD_JSON", "Creator user must not appear in content.users")
        if (
            state_key is not None
            and state_key.startswith("@")
            and event_type != "m.room.member"
            and state_key != sender
        ):
            raise forbidden("You are not allowed to set others state")

    def _reacted(self, sender: str, content: dict[str, Any]) -> bool:
        relation = content.get("m.relates_to")
        return relation is not None and any(
            event["type"] == "m.reaction"
            and event["sender"] == sender
            and event["content"].get("m.relates_to") == relation
            for event in self.timeline
        )

    def check_redact(self, sender: str, event_id: str) -> None:
        """Raises MatrixError when `sender` may not redact that event."""
        if self.membership(sender) != "join":
            raise forbidden(f"User {sender} not in room {self.id}")
        target = self.by_id.get(event_id)
        if target is None:
            raise MatrixError(404, "M_NOT_FOUND", "Could not find event " + event_id)
        if target["sender"] != sender and self.power(sender) < self.needed("redact"):
            raise forbidden("You don't have permission to redact events")

    def may_join(self, user: str) -> bool:
        """Whether a join is allowed now; False for the banned."""
        membership = self.membership(user)
        if membership == "ban":
            return False
        rule = (self.content("m.room.join_rules") or {}).get("join_rule", "invite")
        return rule == "public" or membership in {"invite", "join"}

    def may_see(self, user: str, event: Event) -> bool:
        """Whether a user may see an event, by history visibility."""
        if self.membership(user) != "join":
            return False
        visibility = (self.content("m.room.history_visibility") or {}).get("history_visibility", "shared")
        if visibility in _SHARED:
            return True
        wanted = {"join"} if visibility == "joined" else {"join", "invite"}
        for earlier in self.timeline:
            is_theirs = earlier["type"] == "m.room.member" and earlier.get("state_key") == user
            if is_theirs and earlier["content"].get("membership") in wanted:
                return self.timeline.index(event) >= self.timeline.index(earlier)
        return False

    def _endless(self) -> bool:
        return self.version.isdigit() and int(self.version) >= 12
