"""Whose coming and going under a nick the server tells: IRCv3 monitor, over the observer's connection for all."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from bridges.irc.codec.message import Line, parse_source

_NICKS_AT_MOST: Final = 1000
_LINE: Final = 400
Told = Callable[[str, bool], None]
"""Called with a nick and whether somebody has it now. Must not block."""


class Teller(Protocol):
    """The observer's session, as far as it is needed."""

    def tell(self, command: str, *params: str) -> None:
        """Sends a line."""


class Watch:
    """The watched nicks of one network. What a server has no room for, or without MONITOR, nobody is told of.

    `told` of a nick are called when the server says that it is taken, or free; at the beginning, too.
    """

    def __init__(self) -> None:
        self.fold: Callable[[str], str] = str.lower
        self._told: dict[str, list[Told]] = {}
        self._nicks: dict[str, str] = {}
        self._refused: set[str] = set()
        self._online: dict[str, str] = {}
        self._session: Teller | None = None
        self._room = 0

    def __contains__(self, nick: str) -> bool:
        """Whether the server watches a nick now."""
        folded = self.fold(nick)
        return self._session is not None and folded in self._nicks and folded not in self._refused

    def mask(self, nick: str) -> str | None:
        """`nick!user@host` of who has a watched nick now, as far as it was told; None for nobody."""
        return self._online.get(self.fold(nick))

    def opened(self, session: Teller, monitor: str | None, fold: Callable[[str], str]) -> None:
        """The observer is connected. `monitor` is the value of its ISUPPORT token (empty: no limit); None without."""
        self.fold = fold
        self._online.clear()
        self._refused.clear()
        self._nicks = {fold(nick): nick for nick in self._nicks.values()}
        told: dict[str, list[Told]] = {}
        for callbacks, nick in [(found, nick) for nick, found in self._told.items()]:
            told.setdefault(fold(nick), []).extend(callbacks)
        self._told = told
        if monitor is None:
            self._session = None
            return
        self._session = session
        self._room = min(int(monitor), _NICKS_AT_MOST) if monitor.isascii() and monitor.isdigit() else _NICKS_AT_MOST
        self._ask(list(self._nicks)[: self._room])
        self._refused.update(list(self._nicks)[self._room :])

    def closed(self) -> None:
        """The observer is not connected any more."""
        self._session = None
        self._online.clear()

    def add(self, nick: str, told: Told | None = None) -> bool:
        """Watch a nick; whether the server does."""
        folded = self.fold(nick)
        if folded not in self._nicks:
            if len(self._nicks) >= _NICKS_AT_MOST:
                return False
            self._nicks[folded] = nick
            if self._session is not None:
                if len(self._nicks) - len(self._refused) > self._room:
                    self._refused.add(folded)
                else:
                    self._ask([folded])
        if told is not None:
            self._told.setdefault(folded, []).append(told)
        return folded not in self._refused and self._session is not None

    def drop(self, nick: str, told: Told | None = None) -> None:
        """Watch a nick no longer, unless others want it watched."""
        folded = self.fold(nick)
        left = [one for one in self._told.get(folded, []) if one != told]
        if left:
            self._told[folded] = left
            return
        self._told.pop(folded, None)
        if self._nicks.pop(folded, None) is None:
            return
        self._online.pop(folded, None)
        if folded in self._refused:
            self._refused.discard(folded)
        elif self._session is not None:
            self._session.tell("MONITOR", "-", nick)

    def handlers(self) -> dict[str, Callable[[Line], None]]:
        """The numerics that are read here."""
        return {"730": self._is_online, "731": self._is_offline, "734": self._is_full}

    def _ask(self, folded: Iterable[str]) -> None:
        group: list[str] = []
        for nick in [self._nicks[one] for one in folded]:
            if group and sum(map(len, group)) + len(group) + len(nick) > _LINE:
                self._say(group)
                group = []
            group.append(nick)
        if group:
            self._say(group)

    def _say(self, nicks: list[str]) -> None:
        if self._session is not None:
            self._session.tell("MONITOR", "+", ",".join(nicks))

    def _is_online(self, line: Line) -> None:
        for mask in line.param(1).split(","):
            nick = parse_source(mask).nick
            if self.fold(nick) in self._nicks:
                self._online[self.fold(nick)] = mask
                self._tell(nick, True)

    def _is_offline(self, line: Line) -> None:
        for mask in line.param(1).split(","):
            nick = parse_source(mask).nick
            if self.fold(nick) in self._nicks:
                self._online.pop(self.fold(nick), None)
                self._tell(nick, False)

    def _is_full(self, line: Line) -> None:
        """The server has no room for these: `me limit nicks :text`."""
        self._refused.update(folded for nick in line.param(2).split(",") if (folded := self.fold(nick)) in self._nicks)

    def _tell(self, nick: str, there: bool) -> None:
        for told in list(self._told.get(self.fold(nick), ())):
            told(nick, there)
