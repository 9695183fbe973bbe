"""Pushes transactions to the appservice, with retries and numbers as Synapse's."""

import asyncio
import contextlib
import time
from typing import Any
from urllib.parse import quote

import aiohttp

from bridge_core.observe.tasks import TaskOwner
from bridge_core.testing.homeserver.failure import MatrixError
from bridge_core.testing.homeserver.room import Event
from bridge_core.testing.homeserver.world import World

__all__ = ["Pusher"]

_BATCH = 100
_STRIPPED = frozenset(
    f"m.room.{kind}" for kind in ("create", "join_rules", "canonical_alias", "avatar", "encryption", "name", "topic")
)
"""What an invitation shows (Synapse's default `room_prejoin_state`)."""


class Pusher:
    """One task that sends what waits, in order, one transaction at a time.

    `delivered` holds the transactions that were answered 200, as (id, body); `attempts` counts all tries.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._events: list[Event] = []
        self._ephemeral: list[Event] = []
        self._to_device: list[dict[str, Any]] = []
        self._changed: set[str] = set()
        self._down = False
        self._pending: tuple[str, dict[str, Any]] | None = None
        self._number = 0
        self._work = asyncio.Event()
        self._now = asyncio.Event()
        self._tasks = TaskOwner("fake-homeserver")
        self._task: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self.delivered: list[tuple[str, dict[str, Any]]] = []
        self.attempts = 0
        world.on_event = self.event
        world.on_ephemeral = self.ephemeral
        world.on_to_device = self.to_device
        world.on_device_list = self.device_list

    async def start(self) -> None:
        """Starts pushing."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._task = self._tasks.spawn(self._run(), "pusher")

    async def stop(self) -> None:
        """Stops; what waits stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._session is not None:
            await self._session.close()

    def forget_numbers(self) -> None:
        """Numbers transactions from 1 again, as Synapse on SQLite does after a restart."""
        self._number = 0

    def event(self, event: Event) -> None:
        """Queues an event the appservice is interested in."""
        if self._interests(event):
            self._events.append(event)
            self._work.set()

    def ephemeral(self, event: Event) -> None:
        """Queues a typing, receipt or presence event."""
        if "room_id" in event:
            interesting = self._room_interests(event["room_id"])
        else:
            rooms = (room for room in self._world.rooms.values() if room.membership(event["sender"]) == "join")
            interesting = any(self._room_interests(room.id) for room in rooms)
        if self._world.appservice.ephemeral and interesting and not self._down:
            self._ephemeral.append(event)
            self._work.set()

    def to_device(self, message: dict[str, Any]) -> None:
        """Queues a message to a device of the appservice's; dropped where that was not asked for."""
        if self._world.appservice.encryption and not self._down:
            self._to_device.append(message)
            self._work.set()

    def device_list(self, user: str) -> None:
        """Queues that somebody's devices changed, if they share a room or are the appservice's own."""
        world = self._world
        interesting = world.appservice.owns_user(user, world.server_name) or any(
            room.membership(user) == "join" and self._room_interests(room.id) for room in world.rooms.values()
        )
        if world.appservice.encryption and interesting and not self._down:
            self._changed.add(user)
            self._work.set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be pushed."""
        return not self._waiting and self._pending is None

    @property
    def _waiting(self) -> bool:
        return bool(self._events or self._ephemeral or self._to_device or self._changed)

    async def ping(self, transaction_id: Any) -> int:
        """Asks the appservice and, when it answers, sends what waits at once. Raises as the endpoint does."""
        url = self._world.appservice.url
        if url is None:
            raise MatrixError(400, "M_URL_NOT_SET", "The application service does not have a URL set")
        started = time.monotonic()
        body = {"transaction_id": transaction_id} if transaction_id is not None else {}
        try:
            status, text = await self._request("POST", "/ping", body)
        except TimeoutError as error:
            raise MatrixError(504, "M_CONNECTION_TIMEOUT", "timed out") from error
        except (aiohttp.ClientError, OSError) as error:
            raise MatrixError(502, "M_CONNECTION_FAILED", "cannot connect") from error
        if status != 200:
            raise MatrixError(502, "M_BAD_STATUS", f"HTTP {status}", status=status, body=text)
        self._now.set()
        return int((time.monotonic() - started) * 1000)

    async def query_user(self, user: str) -> bool:
        """Asks whether a user in the namespace exists; the bridge registers it before it says yes."""
        return self._world.appservice.owns_user(user, self._world.server_name) and await self._exists("users", user)

    async def query_room(self, alias: str) -> bool:
        """Asks whether an alias in the namespace exists; the bridge makes the room before it says yes."""
        return await self._exists("rooms", alias)

    async def _exists(self, kind: str, name: str) -> bool:
        try:
            status, _ = await self._request("GET", f"/{kind}/{quote(name)}", None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        return status == 200

    async def _run(self) -> None:
        delay = self._world.profile.first_retry
        while True:
            if self._pending is None and not self._fill():
                self._work.clear()
                await self._work.wait()
                continue
            assert self._pending is not None
            txn, body = self._pending
            if await self._push(txn, body):
                self.delivered.append((txn, body))
                self._pending = None
                self._down = False
                delay = self._world.profile.first_retry
                self._world.wake()
                continue
            if self._world.appservice.url is not None:
                self._keep_events(txn, body)
            self._now.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._now.wait()
            except TimeoutError:
                delay = min(delay * 2, self._world.profile.last_retry)

    def _fill(self) -> bool:
        if not self._waiting:
            return False
        body: dict[str, Any] = {"events": [self._shown(event) for event in self._events[:_BATCH]]}
        if self._ephemeral:
            body["ephemeral"] = self._ephemeral[:_BATCH]
        del self._events[:_BATCH], self._ephemeral[:_BATCH]
        if self._world.appservice.encryption:
            body |= self._of_encryption(body)
        self._number += 1
        self._pending = (str(self._number), body)
        return True

    def _shown(self, event: Event) -> Event:
        """An event as it is pushed: an invitation of one of the service's users with what the room is, as Synapse's."""
        shown = _copy(event)
        invites = event["type"] == "m.room.member" and event["content"].get("membership") == "invite"
        if invites and self._world.appservice.owns_user(str(event.get("state_key", "")), self._world.server_name):
            current = self._world.rooms[event["room_id"]].current
            stripped = [
                {key: state[key] for key in ("type", "state_key", "sender", "content")}
                for (kind, _), state in current.items()
                if kind in _STRIPPED
            ]
            shown["unsigned"] = {**shown["unsigned"], "invite_room_state": stripped}
        return shown

    def _of_encryption(self, body: dict[str, Any]) -> dict[str, Any]:
        """As Synapse 1.163 names it: counts of the bot, of ours in the events' rooms and of whom messages are for."""
        world, service = self._world, self._world.appservice
        messages, changed = self._to_device[:_BATCH], sorted(self._changed)
        del self._to_device[:_BATCH]
        self._changed.clear()
        rooms = {event["room_id"] for event in [*body["events"], *body.get("ephemeral", ())] if "room_id" in event}
        users = {f"@{service.sender_localpart}:{world.server_name}", *[one["to_user_id"] for one in messages]}
        for room in rooms:
            users |= {user for user in world.rooms[room].members("join") if service.owns_user(user, world.server_name)}
        counts: dict[str, Any] = {}
        unused: dict[str, Any] = {}
        for account in (world.accounts[user] for user in sorted(users) if user in world.accounts):
            for device in account.devices:
                counts.setdefault(account.id, {})[device] = world.keys.counts(account.id, device)
                unused.setdefault(account.id, {})[device] = world.keys.unused_fallbacks(account.id, device)
        more: dict[str, Any] = {}
        if messages:
            more["de.sorunome.msc2409.to_device"] = messages
        if counts:
            more["org.matrix.msc3202.device_one_time_key_counts"] = counts
            more["org.matrix.msc3202.device_one_time_keys_count"] = counts
            more["org.matrix.msc3202.device_unused_fallback_key_types"] = unused
        if changed:
            more["org.matrix.msc3202.device_lists"] = {"changed": changed, "left": []}
        return more

    def _keep_events(self, txn: str, body: dict[str, Any]) -> None:
        """As Synapse: of what could not be brought, and of what comes until that is, only events are kept."""
        self._down = True
        self._pending = (txn, {"events": body["events"]})
        self._ephemeral.clear()
        self._to_device.clear()
        self._changed.clear()

    async def _push(self, txn: str, body: dict[str, Any]) -> bool:
        if self._world.appservice.url is None:
            return False
        self.attempts += 1
        try:
            status, _ = await self._request("PUT", f"/transactions/{txn}", body)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        return status == 200

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        assert self._session is not None
        service = self._world.appservice
        url = f"{(service.url or '').rstrip('/')}/_matrix/app/v1{path}"
        headers = {"Authorization": f"Bearer {service.hs_token}"}
        async with self._session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.text()

    def _interests(self, event: Event) -> bool:
        service, server = self._world.appservice, self._world.server_name
        return (
            service.owns_user(event["sender"], server)
            or service.owns_user(str(event.get("state_key", "")), server)
            or self._room_interests(event["room_id"])
        )

    def _room_interests(self, room_id: str) -> bool:
        service, server = self._world.appservice, self._world.server_name
        room = self._world.rooms[room_id]
        # Who is only invited makes their room of no interest (Synapse: get_app_service_users_in_room).
        if any(service.owns_user(user, server) for user in room.members("join")):
            return True
        return any(
            target == room_id and service.owns_alias(alias, server) for alias, target in self._world.aliases.items()
        )


def _copy(event: Event) -> Event:
    """As pushed: a later redaction must not change what was sent."""
    return {**event, "content": dict(event["content"]), "unsigned": {"age": 1, **event.get("unsigned", {})}}
