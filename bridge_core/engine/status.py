"""What users are told when something did not work: stored like a message, so that it is said exactly once."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from bridge_core.api.host import Clock
from bridge_core.api.ids import EventId, RoomId
from bridge_core.engine.lanes import Lanes
from bridge_core.engine.payload import BotNotice, encode
from bridge_core.engine.ports import Direction, Journal, NewEntry

CORE: Final = "_bridge"
"""The network name under which the bridge's own words are counted."""
_REMEMBERED: Final = 5_000


class Status:
    """The only writer of notices to users."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._lanes: Lanes | None = None
        self._said: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def attach(self, lanes: Lanes) -> None:
        """The lanes towards Matrix, which need this object's users first."""
        self._lanes = lanes

    async def say(self, room: RoomId, text: str, *, about: EventId | None = None, key: str = "") -> None:
        """Say something in a room, once per `key` (also over restarts). Returns when it is stored."""
        text = text.encode("utf-8", "replace").decode()  # words of the other side may hold what is no Unicode
        notice = BotNotice(room, text, about)
        identity = f"notice\x1f{key}".encode("utf-8", "replace")
        dedupe = blake2b(identity, digest_size=16).digest() if key else None
        entry = NewEntry(Direction.TO_MATRIX, CORE, f"{CORE}\x1f{room}", encode(notice), self._clock.now_ms(), dedupe)
        accepted = await self._journal.append([entry], urgent=True)
        if self._lanes is not None:
            self._lanes.offer([entry], accepted, [notice])

    async def failed(self, room: RoomId, event: EventId, network: str, reason: str, *, certain: bool = True) -> None:
        """Tell the sender of an event that it was not, or perhaps not, delivered, and why."""
        verdict = "was not delivered" if certain else "may not have been delivered"
        text = f"\u26a0 Your message {verdict} to {network}: {reason}"
        await self.say(room, text, about=event, key=f"failed\x1f{event}\x1f{network}\x1f{reason}")

    async def less(self, room: RoomId, event: EventId, network: str, reason: str) -> None:
        """Tell that a network shows less than was said, once per room and reason."""
        text = f"\u26a0 {network} does not show all of this message: {reason}"
        await self.say(room, text, about=event, key=f"less\x1f{room}\x1f{network}\x1f{reason}")

    async def once(self, room: RoomId, event: EventId, network: str, reason: str) -> None:
        """Tell that something is not supported, once per room and reason in this process's lifetime."""
        key = (room, network, reason)
        if key in self._said:
            return
        await self.failed(room, event, network, reason)
        self._said[key] = None
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
