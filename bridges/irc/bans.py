"""Which logins may connect: those whom the network has not banned, and not too many at once."""

import json
from typing import Final

import structlog

from bridge_core.api.host import Host
from bridge_core.api.ids import LoginId

log = structlog.get_logger(__name__)
_PREFIX: Final = "banned/"
_REASON_AT_MOST: Final = 500


class Bans:
    """The network's bans of our users, which outlive a restart, and the places for connections."""

    def __init__(self, pause: float) -> None:
        self._pause_ms = int(pause * 1000)
        self._host: Host | None = None
        self._banned: dict[LoginId, tuple[str, int]] = {}
        self._connected: set[LoginId] = set()

    async def load(self, host: Host) -> None:
        """Reads what earlier processes learnt."""
        self._host = host
        for key, value in (await host.kv.items(_PREFIX)).items():
            try:
                reason, until = json.loads(value)
                self._banned[LoginId(key.removeprefix(_PREFIX))] = (str(reason), int(until))
            except (ValueError, TypeError):
                log.warning("irc_ban_unreadable", network=host.network, key=key)
                await host.kv.put(key, None)
        await self._sweep()

    def of(self, login: LoginId) -> str | None:
        """Why a login is banned now; None when it is not."""
        found = self._banned.get(login)
        if found is None:
            return None
        assert self._host is not None
        return found[0] if found[1] > self._host.clock.now_ms() else None

    async def ban(self, login: LoginId, reason: str) -> None:
        """The network banned a login: no connection for `ban_pause` seconds."""
        assert self._host is not None
        until = self._host.clock.now_ms() + self._pause_ms
        self._banned[login] = (reason[:_REASON_AT_MOST], until)
        await self._host.kv.put(_PREFIX + login, json.dumps(self._banned[login]).encode())
        await self._sweep()

    async def _sweep(self) -> None:
        """Forgets bans that are over; they are made one by one, so that this keeps up with them."""
        assert self._host is not None
        now = self._host.clock.now_ms()
        for login in [login for login, (_, until) in self._banned.items() if until <= now]:
            await self._host.kv.put(_PREFIX + login, None)
            self._banned.pop(login, None)

    def admit(self, login: LoginId, most: int) -> bool:
        """Takes a place for a connection; False when all are taken."""
        if len(self._connected) >= most and login not in self._connected:
            return False
        self._connected.add(login)
        return True

    def leave(self, login: LoginId) -> None:
        """Gives the place back. Idempotent."""
        self._connected.discard(login)
