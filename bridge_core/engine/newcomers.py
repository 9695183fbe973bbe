"""Who has just come: for a while what new users, and users of new homeservers, say does not cross to a network."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, UserId
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.gate import Check
from bridge_core.engine.permissions import Permission, RuledPermissions
from bridge_core.engine.store_ports import KeyValues, PortalRow
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

NAMESPACE: Final = "newcomers"
_MOST: Final = 200_000
"""Users and homeservers that are remembered; whom there is no room for waits each time the bridge has restarted."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds since the bridge saw a user, or anybody of their homeserver, for the first time."""

    user: float = 0.0
    server: float = 0.0


class Newcomers(Check):
    """The waits of all networks that have any. Our own homeserver is never new, and admins never wait."""

    def __init__(
        self,
        waits: Mapping[NetworkId, Waits],
        domain: str,
        kv: KeyValues,
        permissions: RuledPermissions,
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._waits = waits
        self._domain = domain
        self._kv = kv
        self._permissions = permissions
        self._clock = clock
        self._tasks = tasks
        self._seen: dict[str, int] = {}

    async def load(self) -> None:
        """Read who was seen when."""
        if self._waits:
            self._seen = {key: int(value) for key, value in (await self._kv.items(NAMESPACE, "")).items()}

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`."""
        waits = self._waits.get(portal.network)
        if waits is None or self._permissions.configured(sender.id) is Permission.ADMIN:
            return
        server, now = sender.id.partition(":")[2], self._clock.now_ms()
        user_left = self._first(sender.id, now) + waits.user * 1000 - now
        server_left = self._first(server, now) + waits.server * 1000 - now if server != self._domain else 0.0
        if server_left > max(0.0, user_left):
            raise RejectedError(
                f"{server} is new on this bridge to {portal.network}: what you say crosses in {_time(server_left)}"
            )
        if user_left > 0:
            raise RejectedError(
                f"you are new on this bridge to {portal.network}: what you say crosses in {_time(user_left)}"
            )

    def _first(self, who: str, now: int) -> int:
        """When somebody was seen for the first time, which may be now."""
        first = self._seen.get(who)
        if first is None:
            first = self._seen[who] = now
            with contextlib.suppress(RuntimeError):  # the bridge stops
                self._tasks.start(self._store(UserId(who), now), "newcomer")
        return first

    async def _store(self, who: str, at: int) -> None:
        if len(self._seen) > _MOST:
            return
        try:
            await self._kv.put(NAMESPACE, who, str(at).encode())
        except BridgeError as error:
            log.info("newcomer_not_stored", who=who, error=str(error))


def _time(milliseconds: float) -> str:
    minutes = max(1, round(milliseconds / 60_000))
    return f"{minutes} minute{'s' * (minutes != 1)}" if minutes < 120 else f"{round(minutes / 60)} hours"
