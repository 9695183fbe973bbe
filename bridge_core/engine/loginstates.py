"""How connections are: pushed to an endpoint as they change, told to users when they have settled.

Source of the push: mautrix-go bridgev2, status/bridgestate.go.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.api.ids import LoginId, NetworkId, RoomId
from bridge_core.api.network import LoginState, LoginStatus
from bridge_core.engine.checkpoints import Push
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import KeyValues, Users
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

NAMESPACE: Final = "told"
"""Key-value namespace: what was told last of each connection, keyed `NETWORK/LOGIN`."""
_FLAPPING: Final = 5
"""How many times the settling time a connection may come and go before that itself is told."""
_QUEUED: Final = 10_000
_LONGEST: Final = 60.0
_WORDS: Final[Mapping[LoginStatus, str]] = {
    LoginStatus.CONNECTING: "CONNECTING",
    LoginStatus.CONNECTED: "CONNECTED",
    LoginStatus.DISCONNECTED: "TRANSIENT_DISCONNECT",
    LoginStatus.BAD_CREDENTIALS: "BAD_CREDENTIALS",
    LoginStatus.BANNED: "UNKNOWN_ERROR",
    LoginStatus.LOGGED_OUT: "LOGGED_OUT",
}
_ACTIONS: Final[Mapping[LoginStatus, tuple[str, str]]] = {
    LoginStatus.BAD_CREDENTIALS: ("it does not accept your login any more", "log in again"),
    LoginStatus.BANNED: ("it has banned you", "ask those who run it"),
    LoginStatus.LOGGED_OUT: ("it has logged you out", "log in again"),
}

Key = tuple[NetworkId, LoginId | None]


@dataclass(slots=True)
class _Change:
    since: int
    """When it began to change, in milliseconds."""
    due: int
    """When it counts as settled."""


class LoginStates:
    """Watches all connections. `settle` is in seconds. Neither the push nor the notices hold anybody up."""

    def __init__(
        self,
        networks: Networks,
        users: Users,
        permissions: Permissions,
        status: Status,
        kv: KeyValues,
        push: Push,
        url: str | None,
        clock: Clock,
        tasks: TaskOwner,
        settle: float,
    ) -> None:
        self._networks = networks
        self._users = users
        self._permissions = permissions
        self._status = status
        self._kv = kv
        self._push = push
        self._url = url
        self._clock = clock
        self._tasks = tasks
        self._settle = int(settle * 1000)
        self._changes: dict[Key, _Change] = {}
        self._watching: asyncio.Task[None] | None = None
        self._telling = False
        self._stopped = False
        self._states: dict[Key, dict[str, Any]] = {}
        """To be pushed; the newest of each connection."""
        self._pushing = False

    def changed(self, state: LoginState) -> None:
        """A connection is now so. Does not block."""
        key = (state.network, state.login)
        now = self._clock.now_ms()
        if self._url is not None and (key in self._states or len(self._states) < _QUEUED):
            self._states[key] = self._pushed(state, now)
            if not self._pushing:
                self._pushing = True
                self._tasks.start(self._push_all(self._url), "bridge-states")
        change = self._changes.get(key)
        if change is None:
            self._changes[key] = _Change(now, now + self._settle)
        else:
            change.due = min(now + self._settle, change.since + _FLAPPING * self._settle)
        if self._watching is None and not self._stopped:
            self._watching = self._tasks.spawn(self._watch(), "login-states")

    def stop(self) -> None:
        """Wait for no connection to settle any more: what is not so when the bridge is back is told then."""
        self._stopped = True
        if self._watching is not None and not self._telling:
            self._watching.cancel()

    def unsettled(self) -> int:
        """How many connections have changed and do not count as settled yet."""
        return len(self._changes)

    def _pushed(self, state: LoginState, now: int) -> dict[str, Any]:
        network = self._networks.get(state.network)
        login = network.login_of(state.login) if network is not None and state.login is not None else None
        body: dict[str, Any] = {
            "state_event": _WORDS[state.status],
            "timestamp": now // 1000,
            "source": "bridge",
            "network": state.network,
        }
        if state.login is not None:
            body["remote_id"] = state.login
        if login is not None:
            body["user_id"] = login.user
            body["remote_name"] = login.name
        if state.status not in (LoginStatus.CONNECTED, LoginStatus.CONNECTING):
            body["error"] = f"dev-matrix-bridge-{state.status.value.replace('_', '-')}"
            body["message"] = state.reason or state.status.value
        if state.action:
            body["user_action"] = state.action
        return body

    async def _push_all(self, url: str) -> None:
        failures = 0
        try:
            while self._states:
                key, body = next(iter(self._states.items()))
                try:
                    await self._push.post(url, orjson.dumps(body))
                except (TransientError, RateLimitedError) as error:
                    if not failures:
                        log.warning("bridge_state_not_pushed", error=str(error))
                    asked = error.retry_after if isinstance(error, RateLimitedError) else 0.0
                    await self._clock.sleep(max(min(2.0**failures, _LONGEST), min(asked, 10 * _LONGEST)))
                    failures = min(failures + 1, 10)
                    continue
                except BridgeError as error:
                    log.warning("bridge_state_refused", error=str(error))
                failures = 0
                if self._states.get(key) is body:
                    del self._states[key]
        finally:
            self._pushing = False

    async def _watch(self) -> None:
        try:
            while self._changes and not self._stopped:
                now = self._clock.now_ms()
                first = min(change.due for change in self._changes.values())
                if first > now:
                    await self._clock.sleep(min((first - now) / 1000, 1.0))
                    continue
                self._telling = True
                for key in [key for key, change in self._changes.items() if change.due <= now]:
                    change = self._changes.pop(key)
                    try:
                        await self._tell(key, now - change.since > 2 * self._settle > 0)
                    except BridgeError as error:
                        log.warning("login_state_not_told", network=key[0], error=str(error))
                self._telling = False
        finally:
            self._watching = None
            self._telling = False

    async def _tell(self, key: Key, unsteady: bool) -> None:
        name, login_id = key
        network = self._networks.get(name)
        state = network.states.get(login_id) if network is not None else None
        login = network.login_of(login_id) if network is not None and login_id is not None else None
        if network is None or state is None or (login is None and login_id is not None):
            return
        stored = await self._kv.get(NAMESPACE, f"{name}/{login_id or ''}")
        before = stored.decode() if stored is not None else LoginStatus.CONNECTED.value
        how = state.status.value
        if state.status is LoginStatus.CONNECTING or (state.status is LoginStatus.DISCONNECTED and unsteady):
            how = "unsteady" if unsteady else before
        if how == before:
            return
        whose = f"{login.name} on {network.meta.name}" if login is not None else network.meta.name
        reason = f": {state.reason}" if state.reason else ""
        if state.status is LoginStatus.CONNECTED:
            text = f"\u2713 {whose} is connected again."
        elif state.status in _ACTIONS:
            what, action = _ACTIONS[state.status]
            text = f"\u26a0 {whose}: {what}{reason}. What you can do: {state.action or action}."
        elif how == "unsteady":
            text = f"\u26a0 {whose} keeps losing its connection{reason}. I keep trying."
        else:
            text = f"\u26a0 {whose} is not connected{reason}. I keep trying; messages wait meanwhile."
        if login is None or not login.provided or state.status in _ACTIONS or before in _NEEDING:
            for room in await self._rooms(login.user if login is not None else None):
                await self._status.say(room, text)
        await self._kv.put(NAMESPACE, f"{name}/{login_id or ''}", how.encode())

    async def _rooms(self, user: str | None) -> list[RoomId]:
        """Where it is told: to the user of the login, or to the admins."""
        return [
            row.management_room
            for row in await self._users.with_rooms()
            if row.management_room is not None
            and (row.id == user if user is not None else self._permissions.of(row.id) is Permission.ADMIN)
        ]


_NEEDING: Final = frozenset(status.value for status in _ACTIONS)
