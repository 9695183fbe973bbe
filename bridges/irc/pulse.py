"""Signs of life of one connection, and the PINGs that prove what was written on it."""

import asyncio
from collections.abc import Callable
from typing import Final

from bridges.irc.config.network import IrcConfig
from bridges.irc.flight import Flight

_OBSERVED_PING: Final = 0.1
"""Seconds that the observer is given to see a line before the server is asked with a PING."""


class Pulse:
    """Of one connection, from `begin` to `end`. `ping` sends a PING with a token; `dead` is told why it is over."""

    def __init__(
        self, config: IrcConfig, flight: Flight, ping: Callable[[str], None], dead: Callable[[str], None]
    ) -> None:
        self._config = config
        self._flight = flight
        self._send = ping
        self._dead = dead
        self._loop = asyncio.get_running_loop()
        self._asking: asyncio.Handle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._paused = False
        self._pinged_at = 0.0
        self._heard_at = self._loop.time()
        self._live = False

    @property
    def silence(self) -> float:
        """Seconds since the server was last heard."""
        return self._loop.time() - self._heard_at

    def begin(self) -> None:
        """The connection is registered: it is watched from now on."""
        self._live = True
        self._beat = self._loop.call_later(self._config.ping_interval / 2, self._check)

    def end(self) -> None:
        """The connection is over."""
        self._live = False
        for handle in (self._asking, self._beat):
            if handle is not None:
                handle.cancel()

    def heard(self) -> None:
        """The server said something."""
        self._heard_at = self._loop.time()

    def paused(self) -> None:
        """Nothing is read for now: silence says nothing."""
        self._paused = True

    def resumed(self) -> None:
        """It is read again."""
        self._paused = False
        self._heard_at = self._pinged_at = self._loop.time()

    def wrote(self, observed: bool) -> None:
        """Lines were written that only a PONG proves, unless the observer does: asks for it soon."""
        if self._asking is None:
            if observed:
                self._asking = self._loop.call_later(_OBSERVED_PING, self._ask)
            else:
                self._asking = self._loop.call_soon(self._ask)

    def ping(self) -> None:
        """Sends a PING, unless one is on its way."""
        token = self._flight.ping()
        if token is not None:
            self._pinged_at = self._loop.time()
            self._send(token)

    def _ask(self) -> None:
        """Asks the server for its PONG, if there is anything to prove."""
        self._asking = None
        if self._live and len(self._flight):
            self.ping()

    def _check(self) -> None:
        """Looks for signs of life."""
        config, now = self._config, self._loop.time()
        if not self._paused:
            if self._flight.pinging and now - self._pinged_at > config.ping_timeout:
                self._dead(f"the server did not answer for {now - self._pinged_at:.0f} seconds")
                return
            if now - self._heard_at > config.ping_interval / 2 or len(self._flight):
                self.ping()
        self._beat = self._loop.call_later(min(config.ping_interval, config.ping_timeout) / 2, self._check)
