"""Which chats of a network may have portals: patterns from the configuration, and from admins at run time."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

import orjson
import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.config.globs import Glob
from bridge_core.engine.gate import Check
from bridge_core.engine.store_ports import KeyValues

log = structlog.get_logger(__name__)

NAMESPACE: Final = "filters"
_MOST: Final = 1_000


class Verdict(StrEnum):
    """What a pattern says of the chats that it names."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Filter:
    """One pattern for chats of a network, as the network writes them."""

    network: NetworkId
    verdict: Verdict
    pattern: str


class Filters(Check):
    """New portals only: those that exist stay. A denying pattern wins; where there is an allowing one, one must match.

    `configured` are those of the configuration, which commands cannot remove.
    """

    def __init__(self, configured: Sequence[Filter], kv: KeyValues) -> None:
        self._configured = tuple(configured)
        self._kv = kv
        self._added: dict[Filter, None] = {}
        self._globs: Mapping[tuple[NetworkId, Verdict], tuple[Glob, ...]] = {}
        self._renew()

    def configure(self, configured: Sequence[Filter]) -> None:
        """The configuration's patterns are others now. Does not block."""
        self._configured = tuple(configured)
        self._renew()

    async def load(self) -> None:
        """Read what was added by command."""
        for value in (await self._kv.items(NAMESPACE, "")).values():
            row = orjson.loads(value)
            self._added[Filter(NetworkId(row["network"]), Verdict(row["verdict"]), row["pattern"])] = None
        self._renew()

    def new_chat(self, network: NetworkId, chat: ChatId) -> None:
        """As `Check.new_chat`."""
        if any(glob.matches(chat) for glob in self._globs.get((network, Verdict.DENY), ())):
            raise RejectedError("this chat may not be bridged here")
        allowing = self._globs.get((network, Verdict.ALLOW))
        if allowing and not any(glob.matches(chat) for glob in allowing):
            raise RejectedError("only certain chats may be bridged here, and this is none of them")

    def all(self) -> list[tuple[Filter, bool]]:
        """Every pattern, and whether it is from the configuration."""
        return [*((one, True) for one in self._configured), *((one, False) for one in self._added)]

    async def add(self, one: Filter, by: UserId) -> None:
        """Add a pattern. Returns when it is stored. Raises RejectedError in words when it is none."""
        try:
            Glob.parse(one.pattern)
        except ValueError as error:
            raise RejectedError(str(error)) from error
        if one not in self._added and len(self._added) >= _MOST:
            raise RejectedError(f"there are {_MOST} filters already")
        await self._kv.put(NAMESPACE, _key(one), orjson.dumps(asdict(one)))
        self._added[one] = None
        self._renew()
        log.warning("filter_added", network=one.network, verdict=one.verdict.value, pattern=one.pattern, by=by)

    async def remove(self, network: NetworkId, pattern: str, by: UserId) -> None:
        """Remove a pattern that was added by command. Raises RejectedError when there is none."""
        found = [one for one in self._added if (one.network, one.pattern) == (network, pattern)]
        if not found:
            raise RejectedError("there is no such filter that was added by command")
        for one in found:
            await self._kv.put(NAMESPACE, _key(one), None)
            del self._added[one]
        self._renew()
        log.warning("filter_removed", network=network, pattern=pattern, by=by)

    def _renew(self) -> None:
        globs: dict[tuple[NetworkId, Verdict], tuple[Glob, ...]] = {}
        for one in (*self._configured, *self._added):
            key = (one.network, one.verdict)
            globs[key] = (*globs.get(key, ()), Glob.parse(one.pattern))
        self._globs = globs


def _key(one: Filter) -> str:
    return f"{one.network}\x1f{one.verdict.value}\x1f{one.pattern}"
