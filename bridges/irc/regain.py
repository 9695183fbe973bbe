"""Takes a wanted nick back once it is free."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from bridges.irc.config.nicks import Nicks
from bridges.irc.watch import Watch

_SOON: Final = 0.2
"""Seconds at most between a nick being free and the try: of many who want one, not all at once."""


class Regain:
    """Of one connection. `ask` writes the NICK line; `stop` when the nick is there, or the connection gone.

    The server says when the nick is free (IRCv3 monitor), or it is tried after a while, and then less and less often.
    """

    __slots__ = ("_ask", "_config", "_delay", "_loop", "_timer", "_watch", "nick")

    def __init__(self, nick: str, config: Nicks, watch: Watch, ask: Callable[[str], None]) -> None:
        self.nick = nick
        self._config = config
        self._watch = watch
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._delay = config.regain_min
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to wait."""
        self._watch.add(self.nick, self._told)
        self._wait()

    def stop(self) -> None:
        """Waits no longer. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watch.drop(self.nick, self._told)

    def _wait(self) -> None:
        delay = self._delay * random.uniform(0.8, 1.2)
        self._delay = min(self._delay * 2, self._config.regain_max)
        self._timer = self._loop.call_later(delay, self._try)

    def _try(self) -> None:
        # Where the server watches the nick this is for the case that somebody else was quicker.
        if self.nick not in self._watch or self._watch.mask(self.nick) is None:
            self._ask(self.nick)
        self._wait()

    def _told(self, nick: str, there: bool) -> None:
        if not there and self._timer is not None:
            self._timer.cancel()
            self._delay = self._config.regain_min
            self._timer = self._loop.call_later(random.uniform(0, _SOON), self._try)
