"""Encrypted rooms into which people invite ours: somebody of ours is to be able to read there from the first message.

A ghost has keys when it first speaks. Who makes a room, invites a ghost and writes at once would write to nobody, and
clients give nobody the key of what was said before. So who is alone of ours in an encrypted room gets keys at once.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.secrecy import ENCRYPTION
from bridge_core.observe.tasks import TaskOwner

log = structlog.get_logger(__name__)

_ROOMS: Final = 1_000
_QUEUED: Final = 100
_PATIENCE: Final = 10.0
"""Seconds that who is invited waits for their keys at most, before they join."""
_HEARD: Final = 5_000
"""Milliseconds until clients know of new keys, and may have used them: what cannot be read then came too early."""


class ReaderKeys(Protocol):
    """The keys of our users."""

    def has(self, user: UserId) -> bool:
        """Whether others can encrypt for them. Does not block."""

    async def ready(self, user: UserId) -> None:
        """Make their keys, where users of ours have keys of their own. Raises BridgeError."""


@dataclass(slots=True)
class _Room:
    """`since` when (ms) others could encrypt for one of ours there; None: not yet.

    `new`: it was looked whether the bot is there, and it was not.
    """

    since: int | None = None
    new: bool = False


class FirstReaders:
    """Watches who of ours is invited. One at a time gets keys, and no lane waits for it.

    `may` says whether a user may invite ours at all, `encrypted` as one of ours in a room whether it is encrypted.
    """

    def __init__(
        self,
        matrix: MatrixSide,
        ghosts: GhostPool,
        portals: PortalIndex,
        is_ours: Callable[[str], bool],
        may: Callable[[UserId], bool],
        encrypted: Callable[[RoomId, UserId], Awaitable[bool]],
        keys: ReaderKeys,
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        self._matrix = matrix
        self._ghosts = ghosts
        self._portals = portals
        self._is_ours = is_ours
        self._may = may
        self._encrypted = encrypted
        self._keys = keys
        self._clock = clock
        self._tasks = tasks
        self._rooms: OrderedDict[RoomId, _Room] = OrderedDict()
        self._queue: deque[tuple[RoomId, UserId | None, bool]] = deque()
        """Rooms, who of ours is to get keys (None: whoever is there), and whether the room is known to be encrypted."""
        self._pending: dict[RoomId, asyncio.Event] = {}
        """Rooms in the queue, or at work, with what is set when they are done."""
        self._working = False

    # What comes in

    def member(self, event: Mapping[str, Any]) -> None:
        """The membership of one of ours has come in, whoever set it. Does not block: the hot path."""
        room, user = RoomId(event["room_id"]), UserId(event["state_key"])
        membership = event["content"].get("membership")
        there = self._rooms.get(room)
        if there is None:
            sender = UserId(event["sender"])
            if membership != "invite" or self._portals.in_room(room) or self._is_ours(sender) or not self._may(sender):
                return
            there = self._rooms[room] = _Room()
            if len(self._rooms) > _ROOMS:
                self._rooms.popitem(last=False)
        if membership not in ("invite", "join"):
            return
        at = _timestamp(event, self._clock.now_ms())
        if self._keys.has(user):
            there.since = min(at, there.since if there.since is not None else at)
        elif there.since is None:
            self._want(room, user, encrypted=_is_encrypted(event))

    async def coming(self, event: Mapping[str, Any]) -> None:
        """One of ours was invited and is about to join: return when their keys are there, or a short while later.

        Clients ask for the devices of who joins; what was made after that they learn of with some delay.
        """
        self.member(event)  # the lane may be faster
        pending = self._pending.get(RoomId(event["room_id"]))
        if pending is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await pending.wait()

    def encryption(self, event: Mapping[str, Any]) -> None:
        """A room's m.room.encryption has come in: a ghost may be alone of ours there. Does not block."""
        room = RoomId(event["room_id"])
        if not self._is_ours(event["sender"]) and self._portals.in_room(room):
            self._want(room, None, encrypted=True)

    async def early(self, event: Mapping[str, Any]) -> float | None:
        """Seconds until it is certain that an event without its key was sent before we had any device.

        None: it was not. Asks at most once.
        """
        room = RoomId(event["room_id"])
        there = self._rooms.get(room)
        if there is None:
            return None
        now = self._clock.now_ms()
        try:
            if there.since is None and not any(map(self._keys.has, await self._ghosts.known(room))):
                return 0.0
            if there.since is None:  # one has spoken meanwhile
                there.since = now
            at = _timestamp(event, now)
            if at >= there.since:
                return None
            # What was said while clients may have known of the keys may be readable: its key is on its way then.
            return 0.0 if at < there.since - _HEARD else max(0, there.since - now) / 1000
        except BridgeError as error:
            log.info("first_reader_not_known", room=room, error=str(error))
            return None

    # Keys

    def _want(self, room: RoomId, user: UserId | None, *, encrypted: bool) -> None:
        if len(self._queue) >= _QUEUED:
            return  # they get keys when they speak
        self._queue.append((room, user, encrypted))
        self._pending.setdefault(room, asyncio.Event())
        if not self._working:
            with contextlib.suppress(RuntimeError):  # the bridge stops: they get keys when they speak
                self._tasks.start(self._work(), "first-keys")
                self._working = True

    async def _work(self) -> None:
        try:
            while self._queue:
                room, user, encrypted = self._queue.popleft()
                try:
                    await self._ready(room, user, encrypted=encrypted)
                except BridgeError as error:
                    log.info("first_keys_not_made", room=room, user=user, error=str(error))
                except Exception:  # whatever it is, the next in the queue are not to wait for it
                    log.exception("first_keys_failed", room=room, user=user)
                finally:
                    if all(waiting != room for waiting, _, _ in self._queue) and (
                        done := self._pending.pop(room, None)
                    ):
                        done.set()
        finally:
            self._working = False

    async def _ready(self, room: RoomId, user: UserId | None, *, encrypted: bool) -> None:
        there = self._rooms.get(room)
        if there is not None and there.since is not None:
            return  # another of ours can read it
        known = await self._ghosts.known(room)
        user = user or min(known, default=None)
        if user is None or any(map(self._keys.has, known)) or await self._ghosts.by_user(user) is None:
            return
        if (there is None or not there.new) and await self._has_bot(room):
            self._rooms.pop(room, None)  # others can encrypt for the bot
            return
        if there is not None:
            there.new = True
        if not encrypted and not (user in known and await self._encrypted(room, user)):
            return
        await self._keys.ready(user)
        if there is not None and self._keys.has(user):
            there.since = self._clock.now_ms() + _HEARD

    async def _has_bot(self, room: RoomId) -> bool:
        try:
            member = await self._matrix.state(room, "m.room.member", self._matrix.bot, viewer=self._matrix.bot)
        except MatrixRejectedError:
            return False
        return member is not None and member.get("membership") == "join"


def _timestamp(event: Mapping[str, Any], now: int) -> int:
    at = event.get("origin_server_ts")
    return at if type(at) is int else now


def _is_encrypted(event: Mapping[str, Any]) -> bool:
    """Whether the room of an invitation is, as far as that tells: who is invited may not look (MSC4311 and before)."""
    unsigned = event.get("unsigned")
    shown = unsigned.get("invite_room_state") if isinstance(unsigned, Mapping) else None
    return isinstance(shown, list) and any(isinstance(one, Mapping) and one.get("type") == ENCRYPTION for one in shown)
