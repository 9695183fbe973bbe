"""Who was never seen is asked to come again. Who did is known, durably; who is awaited is in memory.

Only those who came again are stored: nobody fills the database by coming once.
"""

import hashlib
from collections import OrderedDict
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridges.email.codec.addresses import Address
from bridges.email.config.trust import Greylist
from bridges.email.ports import Reply
from bridges.email.smtp.masks import masks

_log = structlog.get_logger(__name__)
AGAIN: Final = Reply(451, "4.7.1", "you are new here, please come again in a few minutes")
_PREFIX: Final = "grey/"
_MOST: Final = 50_000
_DAY: Final = 86_400.0


class Greylisting:
    """Knows senders by their network (/24, /48), their domain, and whom they write to."""

    def __init__(self, settings: Greylist, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._awaited: OrderedDict[str, float] = OrderedDict()
        self._count = 0

    async def check(self, peer: str, sender: Address | None, recipient: Address) -> Reply | None:
        """None for who is known, or came again in time. Raises TransientError while the database is unavailable."""
        if not self._settings.enabled:
            return None
        name = f"{masks(peer)[1]} {sender.domain if sender else ''} {recipient.key}"
        key = hashlib.sha256(name.encode()).hexdigest()[:32]
        now = self._host.clock.now_ms() / 1000
        known = await self._host.kv.get(_PREFIX + key)
        if known is not None:
            # Written again once a day at most: it stays known for as long as it writes.
            if now - float(known) > _DAY:
                await self._host.kv.put(_PREFIX + key, b"%d" % now)
            return None
        first = self._awaited.get(key)
        if first is None or now - first > self._settings.window:
            self._awaited[key] = now
            self._awaited.move_to_end(key)
            while len(self._awaited) > _MOST:
                self._awaited.popitem(last=False)
            return AGAIN
        if now - first < self._settings.delay:
            return AGAIN
        if self._count < _MOST:
            await self._host.kv.put(_PREFIX + key, b"%d" % now)
            self._count += 1
        del self._awaited[key]
        return None

    async def tend(self) -> None:
        """Forget those who did not write for long, once a day. Runs for ever."""
        while self._settings.enabled:
            try:
                await self.sweep()
            except BridgeError as error:
                _log.warning("greylist_not_swept", error=str(error))
            await self._host.clock.sleep(_DAY)

    async def sweep(self) -> None:
        """Forget them now. Raises TransientError."""
        now = self._host.clock.now_ms() / 1000
        known = await self._host.kv.items(_PREFIX)
        for key, value in known.items():
            if now - float(value) > self._settings.keep:
                await self._host.kv.put(key, None)
        self._count = len(known)
