"""Whom the network does not want, and from which address: remembered over restarts."""

import json
from dataclasses import dataclass
from typing import Final

import structlog

from bridge_core.api.host import Host
from bridge_core.api.ids import LoginId

log = structlog.get_logger(__name__)
_USERS: Final = "banned/"
_ADDRESSES: Final = "banned-address/"
_REASON_AT_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban as it is remembered; `until` is in milliseconds since 1970, `kind` such as `K-line`, empty if unknown."""

    reason: str
    until: int
    kind: str = ""


class Bans:
    """The network's bans of our users and of our addresses. The address "" is the one that all of them share."""

    def __init__(self, pause: float) -> None:
        self._pause_ms = int(pause * 1000)
        self._host: Host | None = None
        self._banned: dict[str, Ban] = {}
        """By key of the store."""

    async def load(self, host: Host) -> None:
        """Reads what earlier processes learnt."""
        self._host = host
        for prefix in (_USERS, _ADDRESSES):
            for key, value in (await host.kv.items(prefix)).items():
                try:
                    reason, until, *more = json.loads(value)
                    self._banned[key] = Ban(str(reason), int(until), str(more[0]) if more else "")
                except (ValueError, TypeError):
                    log.warning("irc_ban_unreadable", network=host.network, key=key)
                    await host.kv.put(key, None)
        await self._sweep()

    def of(self, login: LoginId) -> str | None:
        """Why a login is banned now; None when it is not."""
        found = self._get(_USERS + login)
        return found.reason if found is not None else None

    def of_address(self, address: str) -> str | None:
        """Why an address of ours is banned now; None when it is not."""
        found = self._get(_ADDRESSES + address)
        return found.reason if found is not None else None

    def all(self) -> dict[LoginId, Ban]:
        """Every login that is banned now."""
        found = [(key, self._get(key)) for key in self._banned if key.startswith(_USERS)]
        return {LoginId(key.removeprefix(_USERS)): ban for key, ban in found if ban is not None}

    async def ban(self, login: LoginId, reason: str, kind: str = "", pause: float | None = None) -> None:
        """The network banned a login: no connection for `pause` seconds, else `ban_pause`."""
        await self._put(_USERS + login, reason, kind, pause)

    async def ban_address(self, address: str, reason: str, kind: str = "") -> None:
        """The network banned an address of ours: no connection from there for `ban_pause` seconds."""
        await self._put(_ADDRESSES + address, reason, kind, None)

    async def forgive(self, login: LoginId) -> bool:
        """An admin knows better: the login may try again. Whether it was banned."""
        return await self._forget(_USERS + login)

    async def forgive_addresses(self) -> bool:
        """An admin knows better: all addresses may be tried again. Whether any was banned."""
        keys = [key for key in self._banned if key.startswith(_ADDRESSES)]
        return any([await self._forget(key) for key in keys])

    def _get(self, key: str) -> Ban | None:
        found = self._banned.get(key)
        if found is None:
            return None
        assert self._host is not None
        return found if found.until > self._host.clock.now_ms() else None

    async def _put(self, key: str, reason: str, kind: str, pause: float | None) -> None:
        assert self._host is not None
        length = self._pause_ms if pause is None else int(pause * 1000)
        ban = self._banned[key] = Ban(reason[:_REASON_AT_MOST], self._host.clock.now_ms() + length, kind)
        await self._host.kv.put(key, json.dumps([ban.reason, ban.until, ban.kind]).encode())
        await self._sweep()

    async def _forget(self, key: str) -> bool:
        assert self._host is not None
        found = self._banned.pop(key, None)
        if found is not None:
            await self._host.kv.put(key, None)
        return found is not None

    async def _sweep(self) -> None:
        """Forgets bans that are over; they are made one by one, so that this keeps up with them."""
        assert self._host is not None
        now = self._host.clock.now_ms()
        for key in [key for key, ban in self._banned.items() if ban.until <= now]:
            await self._forget(key)
