"""Which nick each Matrix user wants, had, and may get."""

import json
from collections.abc import Iterator
from typing import Final

import structlog

from bridge_core.api.host import Host
from bridge_core.api.ids import UserId
from bridge_core.api.network import Login
from bridges.irc.config import IrcConfig
from bridges.irc.nicks import BadName, alternatives, check_nick, make_nick

log = structlog.get_logger(__name__)
_PREFIX: Final = "nick/"
_LONGEST: Final = 64


class NickBook:
    """The nicks that users chose themselves, and those that they had last where it was another. Kept over restarts."""

    def __init__(self, config: IrcConfig) -> None:
        self._config = config
        self._host: Host | None = None
        self._chosen: dict[UserId, str] = {}
        self._had: dict[UserId, str] = {}

    async def load(self, host: Host) -> None:
        """Reads what earlier processes learnt. What is no nick any more is forgotten."""
        self._host = host
        for key, value in (await host.kv.items(_PREFIX)).items():
            user = UserId(key.removeprefix(_PREFIX))
            try:
                chosen, had = json.loads(value)
                if chosen:
                    self._chosen[user] = check_nick(str(chosen), _LONGEST)
                if had:
                    self._had[user] = check_nick(str(had), _LONGEST)
            except (ValueError, TypeError):
                log.warning("irc_nick_unreadable", network=host.network, user=user)
                await host.kv.put(key, None)

    def wanted(self, login: Login, nicklen: int) -> str:
        """The nick that a user is to have: their choice, else what the template makes of them."""
        chosen = self._chosen.get(login.user)
        if chosen is not None and len(chosen) <= nicklen:
            return chosen
        return make_nick(self._config.nick_template, login.user, login.name, nicklen)

    def chosen(self, user: UserId) -> str | None:
        """What a user chose."""
        return self._chosen.get(user)

    def candidates(self, login: Login, nicklen: int) -> Iterator[str]:
        """What to try in this order: the wanted nick, the one they had last, the fallbacks, and then with numbers."""
        wanted = self.wanted(login, nicklen)
        seen: set[str] = set()
        templates = self._config.nicks.fallback
        first = [wanted, *([self._had[login.user]] if login.user in self._had else [])]
        first += [make_nick(template, login.user, login.name, nicklen) for template in templates]
        for nick in (*first, *alternatives(wanted, nicklen)):
            if nick.lower() not in seen and len(nick) <= nicklen:
                seen.add(nick.lower())
                yield nick

    async def choose(self, user: UserId, nick: str | None) -> None:
        """A user wants this nick from now on; None for what the template says. Raises BadName; errors of the store."""
        if nick is None:
            self._chosen.pop(user, None)
        else:
            self._chosen[user] = check_nick(nick, _LONGEST)
        await self._store(user)

    async def have(self, login: Login, nick: str, nicklen: int) -> None:
        """A user was given this nick. Kept where it is not the wanted one. Raises errors of the store."""
        before = self._had.get(login.user)
        try:
            kept = None if nick == self.wanted(login, nicklen) else check_nick(nick, _LONGEST)
        except BadName:
            kept = None  # what only the server can give
        if kept == before:
            return
        if kept is None:
            del self._had[login.user]
        else:
            self._had[login.user] = kept
        await self._store(login.user)

    async def _store(self, user: UserId) -> None:
        assert self._host is not None, "the connector is not started"
        value = [self._chosen.get(user), self._had.get(user)]
        await self._host.kv.put(_PREFIX + user, json.dumps(value).encode() if any(value) else None)
