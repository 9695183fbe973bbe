"""How much one user may do: limits for everybody, others for some, and what was used."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, EventId, NetworkId, UserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixOutgoing, MatrixSender
from bridge_core.engine.gate import Check
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, RuledPermissions
from bridge_core.engine.portals import MADE_BY, PortalIndex
from bridge_core.engine.store_ports import KeyValues
from bridge_core.observe.metrics import Counter

log = structlog.get_logger(__name__)

LIMITS: Final = "quotas"
USED: Final = "quotas.media"
NAMES: Final = ("portals", "logins", "messages_per_minute", "media_per_day")
_TOGETHER: Final = "server_messages_per_minute"
_MINUTE: Final = 60_000
_DAY: Final = 86_400_000
_USERS: Final = 10_000
_EVENTS: Final = 32
"""Events with files that are remembered per user and day, so that trying again counts once."""

Limits = Mapping[str, int | None]
"""By name of the quota; None for no limit."""


@dataclass(slots=True)
class _Media:
    day: int
    used: int = 0
    events: list[str] = field(default_factory=list)


class Quotas(Check):
    """Limits and what was used of them. `default` holds for who has no other; admins have none."""

    def __init__(
        self,
        default: Limits,
        largest: int,
        kv: KeyValues,
        permissions: RuledPermissions,
        networks: Networks,
        portals: PortalIndex,
        exceeded: Counter,
        domain: str = "",
    ) -> None:
        self._domain = domain
        self._default = default
        self._largest = largest
        self._kv = kv
        self._permissions = permissions
        self._networks = networks
        self._portals = portals
        self._exceeded = exceeded
        self._own: dict[UserId, dict[str, int | None]] = {}
        self._said: OrderedDict[UserId, OrderedDict[EventId, int]] = OrderedDict()
        self._media: OrderedDict[UserId, _Media] = OrderedDict()
        self._rated = False

    async def load(self) -> None:
        """Read the limits of single users."""
        for user, value in (await self._kv.items(LIMITS, "")).items():
            self._own[UserId(user)] = orjson.loads(value)
        self._renew()

    def limit(self, user: UserId, name: str) -> int | None:
        """A user's limit; None for none. From memory."""
        if self._permissions.configured(user) is Permission.ADMIN:
            return None
        own = self._own.get(user)
        return own[name] if own is not None and name in own else self._default.get(name)

    def limits(self, user: UserId) -> dict[str, int | None]:
        """All limits of a user."""
        return {name: self.limit(user, name) for name in NAMES}

    async def set(self, user: UserId, name: str, value: int | None, *, default: bool = False) -> None:
        """Give a user another limit (None: none), or (`default`) the common one again. Returns when it is stored."""
        own = dict(self._own.get(user, {}))
        if default:
            own.pop(name, None)
        else:
            own[name] = value
        await self._kv.put(LIMITS, user, orjson.dumps(own) if own else None)
        if own:
            self._own[user] = own
        else:
            self._own.pop(user, None)
        self._renew()
        log.warning("quota_set", user=user, quota=name, value=value, default=default)

    def spend(self, sender: MatrixSender, event: Mapping[str, Any], received_at: int) -> None:
        """As `Check.spend`: one more within a minute."""
        if not self._rated or event["type"] == "m.room.redaction":
            return
        if self._permissions.configured(sender.id) is Permission.ADMIN:
            return
        limit = self.limit(sender.id, "messages_per_minute")
        if limit is not None:
            words = f"you sent more than {limit} messages within a minute"
            self._count(sender.id, "messages_per_minute", limit, words, event["event_id"], received_at)
        server = sender.id.partition(":")[2]
        together = self._default.get(_TOGETHER)
        if together is not None and server != self._domain:
            words = f"users of {server} sent more than {together} messages within a minute"
            self._count(UserId(server), _TOGETHER, together, words, event["event_id"], received_at)

    def _count(self, who: UserId, name: str, limit: int, words: str, event: EventId, received_at: int) -> None:
        said = self._said.get(who)
        if said is None:
            said = self._said[who] = OrderedDict()
            if len(self._said) > _USERS:
                self._said.popitem(last=False)
        if event in said:
            return  # tried again, or for another chat
        while said and next(iter(said.values())) <= received_at - _MINUTE:
            said.popitem(last=False)
        if len(said) >= limit:
            self._over(name, words)
        said[event] = received_at

    async def carry(self, message: MatrixOutgoing, received_at: int) -> None:
        """As `Check.carry`: so many bytes more on a day. Returns when it is stored."""
        if not isinstance(message, MatrixMessage | MatrixEdit):
            return
        user, limit = message.sender.id, self.limit(message.sender.id, "media_per_day")
        if limit is None:
            return
        day = received_at // _DAY
        media = await self._used(user, day)
        if message.event_id in media.events:
            return
        sizes = (file.size for file in message.content.attachments)
        size = sum(self._largest if told is None else max(told, 0) for told in sizes)
        if media.used + size > limit:
            self._over("media_per_day", f"your files of today would be more than {limit} bytes")
        media.used += size
        media.events = [*media.events[1 - _EVENTS :], message.event_id]
        await self._kv.put(USED, user, orjson.dumps([media.day, media.used, media.events]))

    def new_portal(self, user: UserId, network: NetworkId, chat: ChatId) -> None:
        """As `Check.new_portal`: whether a user may have one more made."""
        limit = self.limit(user, "portals")
        if limit is not None and sum(row.options.get(MADE_BY) == user for row in self._portals.all()) >= limit:
            self._over("portals", f"you have made {limit} portals already")

    def new_login(self, user: UserId) -> None:
        """Whether the user may log in once more. Raises RejectedError in words."""
        limit = self.limit(user, "logins")
        if limit is None:
            return
        logins = (login for network in self._networks for login in network.logins(user))
        if sum(not login.provided for login in logins) >= limit:
            self._over("logins", f"you have {limit} logins already")

    def used(self, user: UserId) -> dict[str, int]:
        """What a user has used of the quotas that count what is there."""
        return {
            "portals": sum(row.options.get(MADE_BY) == user for row in self._portals.all()),
            "logins": sum(not login.provided for network in self._networks for login in network.logins(user)),
        }

    async def _used(self, user: UserId, day: int) -> _Media:
        media = self._media.get(user)
        if media is None:
            stored = await self._kv.get(USED, user)
            media = self._media.setdefault(user, _Media(*orjson.loads(stored)) if stored else _Media(day))
            if len(self._media) > _USERS:
                self._media.popitem(last=False)
        if media.day < day:
            media.day, media.used, media.events = day, 0, []
        return media

    def _over(self, name: str, words: str) -> None:
        self._exceeded.inc(name)
        raise RejectedError(words)

    def _renew(self) -> None:
        name = "messages_per_minute"
        rated = any(self._default.get(one) is not None for one in (name, _TOGETHER))
        self._rated = rated or any(name in own for own in self._own.values())
