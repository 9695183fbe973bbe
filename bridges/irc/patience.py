"""How long the bot stays away once its connection has ended; what the network said outlives a restart."""

import asyncio
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.network import LoginStatus
from bridges.irc.bans import Ban, Bans
from bridges.irc.config import IrcConfig
from bridges.irc.endings import Cause, Ending

log = structlog.get_logger(__name__)
_STEADY: Final = 60.0
"""Seconds of connection after which the next loss counts as a first one."""
_LONGEST: Final = 3600.0
"""Seconds that a throttle keeps us away at most."""
KILL: Final = "kill"
THROTTLE: Final = "throttle"
STATUS: Final = {
    Cause.BANNED: LoginStatus.BANNED,
    Cause.USERINFO: LoginStatus.BANNED,
    Cause.ADDRESS: LoginStatus.BANNED,
    Cause.KILLED: LoginStatus.BANNED,
    Cause.CREDENTIALS: LoginStatus.BAD_CREDENTIALS,
}
"""What is reported of an ending; of all others that the bot is disconnected."""


class Patience:
    """Of the bot alone: it keeps what the network's staff said, since it is what everybody's words go through.

    A ban lasts `ban_pause`, a kill `kill_pause`, a throttle of its address `throttle_pause`, doubled each time. All of
    these are stored, and end when an admin forgives. What users were told of the address that the bot shares with them
    does not stop the bot: it is one connection, often one that the network has made an exception for. A full class is
    not stored: it is our own connections that fill it, and with the process they end.
    """

    def __init__(self, config: IrcConfig, bans: Bans) -> None:
        self._config = config
        self._bans = bans
        self._failures = 0
        self._throttles = 0

    def standing(self) -> Ban | None:
        """What keeps the bot away now; None when it may connect."""
        return self._bans.of_bot()

    def opened(self) -> None:
        """The network let the bot in."""
        self._throttles = 0

    async def after(self, ending: Ending, lasted: float) -> float:
        """Remembers what an ending says; seconds until the next try, apart from what is `standing` then."""
        config = self._config
        if lasted > _STEADY:
            self._failures = 0
        delay: float = min(config.reconnect_max, config.reconnect_min * 2 ** min(self._failures, 20))
        self._failures += 1
        try:
            match ending.cause:
                case Cause.BANNED | Cause.USERINFO | Cause.ADDRESS:
                    await self._bans.ban_bot(ending.reason, ending.ban)
                case Cause.KILLED:
                    await self._bans.ban_bot(ending.reason, KILL, config.connects.kill_pause)
                case Cause.THROTTLED:
                    pause = min(_LONGEST, config.connects.throttle_pause * 2 ** min(self._throttles, 10))
                    self._throttles += 1
                    await self._bans.ban_bot(ending.reason, THROTTLE, pause)
                case Cause.CREDENTIALS:
                    return config.reconnect_max
                case Cause.FULL:
                    return max(delay, config.reconnect_max / 4)
                case _:
                    pass
        except BridgeError as error:  # it holds all the same, until we are restarted
            log.warning("irc_ban_not_stored", network=self._bans.network, error=str(error))
        return delay

    async def rest(self, seconds: float) -> None:
        """Waits, or until an admin forgives."""
        forgiven = self._bans.forgiven
        forgiven.clear()
        try:
            async with asyncio.timeout(seconds):
                await forgiven.wait()
        except TimeoutError:
            pass
