"""Timers that are set on Matrix, by state or by command: on to networks that have them, put back where one refuses."""

import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import orjson

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.events import RemoteInfo
from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.api.matrix import MatrixInfo, MatrixSender
from bridge_core.engine.expiry import TIMER, TIMER_EVENT, timer_content, timer_of
from bridge_core.engine.injection import Injection
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Direction, Journal, NewEntry
from bridge_core.engine.rooms import Describe
from bridge_core.engine.store_ports import PortalRow
from bridge_core.engine.translation import Kind, Translation, timestamp_of


class TimerChanges:
    """Changes of timers from Matrix. `lanes` gives the lanes towards networks, which are built later."""

    def __init__(
        self,
        portals: PortalIndex,
        matrix: MatrixSide,
        journal: Journal,
        injection: Injection,
        describe: Describe,
        lanes: Callable[[], Lanes],
        clock: Clock,
    ) -> None:
        self._portals = portals
        self._matrix = matrix
        self._journal = journal
        self._injection = injection
        self._describe = describe
        self._lanes = lanes
        self._clock = clock

    def add_to(self, translation: Translation) -> None:
        """Let timers set on Matrix cross to networks that have them."""
        translation.add(TIMER_EVENT, Kind(self._translated, state=True, wants=MatrixInfo, undo=self._put_back))

    async def set(self, room: RoomId, user: UserId, timer: int, event: EventId | None) -> None:
        """Set a room's timer (milliseconds, 0 for none) for a user; returns when networks are sure to be asked.

        The bot sets the room's state; what the user would have said by it goes into the room's lane, once per `event`
        (a command of theirs). Raises MatrixRejectedError where the bot may not, RejectedError, TransientError.
        """
        portals = self._portals.in_room(room)
        if not portals:
            raise RejectedError("this room is not bridged")
        before = max((int(portal.options.get(TIMER, 0)) for portal in portals), default=0)
        await self._matrix.set_state(room, TIMER_EVENT, "", timer_content(timer), self._matrix.bot)
        now = self._clock.now_ms()
        said: dict[str, Any] = {
            "type": TIMER_EVENT,
            "state_key": "",
            "event_id": event or f"${secrets.token_urlsafe(24)}",
            "room_id": room,
            "sender": user,
            "origin_server_ts": now,
            "content": timer_content(timer),
            "unsigned": {"prev_content": timer_content(before)},
        }
        key = blake2b(f"expiry {said['event_id']}".encode("utf-8", "replace"), digest_size=16).digest()
        entry = NewEntry(Direction.TO_NETWORK, portals[0].network, room, orjson.dumps(said), now, key)
        accepted = await self._journal.append([entry], urgent=True)
        self._lanes().offer([entry], accepted, [said])

    async def _translated(self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender) -> MatrixInfo | None:
        room, number = RoomId(event["room_id"]), EventId(event["event_id"])
        timer = timer_of(event["content"])
        return MatrixInfo(room, number, portal.chat, sender, timestamp_of(event), expiry=timer)

    async def _put_back(self, event: Mapping[str, Any], portal: PortalRow) -> None:
        """The chat's timer is again what its network says, or what it was where the network does not say."""
        try:
            _, known, _ = await self._describe(portal)
        except BridgeError:
            known = None
        if known is not None and known.expiry is not None:
            timer = known.expiry
        else:
            unsigned = event.get("unsigned")
            before = unsigned.get("prev_content") if isinstance(unsigned, dict) else None
            timer = timer_of(before) if isinstance(before, dict) else 0
        await self._injection.put(portal.network, RemoteInfo(portal.chat, expiry=timer, receiver=portal.receiver))
