"""Who speaks by a connection of their own and for whom the relay does: hybrid puppeting."""

from collections import deque
from typing import Final

from bridge_core.api.commands import AdapterCommand, CommandCall
from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Host
from bridge_core.api.ids import LoginId
from bridges.irc.config.hybrid import Hybrid

_PREFIX: Final = "standing/"
_ACTIVE: Final = "active"
_OWN: Final = "own"
_RELAY: Final = "relay"
_COUNTED_AT_MOST: Final = 100_000


class Standings:
    """The standing of every provided login. What is stored outlives a restart: choices, and who is active."""

    def __init__(self, config: Hybrid) -> None:
        self._config = config
        self._host: Host | None = None
        self._standing: dict[LoginId, str] = {}
        self._spoke: dict[LoginId, deque[float]] = {}
        """When those who are not active spoke, the latest times."""

    async def load(self, host: Host) -> None:
        """Reads what earlier processes stored."""
        self._host = host
        for key, value in (await host.kv.items(_PREFIX)).items():
            self._standing[LoginId(key.removeprefix(_PREFIX))] = value.decode(errors="replace")

    def own(self, login: LoginId) -> bool:
        """Whether somebody has a connection of their own now."""
        match self._config.puppet:
            case "always":
                return True
            case "never":
                return False
            case _:
                return self._standing.get(login) in (_ACTIVE, _OWN)

    async def spoke(self, login: LoginId) -> bool:
        """Somebody spoke; whether they are to have a connection, from this message on. Raises errors of the store."""
        if self._config.puppet != "active" or self.own(login) or self._standing.get(login) == _RELAY:
            return self.own(login)
        assert self._host is not None
        now = self._host.clock.monotonic()
        times = self._spoke.get(login)
        if times is None:
            if len(self._spoke) >= _COUNTED_AT_MOST:
                self._spoke.pop(next(iter(self._spoke)))
            times = self._spoke[login] = deque(maxlen=self._config.messages)
        times.append(now)
        if len(times) < self._config.messages or now - times[0] > self._config.within:
            return False
        await self._put(login, _ACTIVE)
        return True

    async def idle(self, login: LoginId) -> None:
        """Their connection was closed for being idle: the relay speaks until they are active again."""
        if self._config.puppet == "active" and self._standing.get(login) == _ACTIVE:
            await self._put(login, None)

    async def _put(self, login: LoginId, standing: str | None) -> None:
        assert self._host is not None
        self._spoke.pop(login, None)
        if standing is None:
            self._standing.pop(login, None)
        else:
            self._standing[login] = standing
        await self._host.kv.put(_PREFIX + login, standing.encode() if standing is not None else None)

    # The command

    def command(self) -> AdapterCommand:
        """`connection`: a user chooses."""
        return AdapterCommand(
            "connection",
            "[CHOICE]",
            "whether you have a connection of your own there: own, relay, or auto",
            self._choose,
        )

    async def _choose(self, call: CommandCall) -> str:
        login = LoginId(call.user)
        choice = call.get("choice").lower()
        if self._config.puppet != "active":
            how = "a connection of their own" if self._config.puppet == "always" else "none: the relay speaks"
            raise RejectedError(f"there is nothing to choose: everybody has {how}")
        if choice not in ("", "own", "relay", "auto"):
            raise RejectedError("say own, relay or auto")
        if choice:
            if not self._config.choice:
                raise RejectedError("that is not chosen on this network")
            await self._put(login, None if choice == "auto" else choice)
        standing = self._standing.get(login)
        words = {_OWN: "You have a connection of your own.", _RELAY: "The relay speaks for you."}
        auto = "You have a connection of your own since you are active."
        return words.get(
            standing or "", auto if standing == _ACTIVE else "The relay speaks for you until you are active."
        )
