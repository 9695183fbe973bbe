"""Powers of networks' people in rooms: wished for at once, brought about by one task, many changes in one event."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.events import RemotePower
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, NetworkId, PortalKey, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixPower, MatrixSender
from bridge_core.engine.conversion import Conversion, NothingToDo
from bridge_core.engine.faults import FaultPoints
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.names import Names
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.powerlevels import NoPowerError, PowerWish, level_of, reconciled
from bridge_core.engine.requests import Prepared
from bridge_core.engine.store_ports import KeyValues, PortalRow
from bridge_core.engine.translation import Kind, Translation, timestamp_of
from bridge_core.observe.metrics import Counter

log = structlog.get_logger(__name__)

_WISHED: Final = "power.wished"
_GIVEN: Final = "power.given"
"""Key-value namespaces, keyed `NETWORK ROOM`: what is still to be set, and what the bridge gave Matrix users."""
_TOGETHER: Final = 0.3
"""Seconds in which more changes come for the same event."""
_LONGEST: Final = 60.0
_MOST: Final = 10_000
"""Users of one wish. An event has room for a sixth of them."""

Key = tuple[NetworkId, RoomId]


@dataclass(frozen=True, slots=True)
class _Pending:
    users: Mapping[str, int]
    complete: bool = False
    speaking: int | None = None
    """The power that saying something is to take."""


class Powers:
    """Both directions. A wish is stored until it is so or refused; `worked` counts `set`, `refused`, `too_large`."""

    def __init__(
        self,
        names: Names,
        networks: Networks,
        portals: PortalIndex,
        ghosts: GhostPool,
        matrix: MatrixSide,
        kv: KeyValues,
        clock: Clock,
        faults: FaultPoints,
        worked: Counter,
    ) -> None:
        self._names = names
        self._networks = networks
        self._portals = portals
        self._ghosts = ghosts
        self._matrix = matrix
        self._kv = kv
        self._clock = clock
        self._faults = faults
        self._worked = worked
        self._pending: dict[Key, _Pending] = {}
        self._changed = asyncio.Event()

    def add_to(self, conversion: Conversion, translation: Translation) -> None:
        """Take part in both directions."""
        conversion.add(RemotePower, self._told)
        kind = Kind(
            self._given,
            state=True,
            wants=MatrixPower,
            concerns=lambda event: bool(_differences(event)),
            reaches=lambda event, portal: any(self._about(event, portal)),
            undo=self._put_back,
        )
        translation.add("m.room.power_levels", kind)

    # network -> Matrix

    async def _told(self, entry: Entry, event: RemotePower) -> list[Prepared]:
        portal = self._portals.get(PortalKey(NetworkId(entry.network), event.chat, event.receiver))
        if portal is None or not portal.rooms:
            raise NothingToDo("this chat has no room yet")
        await self.tell(portal, event)
        raise NothingToDo("set beside the messages")

    async def tell(self, portal: PortalRow, event: RemotePower) -> None:
        """Wish for the powers that a network tells of. Returns when that is stored. Raises TransientError."""
        network = self._networks.get(portal.network)
        users: dict[str, int] = {}
        for power in event.powers[:_MOST]:
            if power.member.login is None:
                users[self._names.ghost(portal.network, power.member.id)] = power.level
            elif network is not None and (login := network.login_of(power.member.login)) is not None:
                users[login.user] = power.level
        if len(event.powers) > _MOST:
            self._worked.inc("too_large")
            log.warning("power_levels_too_large", network=portal.network, chat=portal.chat, users=len(event.powers))
        for room in portal.rooms:
            # Who is not on the list of one chat may be on that of another in the same room.
            alone = sum(one.network == portal.network for one in self._portals.in_room(room)) == 1
            await self._wish(portal.network, room, users, complete=event.complete and alone)

    async def speaking(self, network: NetworkId, room: RoomId, level: int) -> None:
        """Wish that saying something in a room takes this power. As `tell`."""
        await self._wish(network, room, {}, complete=False, speaking=level)

    async def _wish(
        self,
        network: NetworkId,
        room: RoomId,
        users: Mapping[str, int],
        *,
        complete: bool,
        speaking: int | None = None,
    ) -> None:
        key = (network, room)
        before = self._pending.get(key)
        if before is not None and not complete:
            users, complete = {**before.users, **users}, before.complete
        if before is not None and speaking is None:
            speaking = before.speaking
        if len(users) > _MOST:  # what is said last counts
            users = dict(list(users.items())[-_MOST:])
        pending = _Pending(users, complete, speaking)
        self._pending[key] = pending
        await self._kv.put(_WISHED, _name(key), orjson.dumps([dict(users), complete, speaking]))
        self._changed.set()

    async def run(self) -> None:
        """Bring about what is wished, until cancelled."""
        pause, loaded = 0.5, False
        while True:
            try:
                if not loaded:
                    await self._load()
                    loaded = True
                self._changed.clear()
                for key in list(self._pending):
                    await self._one(key)
                pause = 0.5
                if not self._pending:
                    await self._changed.wait()
                await self._clock.sleep(_TOGETHER)
            except (RateLimitedError, TransientError) as error:
                wait = error.retry_after if isinstance(error, RateLimitedError) else pause
                log.info("powers_wait", error=str(error), seconds=wait)
                await self._clock.sleep(wait)
                pause = min(pause * 2, _LONGEST)
            except Exception:
                log.exception("powers_stumbled")
                await self._clock.sleep(_LONGEST)

    async def _load(self) -> None:
        for name, value in (await self._kv.items(_WISHED, "")).items():
            network, _, room = name.partition(" ")
            users, complete, *further = orjson.loads(value)
            pending = _Pending(users, complete, further[0] if further else None)
            self._pending.setdefault((NetworkId(network), RoomId(room)), pending)

    async def _one(self, key: Key) -> None:
        network, room = key
        pending = self._pending[key]
        end = "set"
        try:
            end = await self._set(network, room, pending)
        except (RateLimitedError, TransientError):
            # The others have their turn before it is tried again.
            self._pending[key] = self._pending.pop(key)
            raise
        except (BridgeError, NoPowerError) as error:
            log.info("powers_not_set", room=room, network=network, error=str(error))
            end = "refused"
        self._worked.inc(end)
        if self._pending.get(key) is pending:
            del self._pending[key]
            await self._kv.put(_WISHED, _name(key), None)

    async def _set(self, network: NetworkId, room: RoomId, pending: _Pending) -> str:
        if not any(portal.network == network for portal in self._portals.in_room(room)):
            raise RejectedError("this room is not bridged any more")
        stored = await self._kv.get(_GIVEN, _name((network, room)))
        given = orjson.loads(stored) if stored is not None else {}
        found = self._networks.get(network)
        wish = PowerWish(pending.users, pending.complete, given, pending.speaking)
        result = reconciled(
            await self._matrix.power(room),
            wish,
            self._matrix.bot,
            found.options.power_cap if found is not None else 0,
            lambda user: self._names.is_ghost_of(user, network),
        )
        if result.given != given:  # before it is so: what was given and not noted could never be taken again
            await self._kv.put(_GIVEN, _name((network, room)), orjson.dumps(dict(result.given)))
        if result.content is not None:
            self._faults.hit("power.before_set")
            await self._matrix.set_state(room, "m.room.power_levels", "", result.content, self._matrix.bot)
            self._faults.hit("power.after_set")
        if result.too_large:
            log.warning("power_levels_too_large", network=network, room=room, users=len(pending.users))
            return "too_large"
        return "set"

    # Matrix -> network

    def _about(self, event: Mapping[str, Any], portal: PortalRow) -> list[tuple[str, int, int]]:
        """Users whose level changed and whom the network knows: (user, before, now)."""
        network = self._networks.get(portal.network)
        return [
            (user, before, now)
            for user, before, now in _differences(event)
            if self._names.is_ghost_of(user, portal.network)
            or (
                network is not None
                and not self._names.is_ours(user)
                and network.client_of(UserId(user), portal) is not None
            )
        ]

    async def _given(self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender) -> MatrixPower:
        remote: list[tuple[RemoteUserId, int]] = []
        users: list[tuple[UserId, int]] = []
        for user, _, now in self._about(event, portal):
            ghost = await self._ghosts.by_user(UserId(user))
            if ghost is not None:
                remote.append((ghost.remote, now))
            elif not self._names.is_ours(user):
                users.append((UserId(user), now))
        if not remote and not users:
            raise RejectedError("nobody is behind these users")
        return MatrixPower(
            RoomId(event["room_id"]),
            EventId(event["event_id"]),
            portal.chat,
            sender,
            tuple(remote),
            tuple(users),
            timestamp_of(event),
        )

    async def _put_back(self, event: Mapping[str, Any], portal: PortalRow) -> None:
        """Ghosts have the power again that the network says they have. Of Matrix users Matrix decides."""
        users = {
            user: before
            for user, before, _ in self._about(event, portal)
            if self._names.is_ghost_of(user, portal.network)
        }
        if users:
            await self._wish(portal.network, RoomId(event["room_id"]), users, complete=False)


def _differences(event: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """(user, level before, level now) of each whose entry changed, as our own homeserver tells it."""
    unsigned = event.get("unsigned")
    before = unsigned.get("prev_content") if isinstance(unsigned, dict) else None
    now = event["content"]
    if not isinstance(before, dict):
        return []
    old, new = before.get("users"), now.get("users")
    named = {
        user
        for entries in (old, new)
        if isinstance(entries, dict)
        for user in entries
        if not (isinstance(old, dict) and isinstance(new, dict) and old.get(user) == new.get(user))
    }
    found = [(user, level_of(before, user), level_of(now, user)) for user in sorted(named)]
    return [(user, was, is_) for user, was, is_ in found if was != is_]


def _name(key: Key) -> str:
    return f"{key[0]} {key[1]}"
