"""Portals that come into being when somebody asks the homeserver for their alias. Off unless configured: the homeserver
does not say who asks."""

from collections import deque
from collections.abc import Set as AbstractSet
from typing import Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.plumbing import Plumbing
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

_HOUR: Final = 3_600_000
_PER_HOUR: Final = 60
"""Portals that strangers may have made in an hour, on all networks."""


class AliasPortals:
    """Makes a portal of an alias, on the networks in `allowed`."""

    def __init__(
        self, names: Names, networks: Networks, plumbing: Plumbing, allowed: AbstractSet[NetworkId], clock: Clock
    ) -> None:
        self._names = names
        self._networks = networks
        self._plumbing = plumbing
        self._allowed = allowed
        self._clock = clock
        self._made: deque[int] = deque()
        self._told = False

    async def make(self, alias: str) -> PortalRow | None:
        """The portal whose chat the alias names in the network's own form; None when none may be made."""
        for network in self._networks:
            chat = self._names.chat_of(network.id, alias) if network.id in self._allowed else None
            if chat is None:
                continue
            try:
                # Another writing of the same chat has another alias: only the canonical one leads anywhere.
                if "\x1f" in chat or network.connector.chat(chat) != chat or not self._in_time():
                    return None
                made = await self._plumbing.portal(self._names.bot, network.id, chat, chat)
            except (ValueError, RejectedError) as error:
                log.info("alias_makes_no_portal", network=network.id, error=str(error))
                return None
            self._made.append(self._clock.now_ms())
            return made
        return None

    def _in_time(self) -> bool:
        now = self._clock.now_ms()
        while self._made and self._made[0] < now - _HOUR:
            self._made.popleft()
        if len(self._made) < _PER_HOUR:
            self._told = False
            return True
        if not self._told:
            log.warning("alias_portals_limited", per_hour=_PER_HOUR)
        self._told = True
        return False
