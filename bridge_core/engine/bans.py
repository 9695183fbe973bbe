"""Who is banned from the bridge by an admin at run time: masks, stored, and in force before the command is answered."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import orjson
import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import UserId
from bridge_core.config.masks import Masks, check_mask, names_everybody
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

NAMESPACE: Final = "bans"
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Ban:
    """One ban. `mask` names users, ghosts or servers as in the section `permissions`; `at` is milliseconds."""

    mask: str
    by: UserId
    at: int
    reason: str = ""


class Bans:
    """All bans, in memory and stored. `protected` says who must not be banned; `changed` is told of every change."""

    def __init__(
        self, kv: KeyValues, clock: Clock, domain: str, protected: Callable[[Masks], str], changed: Callable[[], None]
    ) -> None:
        self._kv = kv
        self._clock = clock
        self._domain = domain
        self._protected = protected
        self._changed = changed
        self._bans: dict[str, Ban] = {}
        self._masks = Masks((), domain)

    async def load(self) -> None:
        """Read all bans once, before anybody is let in."""
        for value in (await self._kv.items(NAMESPACE, "")).values():
            ban = Ban(**orjson.loads(value))
            self._bans[ban.mask] = ban
        self._renew()

    @property
    def any(self) -> bool:
        """As `Denials.any`."""
        return bool(self._bans)

    def denies(self, user: UserId) -> str:
        """As `Denials.denies`."""
        if not self._bans:
            return ""
        for _, mask in self._masks.naming(user):
            ban = self._bans[mask]
            return f"banned from this bridge{f' ({ban.reason})' if ban.reason else ''}"
        return ""

    def all(self) -> list[Ban]:
        """Every ban, the oldest first."""
        return sorted(self._bans.values(), key=lambda ban: ban.at)

    async def add(self, mask: str, by: UserId, reason: str = "") -> Ban:
        """Ban whoever the mask names. Returns when it is stored. Raises RejectedError in words."""
        try:
            check_mask(mask)
        except ValueError as error:
            raise RejectedError(str(error)) from error
        if names_everybody(mask):
            raise RejectedError("that would be everybody: use stop to stop a network or a room")
        if whom := self._protected(Masks((mask,), self._domain)):
            raise RejectedError(f"that would ban {whom} too")
        if mask not in self._bans and len(self._bans) >= _MOST:
            raise RejectedError(f"there are {_MOST} bans already: ban servers or patterns instead")
        ban = Ban(mask, by, self._clock.now_ms(), reason[:500])
        await self._kv.put(NAMESPACE, mask, orjson.dumps(asdict(ban)))
        self._bans[mask] = ban
        self._renew()
        log.warning("user_banned", mask=mask, by=by)
        return ban

    async def remove(self, mask: str, by: UserId) -> None:
        """End the ban on exactly this mask. Raises RejectedError when there is none."""
        if mask not in self._bans:
            raise RejectedError(f"there is no ban on {mask}")
        await self._kv.put(NAMESPACE, mask, None)
        del self._bans[mask]
        self._renew()
        log.warning("user_unbanned", mask=mask, by=by)

    def _renew(self) -> None:
        self._masks = Masks(tuple(self._bans), self._domain)
        self._changed()
