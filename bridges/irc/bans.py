"""Which logins may connect: those whom the network has not banned, and not too many at once."""

import json
from typing import Final

import structlog

from bridge_core.api.host import Host
from bridge_core.api.ids import LoginId

log = structlog.get_logger(__name__)
_PREFIX: Final = "banned/"


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

    def of(self, login: LoginId) -> str | None:
        """Why a login is banned now; None when it is not."""
        found = self._banned.get(login)
        if found is None:
            return None
        assert self._host is not None
        if found[1] <= self._host.clock.now_ms():
            del self._banned[login]
            return None
        return found[0]

    async def ban(self, login: LoginId, reason: str) -> None:
        """The network banned a login: no connection for `ban_pause` seconds."""
        assert self._host is not None
        until = self._host.clock.now_ms() + self._pause_ms
        self._banned[login] = (reason, until)
        await self._host.kv.put(_PREFIX + login, json.dumps([reason, until]).encode())

    def admit(self, login: LoginId, most: int) -> bool:
        """Takes a place for a connection; False when all are taken."""
        if len(self._connected) >= most and login not in self._connected:
            return False
        self._connected.add(login)
        return True

    def leave(self, login: LoginId) -> None:
        """Gives the place back. Idempotent."""
        self._connected.discard(login)
