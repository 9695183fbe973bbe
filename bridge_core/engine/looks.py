"""How ghosts look: names and pictures kept as those of their people, in the background, so that no message waits."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, RemoteUserId
from bridge_core.api.info import UserInfo
from bridge_core.engine.avatars import Avatars
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.labels import NAME, label
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.store_ports import GhostRow
from bridge_core.observe.metrics import Counter
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 4
_WAITING: Final = 10_000
"""Ghosts that wait. What is more is put off: it is wished for again when they speak."""
_AGAIN_AFTER: Final = 60.0
_Key = tuple[NetworkId, RemoteUserId]


class Keeper(Protocol):
    """Who has the ghosts: `ghosts.GhostPool`."""

    def in_memory(self, network: NetworkId, remote: RemoteUserId) -> GhostRow | None:
        """The ghost, if it is in memory."""

    async def change(self, row: GhostRow, **changes: str | None) -> GhostRow:
        """The ghost with these columns changed, stored."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """`source` is where the picture is, None: ask the network. `drifted`: look first what the profile is like."""

    row: GhostRow
    source: str | None
    drifted: bool


class GhostLooks:
    """Works off wishes, a few at a time; `person` asks a network about somebody. What fails is tried later again."""

    def __init__(
        self,
        matrix: MatrixSide,
        avatars: Avatars,
        keeper: Keeper,
        person: Callable[[NetworkId, RemoteUserId], Awaitable[UserInfo | None]],
        clock: Clock,
        tasks: TaskOwner,
        put_off: Counter,
        faults: FaultPoints,
    ) -> None:
        self._matrix = matrix
        self._avatars = avatars
        self._keeper = keeper
        self._person = person
        self._clock = clock
        self._tasks = tasks
        self._put_off = put_off
        self._faults = faults
        self._waiting: OrderedDict[_Key, _Wish] = OrderedDict()
        self._later: OrderedDict[_Key, tuple[float, _Wish]] = OrderedDict()
        self._working = 0
        self._dressing: set[_Key] = set()
        """Who is being looked after: what is wished for them meanwhile comes after that."""

    def want(self, row: GhostRow, source: str | None, drifted: bool = False) -> None:
        """Wish that a ghost has the picture at `source` (empty: none; None: the one that the network knows).

        `drifted`: its profile may not be what was set last. Does not block.
        """
        key = (row.network, row.remote)
        if self._later:
            self._take_up()
        if key in self._later:
            return
        waits = self._waiting.get(key)
        if waits is None and len(self._waiting) >= _WAITING:
            self._put_off.inc()
            return
        if waits is None:
            self._waiting[key] = _Wish(row, source, drifted)
        elif source is not None:
            self._waiting[key] = _Wish(row, source, drifted or waits.drifted)
        if self._working < _AT_ONCE:
            try:
                self._tasks.start(self._work(), "ghost-looks")
            except RuntimeError:  # the bridge stops: looked after at the next start, and the message goes on
                return
            self._working += 1

    def _take_up(self) -> None:
        """Those whose time has come wait again. No timer: whoever speaks next is soon enough."""
        now = self._clock.monotonic()
        while self._later:
            key, (due, wish) = next(iter(self._later.items()))
            if due > now:
                return
            del self._later[key]
            self._waiting.setdefault(key, wish)

    async def _work(self) -> None:
        try:
            while (key := next((one for one in self._waiting if one not in self._dressing), None)) is not None:
                wish = self._waiting.pop(key)
                row = self._keeper.in_memory(*key) or wish.row
                self._dressing.add(key)
                try:
                    await self._grant(row, wish)
                except BridgeError as error:
                    log.info("ghost_profile_not_checked", ghost=row.user, error=str(error))
                    self._postpone(key, wish, error)
                finally:
                    self._dressing.discard(key)
        finally:
            self._working -= 1

    async def _grant(self, row: GhostRow, wish: _Wish) -> None:
        if wish.drifted:
            await self._repair(row)
        source = wish.source
        if source is None:
            info = await self._person(row.network, row.remote)
            if info is None:
                return
            name = label(info.name or "", NAME)
            if name and row.name == row.remote != name:
                await self._matrix.set_profile(row.user, name, None)
                row = await self._keeper.change(row, name=name)
            source = info.avatar
        if source is not None and source != row.avatar_source and (source or row.avatar):
            await self._dress(row, source)

    async def _repair(self, row: GhostRow) -> None:
        """Profiles drift (servers restored, admins editing): set what is wrong."""
        profile = await self._matrix.profile(row.user)
        name = row.name if profile.name != row.name else None
        avatar = row.avatar if row.avatar is not None and (profile.avatar or "") != row.avatar else None
        if name is not None or avatar is not None:
            log.info("ghost_profile_repaired", ghost=row.user)
            await self._matrix.set_profile(row.user, name, avatar)

    async def _dress(self, row: GhostRow, source: str) -> None:
        try:
            avatar = await self._avatars.mxc(source)
        except RejectedError as error:
            # The same address will not be tried again: it has the same picture.
            log.info("ghost_avatar_refused", ghost=row.user, error=str(error))
            await self._keeper.change(row, avatar_source=source)
            return
        if avatar != (row.avatar or ""):
            self._faults.hit("looks.before_set")
            await self._matrix.set_profile(row.user, None, avatar)
            self._faults.hit("looks.after_set")
        await self._keeper.change(row, avatar=avatar, avatar_source=source)

    def _postpone(self, key: _Key, wish: _Wish, error: BridgeError) -> None:
        if isinstance(error, RejectedError):
            return
        delay = error.retry_after if isinstance(error, RateLimitedError) else _AGAIN_AFTER
        self._later[key] = (self._clock.monotonic() + delay, wish)
        if len(self._later) > _WAITING:
            self._later.popitem(last=False)
            self._put_off.inc()
