"""All that a fake homeserver knows: users, devices, rooms, aliases, files; and the acts that change it."""

import asyncio
import base64
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from bridge_core.testing.homeserver.failure import MatrixError, forbidden, not_found
from bridge_core.testing.homeserver.keys import KeyBook
from bridge_core.testing.homeserver.profile import FakeAppservice, FakeProfile
from bridge_core.testing.homeserver.records import Account, File
from bridge_core.testing.homeserver.room import Event, FakeRoom

__all__ = ["World"]

T = TypeVar("T")


class World:
    """The data of a homeserver; it outlives `restart`, `memory_txns` excepted."""

    def __init__(self, server_name: str, profile: FakeProfile, appservice: FakeAppservice) -> None:
        self.server_name = server_name
        self.profile = profile
        self.appservice = appservice
        self.puppet_token: str | None = None
        self.accounts: dict[str, Account] = {}
        self.rooms: dict[str, FakeRoom] = {}
        self.aliases: dict[str, str] = {}
        self.published: dict[str, str] = {}
        self.files: dict[str, File] = {}
        self.memory_txns: dict[tuple[str, ...], dict[str, Any]] = {}
        self.durable_txns: dict[tuple[str, ...], dict[str, Any]] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self.on_event: Callable[[Event], None] = lambda _: None
        self.on_ephemeral: Callable[[Event], None] = lambda _: None
        self.on_device_list: Callable[[str], None] = lambda _: None
        self.on_to_device: Callable[[dict[str, Any]], None] = lambda _: None
        self.keys = KeyBook()
        self.backups: dict[str, dict[str, Any]] = {}
        """Backups of keys, by user and version."""
        self.backup_versions: dict[str, int] = {}

    # users

    def register(self, localpart: str, *, token: str | None = None, server: str = "") -> Account:
        """Adds a user, of another server where one is named. Raises M_USER_IN_USE."""
        user = f"@{localpart}:{server or self.server_name}"
        if user in self.accounts:
            raise MatrixError(400, "M_USER_IN_USE", "User ID already taken.")
        account = self.accounts[user] = Account(user, token, displayname=localpart)
        if token is not None:
            self.new_device(account)
        return account

    def device_list(self, user: str) -> None:
        """Somebody's devices, or what signs them, changed."""
        self.keys.changed(user)
        self.on_device_list(user)
        self.wake()

    def new_device(self, account: Account) -> None:
        """The account's token belongs to another device from now on."""
        if account.device is not None:
            self.forget_device(account.id, account.device)
        account.device = secrets.token_hex(5).upper()
        account.devices[account.device] = "Fake"

    def forget_device(self, user: str, device: str) -> None:
        """Removes a device with its keys."""
        if self.accounts[user].devices.pop(device, None) is not None:
            self.keys.forget(user, device)
            self.device_list(user)

    def to_device(self, sender: str, event_type: str, user: str, device: str, content: dict[str, Any]) -> None:
        """Brings a message to a device, or (`*`) to all of a user's."""
        account = self.accounts.get(user)
        if account is None:
            return
        for one in account.devices if device == "*" else [device]:
            if one not in account.devices:
                continue
            message = {"type": event_type, "sender": sender, "content": content}
            # What is pushed stays in the inbox all the same.
            self.keys.deliver(user, one, message)
            if self._ours(user):
                self.on_to_device({**message, "to_user_id": user, "to_device_id": one})
        self.wake()

    def by_token(self, token: str) -> Account | None:
        """The human with this access token."""
        return next((account for account in self.accounts.values() if account.token == token), None)

    # rooms

    def room(self, room_id: str) -> FakeRoom:
        """A room. A room that is not there answers as one the user is not in."""
        room = self.rooms.get(room_id)
        if room is None:
            raise forbidden(f"unknown room {room_id}")
        return room

    def emit(
        self,
        room: FakeRoom,
        sender: str,
        event_type: str,
        content: dict[str, Any],
        *,
        state_key: str | None = None,
        ts: int | None = None,
        redacts: str | None = None,
    ) -> Event:
        """Adds an event that was allowed, and tells the appservice and whoever waits."""
        event: Event = {
            "event_id": "$" + _opaque(),
            "room_id": room.id,
            "sender": sender,
            "type": event_type,
            "content": content,
            "origin_server_ts": ts if ts is not None else int(time.time() * 1000),
            "unsigned": {},
        }
        if state_key is not None:
            event["state_key"] = state_key
            before = room.current.get((event_type, state_key))
            if before is not None:
                event["unsigned"] = {
                    "replaces_state": before["event_id"],
                    "prev_content": before["content"],
                    "prev_sender": before["sender"],
                }
        if redacts is not None:
            event["redacts"] = redacts
        room.append(event)
        self.on_event(event)
        self.wake()
        return event

    def wake(self) -> None:
        """Lets everybody who waits look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, look: Callable[[], T | None], timeout: float) -> T:
        """Returns what `look` finds, as soon as it finds something. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while True:
                found = look()
                if found is not None:
                    return found
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def set_member(
        self, room: FakeRoom, sender: str, user: str, membership: str, more: dict[str, Any] | None = None
    ) -> Event:
        """Adds a membership event that was allowed."""
        content: dict[str, Any] = {"membership": membership, **(more or {})}
        account = self.accounts.get(user)
        if account is not None and membership in {"join", "invite"}:
            content["displayname"] = account.displayname
            if account.avatar_url:
                content["avatar_url"] = account.avatar_url
        return self.emit(room, sender, "m.room.member", content, state_key=user)

    def create_room(self, creator: str, body: dict[str, Any]) -> str:
        """As Synapse: the alias is kept first, so that a creation failing half-way leaves it in use."""
        version = str(body.get("room_version") or self.profile.room_version)
        localpart = body.get("room_alias_name")
        alias = f"#{localpart}:{self.server_name}" if localpart else None
        if alias is not None and alias in self.aliases:
            raise MatrixError(400, "M_ROOM_IN_USE", "Room alias already taken")
        if alias is not None and self.appservice.owns_alias(alias, self.server_name) and not self._ours(creator):
            raise MatrixError(400, "M_EXCLUSIVE", "This alias is reserved by an application service.")
        suffix = "" if version.isdigit() and int(version) >= 12 else f":{self.server_name}"
        room = FakeRoom("!" + _opaque() + suffix, version, creator)
        override = body.get("power_level_content_override") or {}
        listed = bool(suffix)
        if not listed and creator in override.get("users", {}):
            raise MatrixError(400, "M_BAD_JSON", "Creator user must not appear in content.users")
        self.rooms[room.id] = room
        if alias is not None:
            self.aliases[alias] = room.id
        # Whom the creator trusts has the same power: that of a creator where these have one of their own.
        trusted = list(body.get("invite") or ()) if body.get("preset") == "trusted_private_chat" else []
        create = {
            **(body.get("creation_content") or {}),
            "room_version": version,
            **({"additional_creators": trusted} if trusted and not listed else {}),
        }
        self.emit(room, creator, "m.room.create", create, state_key="")
        self.set_member(room, creator, creator, "join")
        public = body.get("preset", body.get("visibility")) in {"public_chat", "public"}
        levels: dict[str, Any] = {"users": dict.fromkeys((creator, *trusted), 100) if listed else {}, **_LEVELS}
        levels |= {} if public else {"invite": 0}
        levels |= override
        state: dict[tuple[str, str], dict[str, Any]] = {("m.room.power_levels", ""): levels}
        if alias is not None:
            state["m.room.canonical_alias", ""] = {"alias": alias}
        state["m.room.join_rules", ""] = {"join_rule": "public" if public else "invite"}
        state["m.room.history_visibility", ""] = {"history_visibility": "shared"}
        state["m.room.guest_access", ""] = {"guest_access": "forbidden" if public else "can_join"}
        for given in body.get("initial_state") or ():
            state[given["type"], given.get("state_key", "")] = given["content"]
        if body.get("name"):
            state["m.room.name", ""] = {"name": body["name"]}
        if body.get("topic"):
            state["m.room.topic", ""] = {"topic": body["topic"]}
        for (event_type, key), content in state.items():
            room.check_send(creator, event_type, content, key)
            self.emit(room, creator, event_type, content, state_key=key)
        self.published[room.id] = body.get("visibility", "private")
        for user in body.get("invite") or ():
            self.invite(room, creator, user)
        return room.id

    def upgrade(self, room: FakeRoom, user: str, version: str) -> str:
        """As Synapse: a new room like the old one, which is tombstoned, silenced, and gives up its aliases."""
        room.check_send(user, "m.room.tombstone", {}, "")
        levels = room.content("m.room.power_levels") or {}
        users = {**levels.get("users", {}), user: 100}
        if version.isdigit() and int(version) >= 12:
            del users[user]
        copied = ("join_rules", "history_visibility", "guest_access", "avatar", "encryption", "server_acl")
        new = self.create_room(
            user,
            {
                "room_version": version,
                "creation_content": {"predecessor": {"room_id": room.id}},
                "power_level_content_override": {**levels, "users": users},
                "name": (room.content("m.room.name") or {}).get("name"),
                "topic": (room.content("m.room.topic") or {}).get("topic"),
                "initial_state": [
                    {"type": f"m.room.{kind}", "content": content}
                    for kind in copied
                    if (content := room.content(f"m.room.{kind}")) is not None
                ],
            },
        )
        self.emit(room, user, "m.room.tombstone", {"body": "replaced", "replacement_room": new}, state_key="")
        for alias, target in list(self.aliases.items()):
            if target == room.id:
                self.aliases[alias] = new
        silenced = {**levels, "events_default": max(50, levels.get("users_default", 0) + 1), "invite": 50}
        self.emit(room, user, "m.room.power_levels", silenced, state_key="")
        return new

    def join(self, room: FakeRoom, user: str) -> None:
        """Joins; idempotent."""
        if room.membership(user) == "join":
            return
        if room.membership(user) == "ban":
            raise MatrixError(403, "M_BAD_STATE", f"{user} is banned from the room")
        if not room.may_join(user):
            raise forbidden("You are not invited to this room.")
        self.set_member(room, user, user, "join")

    def invite(self, room: FakeRoom, sender: str, user: str) -> None:
        """Invites."""
        if room.membership(sender) != "join":
            raise forbidden(f"User {sender} not in room {room.id}")
        if room.membership(user) == "ban":
            raise MatrixError(403, "M_BAD_STATE", f"{user} is banned from the room")
        if room.membership(user) == "join":
            raise forbidden(f"{user} is already in the room.")
        if room.power(sender) < room.needed("invite", 0):
            raise forbidden("You don't have permission to invite users")
        self.set_member(room, sender, user, "invite")

    def leave(self, room: FakeRoom, user: str, reason: str | None = None) -> None:
        """Leaves or rejects an invite; idempotent where the user was in it once."""
        if room.membership(user) is None:
            raise forbidden(f"User {user} not in room {room.id}")
        if room.membership(user) == "ban":
            raise forbidden("banned")
        if room.membership(user) != "leave":
            self.set_member(room, user, user, "leave", {"reason": reason} if reason else None)

    def remove(self, room: FakeRoom, sender: str, user: str, membership: str, reason: str | None = None) -> None:
        """Kicks (`leave`), bans (`ban`) or unbans (`leave` of a banned one)."""
        if room.membership(sender) != "join":
            raise forbidden(f"User {sender} not in room {room.id}")
        action = "ban" if "ban" in {membership, room.membership(user)} else "kick"
        if action == "kick" and room.membership(user) not in {"join", "invite", "knock"}:
            raise forbidden("The target user is not in the room")
        if room.power(sender) < room.needed(action) or room.power(sender) <= room.power(user):
            raise forbidden(f"You don't have permission to {action}")
        self.set_member(room, sender, user, membership, {"reason": reason} if reason else None)

    def unban(self, room: FakeRoom, sender: str, user: str, reason: str | None = None) -> None:
        """Lifts a ban."""
        if room.membership(sender) == "join" and room.membership(user) != "ban":
            raise MatrixError(403, "M_BAD_STATE", "Cannot unban user who was not banned")
        self.remove(room, sender, user, "leave", reason)

    def knock(self, room: FakeRoom, user: str, reason: str | None = None) -> None:
        """Asks to be let in."""
        membership = room.membership(user)
        rule = (room.content("m.room.join_rules") or {}).get("join_rule", "invite")
        if rule not in {"knock", "knock_restricted"} or membership in {"ban", "join", "invite"}:
            raise forbidden("You don't have permission to knock")
        if membership != "knock":
            self.set_member(room, user, user, "knock", {"reason": reason} if reason else None)

    def ephemeral(self, event: Event) -> None:
        """Passes a typing, receipt or presence event on."""
        self.on_ephemeral(event)
        self.wake()

    # files

    def reserve(self, owner: str) -> str:
        """A new media address without bytes."""
        mxc = f"mxc://{self.server_name}/{secrets.token_hex(12)}"
        self.files[mxc] = File(owner)
        return mxc

    def file(self, mxc: str) -> File:
        """What is behind an address."""
        file = self.files.get(mxc)
        if file is None:
            raise not_found("Not found")
        return file

    def _ours(self, user: str) -> bool:
        return self.appservice.owns_user(user, self.server_name)


_LEVELS: dict[str, Any] = {
    "users_default": 0,
    "events": {"m.room.name": 50, "m.room.power_levels": 100, "m.room.tombstone": 100},
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "kick": 50,
    "redact": 50,
    "invite": 50,
}


def _opaque() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
