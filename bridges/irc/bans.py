"""Whom the network does not want, from which address, and until when: remembered over restarts."""

import asyncio
import json
from dataclasses import dataclass
from typing import Final

import structlog

from bridge_core.api.host import Host
from bridge_core.api.ids import LoginId

log = structlog.get_logger(__name__)
_USERS: Final = "banned/"
_ADDRESSES: Final = "banned-address/"
_BOT: Final = "banned-bot/"
_HELD: Final = "held-address/"
_ALL: Final = (_USERS, _ADDRESSES, _BOT, _HELD)
_REASON_AT_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban or a pause; `until` is in milliseconds since 1970, `kind` such as `K-line`, empty if unknown."""

    reason: str
    until: int
    kind: str = ""


class Bans:
    """The network's bans of the bot, of our users and of our addresses, and pauses after throttles.

    The address "" is the one that the bot has and all share who have none of their own.
    """

    def __init__(self, pause: float) -> None:
        self._pause_ms = int(pause * 1000)
        self._host: Host | None = None
        self._banned: dict[str, Ban] = {}
        """By key of the store."""
        self.forgiven = asyncio.Event()
        """Set when an admin lets the bot or an address try again."""

    async def load(self, host: Host) -> None:
        """Reads what earlier processes learnt."""
        self._host = host
        for prefix in _ALL:
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

    def of_address(self, address: str) -> Ban | None:
        """The ban of an address of ours now; None when there is none."""
        return self._get(_ADDRESSES + address)

    def of_bot(self) -> Ban | None:
        """What keeps the bot from connecting now: its ban, or the pause after it was killed."""
        return self._get(_BOT)

    def held(self, address: str) -> Ban | None:
        """The pause of an address that connected too fast; None when it is over."""
        return self._get(_HELD + address)

    def all_held(self) -> dict[str, Ban]:
        """Every pause that is not over, by address; `kind` is how many throttles in a row it was for."""
        found = [(key, self._get(key)) for key in self._banned if key.startswith(_HELD)]
        return {key.removeprefix(_HELD): ban for key, ban in found if ban is not None}

    def left(self, ban: Ban) -> float:
        """Seconds until a ban is over."""
        assert self._host is not None
        return max(0.0, (ban.until - self._host.clock.now_ms()) / 1000)

    @property
    def network(self) -> str:
        """Whose bans these are, for logs."""
        return self._host.network if self._host is not None else ""

    def all(self) -> dict[LoginId, Ban]:
        """Every login that is banned now."""
        found = [(key, self._get(key)) for key in self._banned if key.startswith(_USERS)]
        return {LoginId(key.removeprefix(_USERS)): ban for key, ban in found if ban is not None}

    @property
    def counts(self) -> tuple[int, int]:
        """How many logins, and how many addresses, are banned now. Does not block."""
        now = [key for key in self._banned if self._get(key) is not None]
        users = sum(key.startswith(_USERS) for key in now)
        return users, len(now) - users

    async def ban(self, login: LoginId, reason: str, kind: str = "", pause: float | None = None) -> None:
        """The network banned a login: no connection for `pause` seconds, else `ban_pause`."""
        await self._put(_USERS + login, reason, kind, pause)

    async def ban_address(self, address: str, reason: str, kind: str = "") -> None:
        """The network banned an address of ours: no connection from there for `ban_pause` seconds."""
        await self._put(_ADDRESSES + address, reason, kind, None)

    async def ban_bot(self, reason: str, kind: str = "", pause: float | None = None) -> None:
        """The network banned the bot: no connection for `pause` seconds, else `ban_pause`."""
        await self._put(_BOT, reason, kind, pause)

    async def hold(self, address: str, reason: str, pause: float, times: int = 1) -> None:
        """An address connected too fast, so many times in a row: no connection from there for `pause` seconds."""
        await self._put(_HELD + address, reason, str(times), pause)

    async def forgive(self, login: LoginId) -> bool:
        """An admin knows better: the login may try again. Whether it was banned."""
        return await self._forget(_USERS + login)

    async def forgive_addresses(self) -> bool:
        """An admin knows better: the bot and all addresses may try again. Whether any was banned."""
        keys = [key for key in self._banned if key.startswith((_ADDRESSES, _BOT, _HELD))]
        forgiven = [await self._forget(key) for key in keys if self._get(key) is not None]
        self.forgiven.set()
        return any(forgiven)

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
